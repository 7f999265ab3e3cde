"""Every loss against the textbook formula over full float64 logits, in value and gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssb_core.config import Objective
from ssb_core.signal import codecs
from ssb_core.signal.losses import divergence
from ssb_core.signal.teachers import HiddenStates, Teacher
from tests.support.losses import random_states, relative_error, textbook_loss

EVERY = [
    Objective(),
    Objective(divergence="reverse_kl"),
    Objective(divergence="jsd"),
    Objective(temperature=1.0, divergence="jsd", beta=0.1),
    Objective(cross_entropy=0.3),
    Objective(temperature=1.5, divergence="reverse_kl", cross_entropy=1.0),
]
named = pytest.mark.parametrize("objective", EVERY, ids=lambda o: f"{o.divergence}-{o.temperature}-{o.cross_entropy}")


@named
@pytest.mark.parametrize("n", [0, 1, 5, 33])
@pytest.mark.parametrize("chunk", [1, 4, 256])
def test_float32_is_within_a_millionth_in_value_and_gradient(objective: Objective, n: int, chunk: int) -> None:
    student, teacher, head, tokens = random_states(n)
    a, b = student.clone().requires_grad_(), student.double().requires_grad_()
    loss = divergence(a, HiddenStates(teacher), head, objective, tokens, chunk)
    assert relative_error(loss, textbook_loss(b, teacher, head, objective, tokens), a, b) <= 1e-6


def test_bfloat16_heads_are_exact_up_to_the_rounding_of_their_products() -> None:
    student, teacher, head, tokens = random_states(33, dtype=torch.bfloat16)
    rounding = 0.05  # nats: that of a logit of 12, with 8 bits
    for objective in EVERY:
        a, b = student.float().requires_grad_(), student.double().requires_grad_()
        loss = divergence(a, HiddenStates(teacher), head, objective, tokens, 8)
        assert relative_error(loss, textbook_loss(b, teacher, head, objective, tokens), a, b) <= rounding


@pytest.mark.parametrize("apart", [0.3, 0.03, 0.003])
def test_a_bfloat16_heads_gradient_is_exact_however_near_the_student_is(apart: float) -> None:
    """If each model's logits were rounded alone, the error would exceed the difference of a near student."""
    _, teacher, head, tokens = random_states(64, 64, 4096, torch.bfloat16)
    student = teacher.float() + apart * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    a, b = student.clone().requires_grad_(), student.double().requires_grad_()
    loss = divergence(a, HiddenStates(teacher), head, Objective(temperature=1.0))
    assert relative_error(loss, textbook_loss(b, teacher, head, Objective(temperature=1.0), tokens), a, b) <= 0.03


@named
@pytest.mark.parametrize("cap", [0.5, 3.0, 30.0])
def test_a_soft_cap_is_exact_in_value_and_gradient(objective: Objective, cap: float) -> None:
    """Caps that bend everything, much, and hardly anything."""
    student, teacher, head, tokens = random_states(33, dtype=torch.float64)
    a, b = student.clone().requires_grad_(), student.clone().requires_grad_()
    loss = divergence(a, HiddenStates(teacher), head, objective, tokens, 4, cap)
    assert relative_error(loss, textbook_loss(b, teacher, head, objective, tokens, cap), a, b) <= 1e-12


def stored(hidden: torch.Tensor, head: torch.Tensor, codec: str, **kept: Any) -> Teacher:
    """The teacher that a codec makes of hidden states, in the dtype of the codec."""
    metadata = {"codec": f"{codec}/2", "vocabulary": len(head), **kept}
    return codecs.teacher(codecs.encode(hidden, head, None, metadata), metadata)


@named
def test_dense_signal_is_exact_up_to_its_rounding(objective: Objective) -> None:
    student, teacher, head, tokens = random_states(33)
    a, b = student.clone().requires_grad_(), student.double().requires_grad_()
    loss = divergence(a, stored(teacher, head, "dense"), head, objective, tokens, 4)
    assert relative_error(loss, textbook_loss(b, teacher, head, objective, tokens), a, b) <= 2e-3


@named
def test_top_k_of_the_whole_vocabulary_is_exact(objective: Objective) -> None:
    student, teacher, head, tokens = random_states(33)
    a, b = student.clone().requires_grad_(), student.double().requires_grad_()
    whole = stored(teacher, head, "topk", k=len(head), temperature=objective.temperature)
    loss = divergence(a, whole, head, objective, tokens, 4)
    assert relative_error(loss, textbook_loss(b, teacher, head, objective, tokens), a, b) <= 2e-6


