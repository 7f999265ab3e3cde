"""The context length of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core import models
from ssb_core.errors import ConfigError
from tests.support.families import QWEN25, llama
from tests.support.tiny import save


def test_the_context_is_the_configurations(tmp_path: Path) -> None:
    from transformers import MambaConfig, MptConfig

    model = save(tmp_path, QWEN25)
    for config, length in ((llama(), 512), (MptConfig(max_seq_len=77), 77)):
        config.save_pretrained(tmp_path)
        assert models.context_length(model) == length
    MambaConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"does not say how long its context is\n  remedy: add max_position"):
        models.context_length(model)
