"""Bytes a token of every codec as it is really written, and how far off the loss is that is computed from each.

The sizes are taken at Qwen2.5-3B's shape. Its weights are not at hand: the states are Gaussian rows, normalised and
weighted as an RMS norm does it, in bfloat16, and the head is Gaussian. What Parquet makes of them depends on that; the
bytes before compression do not. The errors, and sizes once more, are those of SmolLM2-135M-Instruct's own solutions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from ssb_core import models, prompts
from ssb_core.config import Decoding
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.problems import nano as problems
from ssb_core.progress import Progress
from ssb_core.signal import codecs, layout
from ssb_core.store import parquet
from tests.bench.measure import Figures

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
HIDDEN, VOCABULARY, K = 2048, 151_936, 64
REFERENCE = "float32, .npz"
Solved = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # ids of student's prompt, teacher's, completion


def signal_metadata(codec: str, head_VH: torch.Tensor, temperature: float) -> dict[str, Any]:
    """The signal metadata that `codecs` needs."""
    vocabulary, hidden = head_VH.shape
    metadata = {"codec": f"{codec}/{layout.CODEC_VERSION}", "dtype": "bfloat16"}
    kept = {"k": K, "temperature": temperature} if codec == "topk" else {}
    return {**metadata, "vocabulary": vocabulary, "hidden_size": hidden, **kept}


def sizes(states: Sequence[torch.Tensor], head_VH: torch.Tensor, folder: Path) -> dict[str, dict[str, float]]:
    """Bytes per token, before compression and in the file, from the states (tokens, H) of each trace."""
    tokens = sum(map(len, states))
    logits_NV = (torch.cat(list(states)) @ head_VH.T).float().numpy()
    np.savez(folder / "reference.npz", logits=logits_NV)
    results = {REFERENCE: {"raw": 4.0 * len(head_VH), "file": (folder / "reference.npz").stat().st_size / tokens}}
    for codec in ("dense", "topk", "hidden"):
        metadata = signal_metadata(codec, head_VH, 2.0)
        column = codecs.to_arrow([codecs.encode(s_NH, head_VH, None, metadata) for s_NH in states], metadata)
        parquet.write(pa.table({layout.COLUMN: column}), folder / codec)
        results[codec] = {
            "raw": float(layout.bytes_per_token(metadata)),
            "file": (folder / codec).stat().st_size / tokens,
        }
    return results


def show(results: dict[str, dict[str, float]], figures: Figures, name: str) -> None:
    reference = results[REFERENCE]
    rows = [
        {
            "codec": codec,
            "bytes/token": size["raw"],
            "in the file": size["file"],
            "float32 over it": reference["raw"] / size["raw"],
            "in the file, over it": reference["file"] / size["file"],
        }
        for codec, size in results.items()
    ]
    figures(f"storage, {name}", rows)


def test_hidden_states_take_4_kilobytes_a_token_where_logits_take_600(tmp_path: Path, figures: Figures) -> None:
    torch.manual_seed(0)
    rows_NH = torch.randn(128, HIDDEN)
    weight_H = torch.randn(HIDDEN).mul(0.3).exp()
    states_NH = (torch.nn.functional.rms_norm(rows_NH, (HIDDEN,)) * weight_H).bfloat16()
    head_VH = (2 * torch.randn(VOCABULARY, HIDDEN) * HIDDEN**-0.5).bfloat16()
    results = sizes(states_NH.split(64), head_VH, tmp_path)
    show(results, figures, "at the shape of Qwen2.5-3B")
    assert results["hidden"]["file"] <= results["hidden"]["raw"] <= 4200
    assert results[REFERENCE]["raw"] / results["hidden"]["raw"] >= 145


def solved(model: models.ResolvedModel, n: int) -> list[Solved]:
    """Solutions that the hinted teacher writes to embedded problems, right or wrong."""
    slip, pairs = random.Random(0), []
    decoding = Decoding(temperature=0.4, max_new_tokens=96)
    with open_sampler(model, Execution(device="cpu", engine="transformers")) as sampler:
        for chain, _ in zip(problems.stream("train", 0), range(n), strict=False):
            right, wrong = problems.solution(chain), problems.solution(chain, slip)
            teacher = sampler.encode(prompts.hinted_messages(chain.question, right, wrong))
            pairs.append((sampler.encode(prompts.tutor_messages(chain.question)), teacher))
        requests = [SampleRequest(teacher, seed) for seed, (_, teacher) in enumerate(pairs)]
        ((_, written),) = sampler.sample([("all", requests)], decoding, Progress())
    return [(student, teacher, c.completion_ids) for (student, teacher), c in zip(pairs, written, strict=True)]


def read(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The states (N, H) and logits (N, V) of one pass, at the tokens that predict the completion."""
    out = model(input_ids=torch.tensor([prompt + completion]), use_cache=False, output_hidden_states=True)
    return out.hidden_states[-1][0, len(prompt) - 1 : -1], out.logits[0, len(prompt) - 1 : -1]


