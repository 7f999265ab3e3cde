"""The cached identity is forward KL, in value and gradient."""

from __future__ import annotations

import pytest
import torch

from ssb_core.config import Objective
from ssb_core.signal.teachers import log_probs
from tests.bench.cached_kl import cached_forward_kl, teacher_means
from tests.support.losses import random_states, relative_error, textbook_loss


@pytest.mark.parametrize("n", [0, 1, 5, 33])
@pytest.mark.parametrize("chunk", [1, 4, 256])
@pytest.mark.parametrize("t", [0.5, 1.0, 2.0])
def test_the_cached_identity_is_forward_kl(n: int, chunk: int, t: float) -> None:
    student, teacher, head, tokens = random_states(n)
    a, b = student.clone().requires_grad_(), student.double().requires_grad_()
    loss = cached_forward_kl(a, *teacher_means(teacher, head, t, chunk), head, t, chunk)
    assert relative_error(loss, textbook_loss(b, teacher, head, Objective(temperature=t), tokens), a, b) <= 1e-6


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_in_float64_the_cached_identity_is_exact_to_1e_12(t: float) -> None:
    student, teacher, head, tokens = random_states(33, dtype=torch.float64)
    a, b = student.clone().requires_grad_(), student.clone().requires_grad_()
    loss = cached_forward_kl(a, *teacher_means(teacher, head, t), head, t)
    assert relative_error(loss, textbook_loss(b, teacher, head, Objective(temperature=t), tokens), a, b) <= 1e-12


def test_gradcheck_of_the_cached_identity() -> None:
    student, teacher, head, _ = random_states(3, 4, 7, torch.float64)
    student.requires_grad_()
    mean, entropy = teacher_means(teacher, head, 2.0)
    assert torch.autograd.gradcheck(lambda s: cached_forward_kl(s, mean, entropy, head, 2.0, 2), (student,))


def test_means_and_entropies_are_those_of_the_distribution() -> None:
    _, teacher, head, _ = random_states(7, dtype=torch.float64)
    p = log_probs(teacher, head, 2.0).exp()
    mean, entropy = teacher_means(teacher, head, 2.0, 3)
    torch.testing.assert_close(mean, p @ head)
    torch.testing.assert_close(entropy, torch.distributions.Categorical(probs=p).entropy())


def test_the_cached_identity_is_refused_for_sixteen_bit_heads() -> None:
    student, teacher, head, _ = random_states(3)
    means = teacher_means(teacher, head, 2.0)
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(ValueError, match="own rounding"):
            teacher_means(teacher, head.to(dtype), 2.0)
        with pytest.raises(ValueError, match="own rounding"):
            cached_forward_kl(student, *means, head.to(dtype), 2.0)