@pytest.mark.parametrize("t", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 8])
def test_top_k_gives_forward_kl_of_the_k_tokens_and_one_bucket_for_the_rest(k: int, t: float) -> None:
    student, teacher, head, _ = random_states(33)
    a, b = student.clone().requires_grad_(), student.double().requires_grad_()
    p_t, p_s = ((hidden.double() @ head.double().T / t).softmax(-1) for hidden in (teacher, b))
    top = p_t.topk(k).indices
    kept = [torch.cat([p.gather(-1, top), 1 - p.gather(-1, top).sum(-1, keepdim=True)], -1) for p in (p_t, p_s)]
    expected = t * t * (kept[0] * (kept[0] / kept[1]).log()).sum()
    signal = stored(teacher, head, "topk", k=k, temperature=2.0)
    loss = divergence(a, signal, head, Objective(temperature=t), chunk=4)
    assert relative_error(loss, expected, a, b) <= 1e-5
    exact = divergence(student, HiddenStates(teacher), head, Objective(temperature=t))
    assert loss < exact


def test_top_k_signal_is_refused_at_a_temperature_it_was_not_captured_for() -> None:
    student, teacher, head, _ = random_states(3)
    signal = stored(teacher, head, "topk", k=4, temperature=2.0)
    with pytest.raises(ValueError, match=r"captured for temperature 1 and 2.0, not for 1.5"):
        divergence(student, signal, head, Objective(temperature=1.5))


@named
@pytest.mark.parametrize("cap", [None, 1.5])
def test_gradcheck(objective: Objective, cap: float | None) -> None:
    student, teacher, head, tokens = random_states(3, 4, 7, torch.float64)
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: divergence(s, HiddenStates(teacher), head, objective, tokens, 2, cap), (student,)
    )


@named
def test_the_slope_along_lora_weights_is_the_finite_difference(objective: Objective) -> None:
    """h = x + x A B, as below a frozen head: the derivative along a random direction of A and B."""
    x, teacher, head, tokens = random_states(9, dtype=torch.float64)
    draw = torch.Generator().manual_seed(3)
    down, up, toward_down, toward_up = (
        torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((16, 2), (2, 16), (16, 2), (2, 16))
    )

    def loss(step: torch.Tensor) -> torch.Tensor:
        hidden = x + x @ (down + step * toward_down) @ (up + step * toward_up)
        return divergence(hidden, HiddenStates(teacher), head, objective, tokens, 4)

    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss(zero).backward()
    step = torch.tensor(1e-6, dtype=torch.float64)
    assert zero.grad is not None
    assert zero.grad.item() == pytest.approx(((loss(step) - loss(-step)) / (2 * step)).item(), rel=1e-6)


@given(
    n=st.integers(1, 12),
    scale=st.floats(0.01, 30),
    objective=st.sampled_from([o for o in EVERY if not o.cross_entropy]),
)
@settings(max_examples=60)
def test_a_divergence_is_never_below_zero_and_is_zero_for_equal_states(
    n: int, scale: float, objective: Objective
) -> None:
    student, teacher, head, _ = random_states(n)
    assert divergence(student * scale, HiddenStates(teacher), head, objective).item() >= 0
    same = (student * scale).requires_grad_()
    loss = divergence(same, HiddenStates(same.detach().clone()), head, objective)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert same.grad is not None and same.grad.abs().max() < 1e-4


def test_jsd_of_half_is_symmetric_and_bounded_by_ln_2() -> None:
    student, teacher, head, _ = random_states(33)
    half = Objective(temperature=1.0, divergence="jsd")
    forth = divergence(student * 20, HiddenStates(teacher * 20), head, half)
    back = divergence(teacher * 20, HiddenStates(student * 20), head, half)
    assert forth.item() == pytest.approx(back.item(), rel=1e-5)
    assert 20 < forth.item() <= 33 * 0.693148


def test_logits_far_apart_stay_finite() -> None:
    """Probabilities that are 0 in float32 have finite logarithms, and no 0 * inf appears."""
    student, teacher, head, tokens = random_states(8)
    for objective in EVERY:
        a = (student * 1e4).requires_grad_()
        loss = divergence(a, HiddenStates(teacher * 1e4), head, objective, tokens)
        loss.backward()
        assert loss.isfinite() and a.grad is not None and a.grad.isfinite().all()


def test_the_gradient_is_scaled_with_the_loss() -> None:
    student, teacher, head, tokens = random_states(5)
    grads = []
    for scale in (1.0, 0.25):
        a = student.clone().requires_grad_()
        (divergence(a, HiddenStates(teacher), head, Objective(temperature=2.0), tokens) * scale).backward()
        assert a.grad is not None
        grads.append(a.grad)
    torch.testing.assert_close(grads[0] * 0.25, grads[1])


def test_cross_entropy_without_tokens_is_refused() -> None:
    student, teacher, head, _ = random_states(2)
    with pytest.raises(ValueError, match="tokens"):
        divergence(student, HiddenStates(teacher), head, Objective(temperature=2.0, cross_entropy=0.5))
