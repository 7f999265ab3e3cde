"""Made-up summaries of runs."""

from __future__ import annotations

from typing import Any


def benchmark_summary(
    difference: float, ci95: tuple[float, float], p: float = 0.2, literal: tuple[float, float] | None = None
) -> dict[str, Any]:
    """A summary with one benchmark on which the base scores 30%; `literal` is difference and p under string match."""
    score = {"string_match": 0.25, "no_answer": 0.012, "unverified": 0.0, "truncated": 0.0, "mean_tokens": 1234.5}
    score |= {"pass_at_k": {"1": 0.3}, "maj_at_k": 0.3, "by_level": {}, "by_subject": {}}
    models = {
        "ssb": {"accuracy": 0.3 + difference, "ci95": [0.2, 0.4], **score},
        "base": {"accuracy": 0.3, "ci95": [0.25, 0.35], **score},
    }
    shift, p_literal = (literal[0] - difference, literal[1]) if literal else (0.0, p)
    same = {"difference": difference + shift, "ci95": [x + shift for x in ci95], "p_value": p_literal}
    ours = {"difference": difference, "ci95": list(ci95), "p_value": p, "string_match": same}
    paired = {"ssb-base": ours | {"wins": 70, "losses": 8, "minimum_detectable_effect": 0.051}}
    whole = {"partial": False, "of": 500, "overlap": []}
    return {"benchmarks": {"math500": {"n": 500, "samples": 1, "models": models, "paired": paired, **whole}}}