def kl(log_p_NV: torch.Tensor, log_q_NV: torch.Tensor) -> torch.Tensor:
    """KL(p || q) at N tokens, in nats."""
    return (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1)


def renormalised(log_t_NV: torch.Tensor, log_s_NV: torch.Tensor) -> dict[str, torch.Tensor]:
    """KL over the teacher's `K` most probable tokens alone, renormalised for the teacher or for both."""
    log_t_NK, ids_NK = log_t_NV.topk(K)
    log_t_NK, log_s_NK = log_t_NK.log_softmax(-1), log_s_NV.gather(-1, ids_NK)
    return {
        "top-64, renormalised": kl(log_t_NK, log_s_NK),
        "top-64, both renormalised": kl(log_t_NK, log_s_NK.log_softmax(-1)),
    }


@torch.inference_mode()
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_loss_from_stored_states_is_the_live_one(
    temperature: float, smollm2: models.ResolvedModel, tmp_path: Path, figures: Figures
) -> None:
    """The loss is KL(teacher || bare student), summed in float64."""
    resolved = smollm2.model_copy(update={"dtype": "bfloat16"})
    solutions, model = solved(resolved, 16), models.load_model(resolved, "cpu")
    head_VH = models.head_weight(model)
    live: list[torch.Tensor] = []
    off: dict[str, list[torch.Tensor]] = {}
    states = []
    for student, teacher, completion in solutions:
        hidden_NH, logits_NV = read(model, teacher, completion)
        states.append(hidden_NH.clone())
        log_t_NV = (logits_NV.double() / temperature).log_softmax(-1)
        log_s_NV = (read(model, student, completion)[1].double() / temperature).log_softmax(-1)
        live.append(kl(log_t_NV, log_s_NV))
        results = renormalised(log_t_NV, log_s_NV)
        for codec in ("dense", "topk", "hidden"):
            metadata = signal_metadata(codec, head_VH, temperature)
            stored = codecs.teacher(codecs.encode(hidden_NH, head_VH, None, metadata), metadata)
            results[codec] = kl(stored.log_probs(log_s_NV, temperature, head_VH, None).double(), log_s_NV)
        for name, kl_N in results.items():
            off.setdefault(name, []).append(kl_N - live[-1])
    live_N = torch.cat(live)
    errors = {name: torch.cat(some) for name, some in off.items()}
    rows = [
        {
            "codec": name,
            "mean error": f"{error_N.mean():.2e}",
            "mean |error|": f"{error_N.abs().mean():.2e}",
            "max |error|": f"{error_N.abs().max():.2e}",
            "% of the loss": f"{100 * (error_N.mean() / live_N.mean()).abs():.4f}",
        }
        for name, error_N in errors.items()
    ]
    figures(f"KL of {len(live_N)} tokens at T={temperature:g}: {live_N.mean():.4f} nats live; off by", rows)
    if temperature == 1:
        show(sizes(states, head_VH, tmp_path), figures, "SmolLM2-135M-Instruct")
    assert errors["hidden"].abs().mean() <= 1e-4
    assert errors["hidden"].abs().mean() < errors["topk"].abs().mean()
