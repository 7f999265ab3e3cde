"""Annotated solutions: their texts are exactly the solution, and their numbers are those of full logits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ssb_core import models
from ssb_core.runs import Run
from ssb_core.signal import shards
from ssb_core.signal.annotate import decode, token_texts
from ssb_core.signal.marks import AnnotatedSolution
from tests.support.signal import captured_traces, textbook_effect


@pytest.fixture(scope="module")
def base(nano: models.ResolvedModel) -> Any:
    return models.load_model(nano, "cpu")


@pytest.fixture(scope="module")
def tokenizer(nano: models.ResolvedModel) -> Any:
    return models.load_tokenizer(nano)


@pytest.mark.parametrize("text", ["Zoë has 3 🦊🦊.\n\n  So \\boxed{3}", "\u202e<b>\x00\ufffd\ufffd", "日本語"])
def test_token_texts_joined_are_the_text_whatever_bytes_tokens_hold(text: str, tokenizer: Any) -> None:
    ids = tokenizer.encode(text)
    for n in range(len(ids) + 1):  # cut also within a character
        texts = token_texts(tokenizer, ids[:n])
        assert len(texts) == n and "".join(texts) == decode(tokenizer, ids[:n])
    texts = token_texts(tokenizer, ids)
    assert "".join(texts) == text and "" in texts  # a character that several tokens make up is the last one's
    assert not any("\ufffd" in p for p in texts) or "\ufffd" in text


def test_an_annotated_solution_is_the_solution_and_has_the_same_bytes_again(
    quick_run: Run, base: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, signal, metadata = next(captured_traces(quick_run))
    first, again = (shards.annotated_solution(base, tokenizer, trace, signal, metadata) for _ in range(2))
    assert first.dump() == again.dump() and AnnotatedSolution.load(first.dump()) == first
    assert AnnotatedSolution.load(None) is None and AnnotatedSolution.load({b"other": b"{}"}) is None
    assert "".join(m.text for m in first.effects) == decode(tokenizer, trace.completion_ids)
    full = textbook_effect(base, trace, 1.0)
    assert [m.kl for m in first.effects] == pytest.approx(full["kl"].tolist(), abs=2e-4)
    assert first.mean_kl == pytest.approx(full["kl"].mean().item(), abs=2e-4)
    index = int(full["kl"].argmax())
    raised = int((full["t"] - full["s"])[index].argmax())
    shift = first.effects[index].raised
    assert shift.text == tokenizer.decode([raised])
    probabilities = [full[model][index, raised].item() for model in ("s", "t")]
    assert [shift.bare, shift.hinted] == pytest.approx(probabilities, abs=2e-4)
    monkeypatch.setattr(shards, "ANNOTATED", 10)
    short = shards.annotated_solution(base, tokenizer, trace, signal, metadata)
    assert (short.tokens, len(short.effects)) == (len(trace.completion_ids), 10)
    assert [m.kl for m in short.effects] == pytest.approx([m.kl for m in first.effects[:10]], abs=2e-4)
    assert math.isfinite(short.mean_kl)
