"""Signal that is not the student's own, or not certified, is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ssb_core import models
from ssb_core.config import RunConfig
from ssb_core.errors import StoreError
from ssb_core.runs import Run
from ssb_core.signal import compatibility
from ssb_core.stages import Runtime, distill
from ssb_core.store import Store
from tests.support.training import spec_of, written_traces


def test_signal_of_another_head_is_refused(small: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "tensor_digest", lambda tensor: "another")
    with pytest.raises(StoreError, match="the student another\n  remedy"):
        distill.run(spec_of(small, store), store, Runtime())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"soft_cap": 30.0}, "has the soft_cap 30.0, the student None"),
        ({"tokenizer": "0" * 16}, "has the tokenizer 0000000000000000, the student "),
        ({"vocabulary": 7}, "has the vocabulary 7, the student "),
        ({"norm": "before"}, "has the norm before, the student "),
        ({"mean_kl_error": None}, "no valid certificate: its mean KL error is None"),
        ({"mean_kl_error": float("nan")}, "no valid certificate: its mean KL error is nan"),
        ({"mean_kl_error": 0.5}, "no valid certificate: its mean KL error is 0.5"),
    ],
)
def test_signal_that_does_not_fit_or_is_not_certified_is_refused_by_name(
    small: RunConfig, quick_run: Run, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    spec = spec_of(small, quick_run.store)
    metadata = written_traces(spec, quick_run.store, tmp_path).signal_metadata
    student, tokenizer = models.load_model(spec.teach[0].model, "cpu"), models.load_tokenizer(spec.teach[0].model)
    compatibility.refuse_unfit(metadata, student, tokenizer)
    with pytest.raises(StoreError, match=re.escape(message)):
        compatibility.refuse_unfit([*metadata, {**metadata[0], **changed}], student, tokenizer)


def test_a_tokenizers_digest_depends_on_its_content_and_not_on_its_use(small: RunConfig, quick_run: Run) -> None:
    model = spec_of(small, quick_run.store).teach[0].model
    tokenizer = models.load_tokenizer(model)
    fresh = models.tokenizer_digest(tokenizer)
    tokenizer(["1", "1 + 1"], padding=True, truncation=True, max_length=4)
    assert models.tokenizer_digest(tokenizer) == fresh
    tokenizer.chat_template += " "
    assert models.tokenizer_digest(tokenizer) != fresh
    tokenizer.chat_template = tokenizer.chat_template[:-1]
    tokenizer.add_tokens(["<another>"])
    assert models.tokenizer_digest(tokenizer) != fresh
