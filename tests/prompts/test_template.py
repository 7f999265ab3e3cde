"""System turns and the date in chat templates of every family."""

from __future__ import annotations

import pytest

from ssb_core import prompts
from tests.support.families import GEMMA2, LLAMA, PHI3, PROMPT, QWEN25
from tests.support.tiny import Family, tokenizer


def rendered(family: Family, messages: prompts.Messages = PROMPT) -> str:
    built = tokenizer(family)
    return str(built.decode(prompts.encode(built, messages)))


def test_system_turns_stay_where_the_template_shows_them() -> None:
    assert rendered(QWEN25) == (
        f"<|im_start|>system\n{prompts.TUTOR_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompts.takes_system(tokenizer(LLAMA)) and rendered(LLAMA).count(prompts.TUTOR_SYSTEM) == 1


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (GEMMA2, "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"),
        (PHI3, "<|user|>\n{}<|end|>\n<|assistant|>\n"),
    ],
)
def test_system_turns_are_folded_where_the_template_refuses_or_drops_them(family: Family, expected: str) -> None:
    assert not prompts.takes_system(tokenizer(family))
    assert rendered(family) == expected.format(f"{prompts.TUTOR_SYSTEM}\n\nWhat is 2 + 3?")
    assert rendered(family, PROMPT[1:]) == expected.format("What is 2 + 3?")


def test_folding_keeps_later_turns_and_touches_no_argument() -> None:
    said = [{"role": "assistant", "content": "5"}, {"role": "user", "content": "And 3 + 4?"}]
    before = [dict(m) for m in PROMPT]
    assert prompts.fold_system([*PROMPT, *said])[1:] == said
    assert prompts.fold_system([PROMPT[0], said[0]]) == [{"role": "user", "content": prompts.TUTOR_SYSTEM}, said[0]]
    assert prompts.fold_system(said) == said and before == PROMPT


def test_prompts_do_not_depend_on_the_day() -> None:
    assert "Today Date: 26 Jul 2024" in rendered(LLAMA)
