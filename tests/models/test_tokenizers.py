"""The tokens that end a turn, in every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssb_core import models
from ssb_core.errors import ConfigError
from tests.support.families import (
    CAPS,
    GEMMA2,
    GOOGLE,
    LLAMA,
    META,
    MICROSOFT,
    PHI3,
    QWEN,
    QWEN25,
)
from tests.support.tiny import CHATML, GEMMA, LLAMA3, OPEN, PHI, Family, save


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (QWEN25, {"<|im_end|>", "<|endoftext|>"}),
        (Family(CHATML, QWEN, "<|endoftext|>", declared=("<|endoftext|>",)), {"<|im_end|>", "<|endoftext|>"}),
        (LLAMA, {"<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"}),
        (Family(LLAMA3, META, "<|end_of_text|>", declared=("<|end_of_text|>",)), {"<|eot_id|>", "<|end_of_text|>"}),
        (GEMMA2, {"<eos>", "<end_of_turn>"}),
        (Family(GEMMA, GOOGLE, "<eos>", "<bos>", ("<eos>",)), {"<eos>", "<end_of_turn>"}),
        (Family(CHATML, QWEN, "<|im_end|>"), {"<|im_end|>"}),  # SmolLM2
        (PHI3, {"<|end|>", "<|endoftext|>", "<|assistant|>"}),
        (Family(PHI, MICROSOFT, "<|endoftext|>"), {"<|end|>", "<|endoftext|>"}),
        (Family(OPEN, QWEN, "<|endoftext|>"), {"<|endoftext|>"}),
        (Family(OPEN, QWEN, declared=("<|im_end|>",)), {"<|im_end|>"}),
        (Family(None, QWEN, "<|endoftext|>"), {"<|endoftext|>"}),
    ],
)
def test_the_end_of_turn_is_read_from_settings_tokenizer_and_template(
    family: Family, ends: set[str], tmp_path: Path
) -> None:
    model = save(tmp_path, family)
    loaded: Any = models.load_tokenizer(model)
    assert set(loaded.convert_ids_to_tokens(models.end_of_turn(model))) == ends
    assert models.end_of_turn(model, loaded) == models.end_of_turn(model)
    assert loaded.pad_token_id is not None
    padded = loaded.pad({"input_ids": [[5], [6, 7]]})
    assert padded["attention_mask"] == [[0, 1], [1, 1]]


def test_a_model_whose_turns_never_end_is_refused(tmp_path: Path) -> None:
    model = save(tmp_path, Family(OPEN, QWEN))
    with pytest.raises(ConfigError, match=r"names no token that ends a turn\n  remedy: set eos_token_id"):
        models.check(model, "cpu", CAPS)
