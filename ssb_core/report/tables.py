"""Results as tables of formatted cells, which terminal, HTML, Prefect artifacts and cards all show.

A table is a list of rows, and a row maps the names of columns to cells.
"""

from __future__ import annotations

from typing import Any

from ..results.compare import BenchmarkComparison, Side, SideScore
from ..results.wording import full_name, p_value, percent, points, short_name
from .verdict import short_difference

OPTIONAL = ("seeds", "maj@k", "pass@k")  # columns of the results table that not every run has


def results_table(summary: dict[str, Any]) -> list[dict[str, str]]:
    """One row for each model on each benchmark, the base first. `summary` is the content of summary.json.

    Majority vote, pass@k and training seeds have columns only if some row has several samples, or seeds.
    """
    rows = [
        _results_row(name, model, benchmark)
        for name, benchmark in summary["benchmarks"].items()
        for model in _models(benchmark)
    ]
    unused = {name for name in OPTIONAL if not any(row[name] for row in rows)}
    return [{name: cell for name, cell in row.items() if name not in unused} for row in rows]


def _models(benchmark: dict[str, Any]) -> list[str]:
    return sorted(benchmark["models"], key=lambda m: m != "base")


def _results_row(name: str, model: str, benchmark: dict[str, Any]) -> dict[str, str]:
    score, paired = benchmark["models"][model], benchmark["paired"].get(f"{model}-base")
    k = benchmark["samples"]
    return {
        "benchmark": short_name(name, benchmark),
        "model": model,
        "accuracy": f"{percent(score['accuracy'])}%",
        "95% interval": _interval(score["ci95"]),
        "vs base": short_difference(paired) if paired else "",
        "seeds": f"{len(score['seeds'])} (sd {percent(score['seed_sd'])})" if "seeds" in score else "",
        "maj@k": f"{percent(score['maj_at_k'])}%" if k > 1 else "",
        "pass@k": f"{percent(score['pass_at_k'][str(k)])}%" if k > 1 else "",
        "string match": f"{percent(score['string_match'])}%",
        "no answer": f"{percent(score['no_answer'])}%",
        "truncated": f"{percent(score['truncated'])}%",
        "tokens": f"{score['mean_tokens']:,.0f}",
    }


def _interval(ci95: tuple[float, float]) -> str:
    return " to ".join(map(percent, ci95))


def breakdown(summary: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Tables of accuracy by level and by subject, by their titles; none if the problems have neither."""
    return {
        f"{full_name(name, benchmark)} by {label}": [_group_row(label, value, benchmark) for value in groups]
        for name, benchmark in summary["benchmarks"].items()
        for label in ("level", "subject")
        if (groups := benchmark["models"][_models(benchmark)[0]][f"by_{label}"])
    }


def _group_row(label: str, value: str, benchmark: dict[str, Any]) -> dict[str, str]:
    """Accuracy and 95% interval of every model on the problems of one level or subject."""
    scores = {m: benchmark["models"][m][f"by_{label}"][value] for m in _models(benchmark)}
    cells = {m: f"{percent(s['accuracy'])}% ({_interval(s['ci95'])})" for m, s in scores.items()}
    return {label: value, "problems": f"{next(iter(scores.values()))['n']:,}", **cells}


def comparison_table(comparison: BenchmarkComparison, first: Side, second: Side) -> list[dict[str, str]]:
    """One row for each side of a comparison, the first side first."""
    paired = comparison.paired
    low, high = map(points, paired.ci95)
    cells = {
        "second minus first": f"{points(paired.difference)} ({low} to {high})",
        "p-value": p_value(paired.p_value).removeprefix("p = ").removeprefix("p "),
        "better": f"{len(comparison.improved):,}",
        "worse": f"{len(comparison.worsened):,}",
        "alike": f"{comparison.alike:,}",
    }
    return [
        _side_row(first.label, comparison.first) | dict.fromkeys(cells, ""),
        _side_row(second.label, comparison.second) | cells,
    ]


def _side_row(label: str, score: SideScore) -> dict[str, str]:
    return {"model": label, "accuracy": f"{percent(score.accuracy)}%", "95% interval": _interval(score.ci95)}
