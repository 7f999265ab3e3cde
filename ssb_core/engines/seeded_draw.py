"""The seeded draw that all engines share, so that a completion depends on its seed and not on its engine or batch.

Every completion has a counter-based stream of uniform numbers, one for each token. The number selects the token at that
point of the cumulative distribution, after temperature and top-k. Engines whose logits agree sample the same tokens.
"""

from __future__ import annotations

import numpy as np
import torch


def uniforms(seed: int, n: int) -> np.ndarray:
    """The first `n` numbers in [0, 1) of a completion's stream, float64."""
    return np.random.Generator(np.random.Philox(key=seed)).random(n)


def draw(logits_BV: torch.Tensor, uniform_B1: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    """Draw one token (B, 1) for each row of logits; `top_k` 0 keeps the whole vocabulary.

    Candidates are ordered by probability. Logits that differ in their last bits therefore draw the same token, unless
    the number falls on the border between two.
    """
    k = min(top_k or logits_BV.shape[1], logits_BV.shape[1])
    logits_BK, ids_BK = logits_BV.float().topk(k)
    weights_BK = (logits_BK / temperature).softmax(-1).to(uniform_B1.device)
    cumulative_BK = weights_BK.double().cumsum(-1)
    rank_B1 = (cumulative_BK < uniform_B1 * cumulative_BK[:, -1:]).sum(-1, keepdim=True).clamp(max=k - 1)
    return ids_BK.gather(1, rank_B1.to(ids_BK.device))


def drawn_on(device: torch.device) -> torch.device:
    """The device of the uniform numbers for a model on `device`. They are float64, which Apple's GPUs do not have."""
    return torch.device("cpu") if device.type == "mps" else device
