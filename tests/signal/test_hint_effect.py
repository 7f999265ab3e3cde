"""The effect of the hint is that of full logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssb_core import models
from ssb_core.runs import Run
from ssb_core.signal import codecs, hint_effect
from ssb_core.signal.teachers import HiddenStates
from tests.support.signal import captured_traces, textbook_effect


@pytest.fixture(scope="module")
def base(nano: models.ResolvedModel) -> Any:
    return models.load_model(nano, "cpu")


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("codec", "atol"), [("hidden/2", 2e-5), ("topk/2", 2e-5), ("dense/2", 2e-2)])
def test_the_hints_effect_is_that_of_full_logits(
    quick_run: Run, base: Any, codec: str, atol: float, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hint_effect, "chunk_size", lambda head_VH: 7)  # so that a trace takes several chunks
    trace, signal, metadata = next(captured_traces(quick_run))
    head_VH = models.head_weight(base)
    whole = {**metadata, "codec": codec, "k": len(head_VH), "temperature": 2.0}  # top-k of all is all
    described = whole if codec == "topk/2" else {k: v for k, v in whole.items() if k != "k"}
    teacher = hint_effect.teacher_on_device(codecs.encode(signal["hidden"], head_VH, None, described), described, base)
    (states_NH,) = hint_effect.bare_states(base, [trace], 0)
    effect, full = hint_effect.effect(base, states_NH, teacher, temperature), textbook_effect(base, trace, temperature)
    assert len(effect.kl_N) == len(trace.completion_ids) > 7
    assert full["kl"].max() > 0.1 and full["entropy"].max() > 1  # there is something to find
    torch.testing.assert_close(effect.kl_N.double(), full["kl"], rtol=1e-3, atol=atol)
    torch.testing.assert_close(effect.entropy_N.double(), full["entropy"], rtol=1e-3, atol=atol)
    gap = full["t"] - full["s"]
    torch.testing.assert_close(full["t"].gather(-1, effect.ids_N2), effect.hinted_N2.double(), rtol=1e-3, atol=atol)
    torch.testing.assert_close(full["s"].gather(-1, effect.ids_N2), effect.bare_N2.double(), rtol=1e-3, atol=atol)
    changes = torch.stack([gap.amax(-1), gap.amin(-1)], -1)
    torch.testing.assert_close(gap.gather(-1, effect.ids_N2), changes, rtol=1e-3, atol=atol)


def test_sixteen_bits_make_no_effect_of_their_own(base: Any, nano: models.ResolvedModel) -> None:
    """Two states differ in a few last bits; logits rounded to bfloat16 would be several times as far apart."""
    half = models.load_model(nano.model_copy(update={"dtype": "bfloat16"}), "cpu")
    head_VH = models.head_weight(half)
    torch.manual_seed(0)
    teacher_NH = (3 * torch.randn(64, head_VH.shape[1])).bfloat16()
    student_NH = teacher_NH.clone()
    student_NH[:, :4] *= 1 + 2**-7  # the last bit
    log_t, log_s = ((x.double() @ head_VH.double().T).log_softmax(-1) for x in (teacher_NH, student_NH))
    exact = (log_t.exp() * (log_t - log_s)).sum(-1)
    effect = hint_effect.effect(half, student_NH, HiddenStates(teacher_NH)).kl_N.double()
    rounded_t, rounded_s = ((x @ head_VH.T).double().log_softmax(-1) for x in (teacher_NH, student_NH))
    rounded = (rounded_t.exp() * (rounded_t - rounded_s)).sum(-1)
    assert effect.mean().item() == pytest.approx(exact.mean().item(), rel=0.02)
    assert rounded.mean() > 5 * exact.mean()
