"""Attention whose query heads share their keys and values in place, for decoding on a CPU.

A left-padded batch needs a mask. With a mask, transformers repeats keys and values for every query head of a group,
which copies the whole cache several times for each token. PyTorch's CPU kernel can read them without a copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "ssb_grouped_sdpa"


def group_heads(model: Any) -> None:
    """Make `model` share keys and values in place if it runs on a CPU with PyTorch's attention. The bits stay equal."""
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, grouped_sdpa)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def grouped_sdpa(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BKSD: torch.Tensor,
    value_BKSD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention (B, T, H, D) of H query heads to the keys and values of K groups.

    Falls back to transformers' own function without a mask, or with a position bias or dropout.
    """
    if attention_mask is None or options.get("position_bias") is not None or options.get("dropout"):
        return sdpa_attention_forward(module, query_BHTD, key_BKSD, value_BKSD, attention_mask, **options)
    out_BHTD = scaled_dot_product_attention(
        query_BHTD, key_BKSD, value_BKSD, attention_mask, scale=options.get("scaling"), enable_gqa=True
    )
    return out_BHTD.transpose(1, 2).contiguous(), None
