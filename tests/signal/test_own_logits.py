"""Signal, certificate and loss agree with the model's own logits, with tied, padded and capped heads."""

from __future__ import annotations

from collections import UserList
from pathlib import Path
from typing import Any

import pytest
import torch

from ssb_core import models
from ssb_core.config import DistillConfig, Objective
from ssb_core.errors import StoreError
from ssb_core.progress import Progress
from ssb_core.records import TeacherTrace, Verdict
from ssb_core.signal.capture import capture, certify
from ssb_core.signal.losses import divergence
from ssb_core.signal.teachers import HiddenStates
from tests.support.families import QWEN25, gemma, llama
from tests.support.tiny import save, tokenizer


def trace(number: int, prompt: int, length: int) -> TeacherTrace:
    draw = torch.Generator().manual_seed(number)
    ids = tuple(torch.randint(0, 256, (prompt + length,), generator=draw).tolist())
    return TeacherTrace(
        problem_id=str(number),
        student_prompt_ids=(1,),
        teacher_prompt_ids=ids[:prompt],
        completion_ids=ids[prompt:],
        text="",
        finish_reason="stop",
        seed=0,
        verdict=Verdict("correct", "1", "n:1"),
        dropped=None,
    )


TRACES = [trace(0, 5, 9), trace(1, 12, 4), trace(2, 3, 17)]


def own_logits(model: Any, traces: list[TeacherTrace]) -> torch.Tensor:
    """The model's own logits at every completion token, (N, V) in float64."""
    rows = []
    for t in traces:
        ids = torch.tensor([t.teacher_prompt_ids + t.completion_ids], device=model.device)
        rows.append(model(input_ids=ids).logits[0, len(t.teacher_prompt_ids) - 1 : -1])
    return torch.cat(rows).double()


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (lambda: llama(vocab_size=320, tie_word_embeddings=False), 320),  # 61 rows or so without a token
        (lambda: llama(tie_word_embeddings=True), 272),
        (lambda: gemma(final_logit_softcapping=2.0), 272),
        (lambda: gemma(final_logit_softcapping=None), 272),
    ],
    ids=["untied, padded", "tied", "capped", "cap off"],
)
def test_the_exact_loss_agrees_with_the_models_own_logits(config: Any, rows: int, tmp_path: Path) -> None:
    """Signal, certificate, loss and gradient of a model against another whose final states are perturbed."""
    model = models.load_model(save(tmp_path, QWEN25, config()), "cpu")
    with torch.no_grad():
        models.head_weight(model).mul_(40)  # logits of several nats, well into the cap
    head, cap = models.head_weight(model), models.soft_cap(model)
    assert len(head) == rows > len(tokenizer(QWEN25))

    stored = capture(model, TRACES, 1000)
    assert certify(model, TRACES, [HiddenStates(states) for states in stored].__getitem__).max_kl_error < 1e-6
    teacher = torch.cat(stored)
    own = own_logits(model, TRACES)
    assert own.shape == (30, rows)
    assert cap is None or 1.2 < own.abs().max() <= cap

    student = (teacher + 0.3 * torch.randn(teacher.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    loss = divergence(student, HiddenStates(teacher), head, Objective(), chunk=7, soft_cap=cap)
    loss.backward()
    exact = student.detach().double().requires_grad_()
    uncapped = exact @ head.double().T
    capped = uncapped if cap is None else cap * (uncapped / cap).tanh()
    log_s, log_t = (capped / 2).log_softmax(-1), (own / 2).log_softmax(-1)
    naive = 4 * (log_t.exp() * (log_t - log_s)).sum()
    naive.backward()
    torch.testing.assert_close(loss.double(), naive, rtol=1e-5, atol=1e-6)
    assert student.grad is not None and exact.grad is not None
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_a_forgotten_cap_is_noticed_by_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    model = models.load_model(save(tmp_path, QWEN25, gemma(final_logit_softcapping=2.0)), "cpu")
    with torch.no_grad():
        models.head_weight(model).mul_(40)
    stored = [HiddenStates(states) for states in capture(model, TRACES, 1000)]
    monkeypatch.setattr(models, "soft_cap", lambda model: None)
    with pytest.raises(StoreError, match="output head is not supported"):
        certify(model, TRACES, stored.__getitem__)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_capped_signal_of_sixteen_bits_is_the_models_own(dtype: str, tmp_path: Path) -> None:
    saved = save(tmp_path, QWEN25, gemma(final_logit_softcapping=30.0))
    model = models.load_model(saved.model_copy(update={"dtype": dtype}), "cpu")
    with torch.no_grad():
        models.head_weight(model).mul_(300)
    assert own_logits(model, TRACES).abs().max() > 15
    stored = [HiddenStates(states) for states in capture(model, TRACES, 1)]
    assert certify(model, TRACES, stored.__getitem__).max_kl_error < 1e-6


def test_a_capped_students_training_loss_is_that_of_its_own_logits(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from ssb_core.training.dataset import collate
    from ssb_core.training.trainer import DistillTrainer

    base = models.load_model(save(tmp_path, QWEN25, gemma(final_logit_softcapping=2.0)), "cpu")
    with torch.no_grad():
        models.head_weight(base).mul_(40)
    student: Any = get_peft_model(base, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    taught = torch.cat(capture(base, TRACES, 1000)).flip(0)  # states of other tokens
    parts = taught.split([len(t.completion_ids) for t in TRACES])
    rows = [
        {"prompt_ids": torch.tensor(t.teacher_prompt_ids), "completion_ids": torch.tensor(t.completion_ids)}
        for t in TRACES
    ]
    inputs = collate([{**row, "signal": {"hidden": part}} for row, part in zip(rows, parts, strict=True)])
    traces: Any = UserList(rows)
    traces.signal_metadata = [{"codec": "hidden/2", "dtype": "float32", "hidden_size": taught.shape[1]}]
    trainer = DistillTrainer(student, traces, traces, DistillConfig(), tmp_path, Progress())
    loss = trainer.compute_loss(student, inputs)
    teacher = 2 * (taught.double() @ models.head_weight(base).double().T / 2).tanh()
    log_s, log_t = (own_logits(base, TRACES) / 2).log_softmax(-1), (teacher / 2).log_softmax(-1)
    expected = 4 * (log_t.exp() * (log_t - log_s)).sum(-1).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert loss > 0.1
