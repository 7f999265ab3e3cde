"""Result numbers as text. Terminal, Prefect artifacts, HTML and cards all use these functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGNIFICANT = 0.05  # a difference counts if its interval excludes 0 and its p-value is below this

ANSWER_FORMS = {"boxed": "the last \\boxed{}", "choice": "a letter A to E in the last \\boxed{}"}


def percent(rate: float) -> str:
    """``0.376`` as ``37.6``."""
    return f"{100 * rate:.1f}"


def points(difference: float) -> str:
    """A difference of rates as signed percentage points, with a second digit if one would round it to 0."""
    text = f"{100 * difference:+.1f}"
    return f"{100 * difference + 0.0:+.2f}" if float(text) == 0 else text


def p_value(value: float) -> str:
    """``p < 0.001`` or, for example, ``p = 0.012``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def significant(paired: Mapping[str, Any]) -> bool:
    """Whether a paired difference is distinguishable from noise; `paired` has the fields of `PairedDifference`."""
    low, high = paired["ci95"]
    return not low <= 0 <= high and bool(paired["p_value"] < SIGNIFICANT)


def count(n: int, noun: str) -> str:
    """``1 problem``, ``2,000 problems``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def size(n: float) -> str:
    """A number of bytes: ``1.3 MB``, ``152 GB``."""
    import humanize

    return humanize.naturalsize(n, format="%.3g")


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def short_name(name: str, benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name in tables; `benchmark` is its part of summary.json."""
    return f"{name} (partial)" if benchmark["partial"] else name


def full_name(name: str, benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name in sentences, which states how many problems a partial result has."""
    return f"{name} (partial: {problem_count(benchmark)})" if benchmark["partial"] else name


def problem_count(benchmark: Mapping[str, Any]) -> str:
    """``1,319 problems``, or ``64 of 256 problems`` for a partial result."""
    if not benchmark["partial"]:
        return count(benchmark["n"], "problem")
    return f"{benchmark['n']:,} of {count(benchmark['of'], 'problem')}"


def contamination_warning(name: str, benchmark: Mapping[str, Any], examples: int = 3) -> str:
    """A sentence that counts the benchmark problems among the training problems; empty if there are none."""
    pairs = benchmark["overlap"]
    if not pairs:
        return ""
    first = ", ".join(f"{p['id']!r:.60} (as {p['training_id']!r:.60})" for p in pairs[:examples])
    rest = f" and {len(pairs) - examples:,} more" if len(pairs) > examples else ""
    verb = "is" if len(pairs) == 1 else "are"
    return f"{len(pairs):,} of {name}'s problems {verb} also among the training problems: {first}{rest}."


def sampling(recipe: Mapping[str, Any]) -> str:
    """``greedy decoding``, or for example ``temperature 0.8, top-k 50``; `recipe` is that of a `Decoding`."""
    if not recipe["temperature"]:
        return "greedy decoding"
    vocabulary = f"top-k {recipe['top_k']}" if recipe["top_k"] else "whole vocabulary"
    return f"temperature {recipe['temperature']:g}, {vocabulary}"


def decoding(recipe: Mapping[str, Any]) -> str:
    """``temperature 0.8, top-k 50, at most 1,024 tokens, seed 0``, from a decoding as summary.json holds it."""
    cap = f"at most {count(recipe['max_new_tokens'], 'token')}"
    return f"{sampling(recipe)}, {cap}" + (f", seed {recipe['seed']}" if recipe["temperature"] else "")
