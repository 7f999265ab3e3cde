"""Result numbers as text, and names that say what they stand for: one way for terminal, artifact, HTML and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import humanize

SIGNIFICANT = 0.05  # a difference counts if its interval excludes 0 and its test agrees

ANSWER_FORMS = {"boxed": "the last \\boxed{}", "choice": "a letter A to E in the last \\boxed{}"}


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def points(difference: float) -> str:
    """Signed percentage points; more digits where one would round a bound to 0."""
    text = f"{100 * difference:+.1f}"
    return f"{100 * difference + 0.0:+.2f}" if float(text) == 0 else text


def p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def significant(paired: Mapping[str, Any]) -> bool:
    """Whether a paired difference is distinguishable from noise."""
    low, high = paired["ci95"]
    return not low <= 0 <= high and bool(paired["p_value"] < SIGNIFICANT)


def count(n: int, what: str) -> str:
    """``1 problem``, ``2,000 problems``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def size(n: float) -> str:
    """Bytes in words: ``1.3 MB``, ``152 GB``."""
    return humanize.naturalsize(n, format="%.3g")


def duration(seconds: float) -> str:
    """For example ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def label(name: str, benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name in tables; `benchmark` is its part of summary.json."""
    return f"{name} (partial)" if benchmark["partial"] else name


def named(name: str, benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name in sentences, with what a partial one leaves out."""
    return f"{name} (partial: {how_many(benchmark)})" if benchmark["partial"] else name


def how_many(benchmark: Mapping[str, Any]) -> str:
    """``1,319 problems``, or ``64 of 256 problems`` of a partial benchmark."""
    if not benchmark["partial"]:
        return count(benchmark["n"], "problem")
    return f"{benchmark['n']:,} of {count(benchmark['of'], 'problem')}"


def contaminated(name: str, benchmark: Mapping[str, Any], shown: int = 3) -> str:
    """That problems of a benchmark stand among the training problems, the first few by id; empty if none does."""
    found = benchmark["overlap"]
    if not found:
        return ""
    first = ", ".join(f"{o['id']!r:.60} (as {o['training_id']!r:.60})" for o in found[:shown])
    rest = f" and {len(found) - shown:,} more" if len(found) > shown else ""
    stand = "stands" if len(found) == 1 else "stand"
    return f"{len(found):,} of {name}'s problems {stand} among the training problems: {first}{rest}."


def decoding(how: Mapping[str, Any]) -> str:
    """For example ``temperature 0.8, top-k 50, at most 1,024 tokens, seed 0``."""
    cap = f"at most {count(how['max_new_tokens'], 'token')}"
    if not how["temperature"]:
        return f"greedy, {cap}"
    kept = f"top-k {how['top_k']}" if how["top_k"] else "whole vocabulary"
    return f"temperature {how['temperature']:g}, {kept}, {cap}, seed {how['seed']}"
