"""Heads and models that the exact loss does not support are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssb_core import models
from ssb_core.errors import ConfigError
from ssb_core.models.head import refuse_unsupported
from tests.support.families import CAPS, QWEN25, gemma, llama
from tests.support.tiny import save, sizes


def refusal(config: Any) -> str:
    """The message that refuses a configuration; empty if it is supported."""
    try:
        refuse_unsupported(config)
    except ConfigError as e:
        return str(e)
    return ""


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("GraniteConfig", {"logits_scaling": 8.0}, "logits_scaling is 8.0"),
        ("CohereConfig", {}, "logit_scale is 0.0625"),
        ("FalconH1Config", {"lm_head_multiplier": 0.5}, "lm_head_multiplier is 0.5"),
        ("MiniCPM3Config", {}, "logits_scaling is"),
        ("RecurrentGemmaConfig", {}, "logits_soft_cap is 30.0"),
        ("Gemma3Config", {}, "read more than text"),
        ("T5Config", {}, "not a causal language model"),
    ],
)
def test_heads_and_models_that_are_not_supported_are_refused_by_name(
    name: str, values: dict[str, Any], message: str
) -> None:
    import transformers

    text = refusal(getattr(transformers, name)(**values))
    assert message in text and "\n  remedy: choose" in text


def test_heads_that_only_multiply_or_cap_are_not_refused() -> None:
    import transformers

    supported = (llama(), gemma(), transformers.GraniteConfig(), transformers.CohereConfig(logit_scale=1.0))
    assert [refusal(config) for config in supported] == [""] * 4


def test_a_head_with_a_bias_is_refused(tmp_path: Path) -> None:
    from transformers import PhiConfig, PhiForCausalLM

    config = PhiConfig(**{k: v for k, v in sizes().items() if k not in ("head_dim", "num_key_value_heads")})
    with pytest.raises(ConfigError, match="output head with a bias"):
        models.head_weight(PhiForCausalLM(config))
    with pytest.raises(ConfigError, match="output head with a bias"):  # before any work
        models.check(save(tmp_path, QWEN25, config), "cpu", CAPS)
