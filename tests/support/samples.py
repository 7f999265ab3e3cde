"""Made-up samples of a benchmark problem."""

from __future__ import annotations

from ssb_core.records import Problem, Sample, Verdict
from ssb_core.results.compare import ProblemSamples


def problem_samples(rights: str, answers: str = "") -> ProblemSamples:
    """Samples that are right (``+``) or wrong (``-``), and the letters they answer; a blank is no answer."""
    verdicts = [
        Verdict("correct" if right == "+" else "incorrect", letter if letter != " " else None)
        for right, letter in zip(rights, answers or "x" * len(rights), strict=True)
    ]
    samples = (
        Sample(
            problem_id="p",
            index=i,
            seed=0,
            prompt_hash="hash",
            completion_ids=(1,),
            text="text",
            finish_reason="stop",
            verdict=v,
        )
        for i, v in enumerate(verdicts)
    )
    return ProblemSamples(Problem("p", "?", "1"), tuple(samples))
