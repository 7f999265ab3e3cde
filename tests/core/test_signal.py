"""The teacher signal: exact losses and bit-exact storage."""

from __future__ import annotations

import pytest
import torch

from ssb_core.signal import codecs
from ssb_core.signal.losses import forward_kl


def naive(
    student: torch.Tensor, teacher: torch.Tensor, head: torch.Tensor, t: float, cap: float | None = None
) -> torch.Tensor:
    """T^2 KL over full float64 logits, the textbook way."""
    logits = [hidden.double() @ head.double().T for hidden in (student, teacher)]
    log_s, log_t = (((z if cap is None else cap * (z / cap).tanh()) / t).log_softmax(-1) for z in logits)
    return t * t * (log_t.exp() * (log_t - log_s)).sum()


def states(n: int, h: int = 16, v: int = 97, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(n)
    return tuple(
        torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype) for shape in ((n, h), (n, h), (v, h))
    )


@pytest.mark.parametrize("n", [0, 1, 5, 33])
@pytest.mark.parametrize("chunk", [1, 4, 256])
@pytest.mark.parametrize("t", [0.5, 1.0, 2.0])
def test_value_and_gradient_equal_the_naive_ones(n: int, chunk: int, t: float) -> None:
    student, teacher, head = states(n)
    a = student.clone().requires_grad_()
    b = student.double().requires_grad_()
    loss, expected = forward_kl(a, teacher, head, t, chunk), naive(b, teacher, head, t)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    assert a.grad is not None and b.grad is not None
    torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cap", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("t", [0.5, 2.0])
def test_a_soft_cap_is_exact_in_value_and_gradient(cap: float, t: float) -> None:
    """Caps that bend everything, much, and hardly anything: logits here have a standard deviation of 4."""
    for dtype, relative in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        student, teacher, head = states(33, dtype=dtype)
        a, b = student.clone().requires_grad_(), student.double().requires_grad_()
        loss, expected = forward_kl(a, teacher, head, t, 4, soft_cap=cap), naive(b, teacher, head, t, cap)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(loss.double(), expected, rtol=relative, atol=0)
        assert a.grad is not None and b.grad is not None
        error = (a.grad.double() - b.grad).norm() / b.grad.norm()
        assert error < relative


@pytest.mark.parametrize("cap", [None, 1.5])
def test_gradcheck_in_float64(cap: float | None) -> None:
    student, teacher, head = states(3, 4, 7, torch.float64)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: forward_kl(s, teacher, head, 2.0, 2, cap).double(), (student,))


def test_equal_states_have_no_divergence_and_no_gradient() -> None:
    student, _, head = states(6)
    student.requires_grad_()
    loss = forward_kl(student, student.detach().clone(), head, 2.0)
    loss.backward()
    assert loss.item() == 0 and student.grad is not None and student.grad.abs().max() == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_hidden_states_come_back_bit_for_bit(dtype: str) -> None:
    torch_dtype = getattr(torch, dtype)
    vectors = {name: torch.randn(n, 8).to(torch_dtype) for name, n in (("a", 3), ("c", 1))}
    origin = {"dtype": dtype, "hidden_size": 8}
    import pyarrow as pa

    column = pa.chunked_array([codecs.to_arrow(vectors, ["a", "b", "c"], origin)])
    for row, name in ((0, "a"), (2, "c")):
        back = codecs.from_arrow(column, row, dtype)
        assert back.dtype == torch_dtype and torch.equal(back, vectors[name])
    assert codecs.from_arrow(column, 1, dtype).shape == (0, 8)
