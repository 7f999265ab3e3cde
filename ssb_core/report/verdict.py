"""Whether two models differ, in words: the headline of a report, and the sentence of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..results.compare import BenchmarkComparison, Side
from ..results.wording import (
    contamination_warning,
    full_name,
    p_value,
    percent,
    points,
    problem_count,
    significant,
)


def verdict_in_words(summary: dict[str, Any]) -> str:
    """Whether the student differs from its base, and how much of that is notation; one line for each benchmark.

    `summary` is the content of summary.json. Only its parts `benchmarks` and `adapter` are read.
    """
    benchmarks = summary["benchmarks"]
    if not benchmarks:
        return "This run did not evaluate its models."
    compared = {name: b for name, b in benchmarks.items() if "ssb-base" in b["paired"]}
    if not compared:
        names = ", ".join(full_name(name, b) for name, b in benchmarks.items())
        if not any("base" in b["models"] for b in benchmarks.values()):
            evaluated = "an adapter" if "adapter" in summary else "a student"
            return f"Only {evaluated} was evaluated, on {names}; there is no base to compare with."
        return f"Only the base was evaluated, on {names}; there is no student to compare with."
    return "\n".join(_headline(name, b) for name, b in compared.items())


def comparison_in_words(comparison: BenchmarkComparison, first: Side, second: Side) -> str:
    """Whether the second side differs from the first, in a sentence."""
    count = problem_count({"n": comparison.n, "of": comparison.of, "partial": comparison.partial})
    a, b = (f"{percent(score.accuracy)}%" for score in (comparison.first, comparison.second))
    models = f"{second.label} ({b})", f"{first.label} ({a})"
    return f"{_difference(f'{count} of {comparison.benchmark}', *models, asdict(comparison.paired))}."


def _difference(benchmark: str, model: str, baseline: str, paired: Mapping[str, Any]) -> str:
    """The sentence that says whether a difference is noise, without its full stop."""
    low, high = paired["ci95"]
    relation, noise = "cannot be told apart from", "not distinguishable from noise"
    if significant(paired):
        relation, noise = "is better than" if low > 0 else "is worse than", "distinguishable from noise"
    return (
        f"On {benchmark}, {model} {relation} {baseline}: {points(paired['difference'])} points, {noise} "
        f"(paired 95% interval {points(low)} to {points(high)}, {p_value(paired['p_value'])})"
    )


def _headline(name: str, benchmark: dict[str, Any]) -> str:
    paired, models = benchmark["paired"]["ssb-base"], benchmark["models"]
    base, student = (percent(models[m]["accuracy"]) for m in ("base", "ssb"))
    return (
        f"{_difference(full_name(name, benchmark), f'SSB ({student}%)', f'its base ({base}%)', paired)}; "
        f"{points(paired['string_match']['difference'])} points under plain string match."
        f"{_power(paired, benchmark['n'])}{_seeds(models)}{_formatting(paired, paired['string_match'])}"
        f"{_unanswered(models, paired)}{_unverified(models)}{_contamination(name, benchmark)}"
        f"{_other_models(benchmark)}"
    )


def short_difference(paired: dict[str, Any]) -> str:
    """``+12.3 (+5.0 to +20.0), p = 0.010``."""
    low, high = paired["ci95"]
    return f"{points(paired['difference'])} ({points(low)} to {points(high)}), {p_value(paired['p_value'])}"


def _power(paired: dict[str, Any], n: int) -> str:
    """The discordant problems, and the smallest difference that the benchmark could have shown."""
    return (
        f" SSB did better on {paired['wins']:,} and worse on {paired['losses']:,} of {n:,} problems; this benchmark "
        f"could have shown a difference of {percent(paired['minimum_detectable_effect'])} points or more (at 80% "
        "power)."
    )


def _seeds(models: dict[str, Any]) -> str:
    """The spread over training seeds, if there are several."""
    if "seeds" not in models["ssb"]:
        return ""
    each = ", ".join(f"{percent(accuracy)}%" for accuracy in models["ssb"]["seeds"])
    return f" SSB is the mean of {len(models['ssb']['seeds'])} training seeds ({each}), which the interval includes."


def _other_models(benchmark: dict[str, Any]) -> str:
    """SSB beside every baseline."""
    text = ""
    for other in benchmark["models"]:
        if paired := benchmark["paired"].get(f"ssb-{other}") if other != "base" else None:
            noise = "distinguishable" if significant(paired) else "not distinguishable"
            text += (
                f" Against {other} ({percent(benchmark['models'][other]['accuracy'])}%): {short_difference(paired)}, "
                f"{noise} from noise."
            )
    return text


def _unanswered(models: dict[str, Any], paired: dict[str, Any]) -> str:
    """A note that the better model states an answer far more often, if it does."""
    base, student = (models[m]["no_answer"] for m in ("base", "ssb"))
    low, high = paired["ci95"]
    if (base - student) * paired["difference"] <= 0 or abs(base - student) <= (high - low) / 2:
        return ""
    return (
        f" {percent(base)}% of the base's samples state no answer in the form asked for, {percent(student)}% of "
        "SSB's: part of the difference is stating one."
    )


def _unverified(models: dict[str, Any]) -> str:
    if not any(score["unverified"] for score in models.values()):
        return ""
    rates = ", ".join(f"{percent(score['unverified'])}% of {name}'s" for name, score in models.items())
    return f" The verifier gave up on some answers, which count as not correct: {rates}."


def _contamination(name: str, benchmark: dict[str, Any]) -> str:
    warning = contamination_warning(name, benchmark)
    return f" Warning: {warning} A student may know them." if warning else ""


def _formatting(by_value: dict[str, Any], literal: dict[str, Any]) -> str:
    """A note on notation if the two differences disagree.

    An answer that matches literally is right, so what only one of them counts are right answers in another notation.
    """
    gap, (low, high) = literal["difference"] - by_value["difference"], by_value["ci95"]
    if abs(gap) > (high - low) / 2:
        return (
            f" The {percent(abs(gap))} points between the two are formatting: right answers in another notation than "
            f"the reference's, which SSB gives {'less' if gap > 0 else 'more'} often than its base."
        )
    if significant(by_value) != significant(literal):
        return (
            " Part of this may be formatting: it is distinguishable from noise only where answers are compared "
            f"{'by their value' if significant(by_value) else 'letter for letter'}."
        )
    return ""
