"""Query heads that share keys and values in place give the same bits as transformers' repeated ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
from transformers.models.gemma3 import Gemma3TextConfig

from ssb_core.engines import cpu_attention

SMALL = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "qwen2 with a bias": Qwen2Config(**SMALL),
    "gemma3 with a sliding window": Gemma3TextConfig(**SMALL, sliding_window=4, query_pre_attn_scalar=16),
}


def decoded(model: Any) -> torch.Tensor:
    """Logits of a left-padded batch: those of its prompts, then of two tokens decoded with the cache."""
    ids_BS = torch.arange(24).reshape(3, 8)
    mask_BS = torch.ones(3, 10, dtype=torch.long)
    mask_BS[0, :5] = 0
    with torch.inference_mode():
        out = model(ids_BS, attention_mask=mask_BS[:, :8])
        seen = [out.logits]
        for step in range(2):
            out = model(
                ids_BS[:, step, None], attention_mask=mask_BS[:, : 9 + step], past_key_values=out.past_key_values
            )
            seen.append(out.logits)
    return torch.cat(seen, 1)[mask_BS.bool()]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shared_heads_give_the_bits_of_repeated_ones(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa", dtype=dtype).eval()
    repeated = decoded(model)
    cpu_attention.group_heads(model)
    monkeypatch.setattr(cpu_attention, "sdpa_attention_forward", None)  # a padded batch is never repeated
    assert torch.equal(decoded(model), repeated)


def test_a_model_with_an_attention_of_its_own_keeps_it() -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"], attn_implementation="eager")
    cpu_attention.group_heads(model)
    assert model.config._attn_implementation == "eager"
