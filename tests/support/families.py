"""Tiny models with the tokenizers of real families, and a prompt to check them with."""

from __future__ import annotations

from typing import Any

from ssb_core import prompts
from tests.support.tiny import CHATML, GEMMA, LLAMA3, PHI, Family, sizes

PROMPT = prompts.tutor_messages("What is 2 + 3?")
CAPS = {"rollouts.max_new_tokens": (PROMPT, 64)}
"""The argument of `models.check`: a prompt and the token cap behind it."""

QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
META = ("<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
GOOGLE = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
MICROSOFT = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")

QWEN25 = Family(CHATML, QWEN, "<|im_end|>", declared=("<|im_end|>", "<|endoftext|>"))
LLAMA = Family(LLAMA3, META, "<|eot_id|>", "<|begin_of_text|>", ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"))
GEMMA2 = Family(GEMMA, GOOGLE, "<eos>", "<bos>", ("<eos>", "<end_of_turn>"))
PHI3 = Family(PHI, MICROSOFT, "<|endoftext|>", declared=("<|endoftext|>", "<|assistant|>", "<|end|>"))


def llama(**changes: Any) -> Any:
    """The configuration of a tiny Llama."""
    from transformers import LlamaConfig

    return LlamaConfig(**sizes(**changes))


def gemma(**changes: Any) -> Any:
    """The configuration of a tiny Gemma 2."""
    from transformers import Gemma2Config

    return Gemma2Config(**sizes(query_pre_attn_scalar=8, **changes))
