"""The report: its numbers are the summary's, what models wrote stays text, and an early stop leaves parts out."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ssb_core import problems, report
from ssb_core.config import Benchmark, ProblemsConfig, RunConfig
from ssb_core.errors import ConfigError
from ssb_core.records import Rejection
from ssb_core.report import charts
from ssb_core.report.charts import canvas
from ssb_core.results import hint_effect, problem_history, queries, wording
from ssb_core.runs import Run
from ssb_core.signal.marks import AnnotatedSolution, Shift, TokenEffect
from ssb_core.store import Store, write_json
from tests.support.pages import Page
from tests.support.runs import HOSTILE, copied, mark_all, poison, run_stages

SHOWN = "http://127.0.0.1:8000/v1"  # a default among the settings, shown as text


def benchmark(
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


def hot(text: str, kl: float) -> TokenEffect:
    return TokenEffect(text, kl, Shift(text, 0.25, 0.75), Shift("-", 0.5, 0.0))


@pytest.fixture(scope="module")
def html(quick_run: Run) -> str:
    return report.page(quick_run)


def test_html_table_and_summary_show_the_same_numbers(quick_run: Run) -> None:
    path = report.write(quick_run)
    assert path == quick_run.directory / "report.html"
    page, summary = Page(path.read_text(encoding="utf-8")), quick_run.load_summary()
    rows = report.results_table(summary)
    assert page.tables["results"] == [list(rows[0]), *(list(row.values()) for row in rows)]
    for row in rows:
        score = summary["benchmarks"][row["benchmark"].removesuffix(" (partial)")]["models"][row["model"]]
        assert float(row["accuracy"].rstrip("%")) == pytest.approx(100 * score["accuracy"], abs=0.0501)
        low, high = map(float, row["95% interval"].split(" to "))
        assert (low, high) == pytest.approx([100 * x for x in score["ci95"]], abs=0.0501)
        assert float(row["tokens"].replace(",", "")) == pytest.approx(score["mean_tokens"], abs=0.501)
        assert float(row["maj@k"].rstrip("%")) == pytest.approx(100 * score["maj_at_k"], abs=0.0501)
        assert float(row["pass@k"].rstrip("%")) == pytest.approx(100 * score["pass_at_k"]["4"], abs=0.0501)
    paired = summary["benchmarks"]["nano-test"]["paired"]["ssb-base"]
    shown = [float(x) for x in re.findall(r"[+-]\d+\.\d+", rows[1]["vs base"])]
    assert shown == pytest.approx([100 * paired["difference"], *(100 * x for x in paired["ci95"])], abs=0.0501)
    assert report.verdict_in_words(summary) in "".join(page.text)


def test_the_funnel_in_the_html_accounts_for_every_problem(quick_run: Run, html: str) -> None:
    steps, counts = queries.load_funnel(quick_run), quick_run.load_summary()["yield"]
    assert [s.name for s in steps] == ["sampled", "mixed", "taught", "trained on"]
    assert [s.kept for s in steps[:3]] == [counts["problems"], counts["mixed"], counts["taught"]]
    for before, after in itertools.pairwise(steps):
        assert before.kept == after.kept + sum(after.dropped.values())
    shown = [(row[0], int(row[1])) for row in Page(html).tables["yield"][1:]]
    expected = [
        line
        for s in steps
        for line in [(s.name, s.kept), *((f"dropped: {r.replace('_', ' ')}", n) for r, n in s.dropped.items())]
    ]
    assert shown == expected


def test_the_stage_table_is_the_summarys(quick_run: Run, html: str) -> None:
    summary = quick_run.load_summary()
    rows = {row[0]: row for row in Page(html).tables["stages"][1:]}
    assert list(rows) == ["rollouts", "select", "teach", "distill", "evaluate"]
    for name, stage in summary["stages"].items():
        cells = (stage["status"], f"{stage['shards']:,}", f"{stage['shards_reused']:,}", f"{stage['rows']:,}")
        assert (rows[name][1], *rows[name][3:6]) == cells
        assert rows[name][6] == (f"{stage['tokens']:,}" if "tokens" in stage else "")
        assert rows[name][7] == summary["fingerprints"][name]
    for name in ("rollouts", "evaluate"):
        assert summary["stages"][name]["tokens"] == sum(m.stats["tokens"] for m in quick_run.manifests(name))


def test_models_that_never_answer_leave_the_votes_out(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    summary = run.load_summary()
    for model, left in (("base", ["ssb"]), ("ssb", [])):
        summary["benchmarks"]["nano-test"]["models"][model]["vote_calibration"] = []
        write_json(run.directory / "summary.json", summary)
        assert ("votes" in report.draw_charts(run)) == bool(left)


def test_before_and_after_are_the_problems_that_changed_most(quick_run: Run, html: str) -> None:
    told = problem_history.load_flipped(quick_run, better=3, worse=2)
    base, student = (e.manifest for e in queries.load_evaluations(quick_run))
    tables = [quick_run.store.tables(m, ["problem_id", "verdict"]) for m in (base, student)]
    rows = [[r for t in of for r in t.to_pylist()] for of in tables]
    right = [Counter(r["problem_id"] for r in of if r["verdict"]["status"] == "correct") for of in rows]
    changes = [right[1][s.problem.id] - right[0][s.problem.id] for s in told]
    every = {i: right[1][i] - right[0][i] for i in right[0] | right[1]}
    up, down = ([c for c in changes if keep(c)] for keep in (lambda c: c > 0, lambda c: c < 0))
    assert up == sorted((c for c in every.values() if c > 0), reverse=True)[:3]
    assert down == sorted(c for c in every.values() if c < 0)[:2]
    assert [what for what, _ in told[0].samples] == ["base on nano-test", "ssb on nano-test"]
    text = "".join(Page(html).text)
    assert all(s.problem.question in text for s in told[:2])


def test_what_models_wrote_is_shown_as_text(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    for stage in ("rollouts", "teach"):
        poison(run, stage, HOSTILE)
    html = report.page(run)
    page = Page(html)
    assert "<script" not in html and "alert(1)</script>" not in html
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "link"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(HOSTILE) == 3 * (4 + 1)  # three stories: four rollouts and a solution each


def test_the_html_needs_nothing_from_outside(html: str) -> None:
    sources = [a["src"] or "" for tag, a in Page(html).tags if tag == "img"]
    assert len(sources) == 5 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert not re.search(
        r"(href|url\(|@import|https?://)", html.replace("data:image/png;base64,", "").replace(SHOWN, "")
    )


@pytest.mark.parametrize("stop", ["rollouts", "select", "teach", "distill"])
def test_a_run_that_stopped_early_leaves_out_what_it_lacks(
    quick_run: Run, small: RunConfig, tmp_path: Path, stop: str
) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", stop)
    page = Page(report.write(run).read_text(encoding="utf-8"))
    headings = "".join(page.text)
    reached = ["rollouts", "select", "teach", "distill"].index(stop)
    expected = {"From problems to traces": 1, "Teacher signal": 2, "Worked examples": 2, "Training": 3, "Results": 9}
    for heading, since in expected.items():
        assert (f"\n{heading}\n" in headings) == (reached >= since), heading
    assert set(report.draw_charts(run)) == {k for k, n in {"yield": 1, "training": 3}.items() if reached >= n}
    assert report.verdict_in_words(run.load_summary()) == "This run did not evaluate its models."


def test_problems_left_out_for_their_gold_are_counted_listed_and_told(small: RunConfig, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(
        '{"question": "Mia has 3 pens. How many pens does Mia have now?", "answer": "3"}\n'
        '{"question": "What is it?", "answer": " "}\n{"question": "Which <b>?", "answer": "\\\\boxed{}"}\n'
    )
    spoilt = small.model_copy(update={"problems": ProblemsConfig(source=str(mixed))})
    run = run_stages(spoilt, Store(tmp_path / "store"), tmp_path / "runs" / "spoilt", stop="select")
    assert (run.load_summary()["yield"]["problems"], run.load_summary()["yield"]["bad_gold"]) == (1, 2)
    page = Page(report.page(run))
    assert page.tables[""][:3] == [
        ["problem", "its reference answer"],
        ["mixed-00002", "it is empty"],
        ["mixed-00003", "it has no answer of form 'boxed'"],
    ]
    told = problem_history.load_history(run, "mixed-00003")
    assert told.rejection == Rejection("mixed-00003", "load", "it has no answer of form 'boxed'")
    assert "reference answer: it has no answer of form 'boxed'." in " ".join(problem_history.render(told).split())
    assert "Which <b>?" in problem_history.render(told)


def test_a_benchmarks_bad_golds_are_counted_and_listed_under_its_results(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text(
        '{"question": "Mia has 3 pens. How many pens does Mia have now?", "answer": "3"}\n'
        '{"question": "What is it?", "answer": " "}\n'
    )
    benchmarks = (Benchmark(name="held", source=str(held)),)
    spoilt = small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": benchmarks})})
    run = run_stages(spoilt, copied(quick_run, tmp_path).store, tmp_path / "runs" / "spoilt")
    bench = run.load_summary()["benchmarks"]["held"]
    assert (bench["n"], bench["bad_gold"], run.load_summary()["yield"]["bad_gold"]) == (1, 1, 0)
    html = report.page(run)
    assert Page(html).tables[""][:2] == [["problem", "its reference answer"], ["held-00002", "it is empty"]]
    assert html.index("<h2>Results") < html.index("held-00002") < html.index("<h2>From problems to traces")


def test_charts_are_pngs_wide_enough_to_read(quick_run: Run) -> None:
    images = report.draw_charts(quick_run)
    assert list(images) == ["accuracy", "training", "yield", "lengths", "votes"]
    for png in images.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(png[16:20], "big") >= 1000  # the header's width


def test_smoothing_averages_over_shrinking_windows() -> None:
    values = [float(i % 2) for i in range(20)]  # a window of three
    smoothed = canvas.smooth(values)
    assert smoothed[:3].tolist() == pytest.approx([1 / 2, 1 / 3, 2 / 3])
    assert smoothed[-1] == pytest.approx(1 / 2)
    assert canvas.smooth([3.0]).tolist() == [3.0]


def test_cells_are_formatted_for_reading() -> None:
    rows = report.results_table(benchmark(0.123, (0.05, 0.2), 0.00004))
    assert [r["model"] for r in rows] == ["base", "ssb"]
    assert rows[1] == {
        "benchmark": "math500",
        "model": "ssb",
        "accuracy": "42.3%",
        "95% interval": "20.0 to 40.0",
        "string match": "25.0%",
        "no answer": "1.2%",
        "truncated": "0.0%",
        "tokens": "1,234",
        "vs base": "+12.3 (+5.0 to +20.0), p < 0.001",
    }
    assert rows[0]["vs base"] == ""


@pytest.mark.parametrize(
    ("difference", "ci95", "p", "words"),
    [
        (
            0.1,
            (0.04, 0.16),
            0.01,
            "SSB (40.0%) is better than its base (30.0%): +10.0 points, distinguishable from noise",
        ),
        (-0.1, (-0.16, -0.04), 0.01, "SSB (20.0%) is worse than its base (30.0%): -10.0 points, distinguishable"),
        (0.1, (-0.02, 0.22), 0.1, "cannot be told apart from its base (30.0%): +10.0 points, not distinguishable"),
        (0.1, (0.03, 0.27), 0.125, "cannot be told apart from its base (30.0%): +10.0 points, not distinguishable"),
        (0.0, (0.0, 0.0), 1.0, "cannot be told apart"),
        (0.02, (0.0004, 0.04), 0.2, "(paired 95% interval +0.04 to +4.0, p = 0.200)"),
    ],
)
def test_the_headline_says_whether_it_is_noise(
    difference: float, ci95: tuple[float, float], p: float, words: str
) -> None:
    assert words in report.verdict_in_words(benchmark(difference, ci95, p))


def test_the_headline_tells_the_difference_under_plain_string_match() -> None:
    (line,) = report.verdict_in_words(benchmark(0.1, (0.04, 0.16), 0.01, (0.09, 0.01))).split("\n")
    assert "p = 0.010); +9.0 points under plain string match. " in line


def test_the_headline_counts_discordant_problems_and_says_what_could_have_been_shown() -> None:
    told = report.verdict_in_words(benchmark(0.02, (-0.02, 0.06), 0.4))
    assert (
        "SSB did better on 70 and worse on 8 of 500 problems; this benchmark could have shown a difference of 5.1 "
        in told
    )


def test_seeds_and_baselines_are_told_in_the_table_and_in_words() -> None:
    summary = benchmark(0.1, (0.04, 0.16), 0.01)
    found = summary["benchmarks"]["math500"]
    found["models"]["ssb"] |= {"seeds": [0.38, 0.4, 0.42], "seed_sd": 0.02}
    found["models"]["grpo"] = found["models"]["base"]
    found["paired"] |= {"ssb-grpo": found["paired"]["ssb-base"] | {"difference": 0.01, "ci95": [-0.01, 0.03]}}
    told = report.verdict_in_words(summary)
    assert "SSB is the mean of 3 training seeds (38.0%, 40.0%, 42.0%), which the interval includes." in told
    assert "Against grpo (30.0%): +1.0 (-1.0 to +3.0), p = 0.010, not distinguishable from noise." in told
    assert [row["seeds"] for row in report.results_table(summary)] == ["", "3 (sd 2.0)", ""]


def test_majority_vote_and_pass_at_k_have_columns_only_where_problems_have_several_samples() -> None:
    summary = benchmark(0.1, (0.04, 0.16))
    assert not {"maj@k", "pass@k", "seeds"} & set(report.results_table(summary)[0])
    other = benchmark(0.1, (0.04, 0.16))["benchmarks"]["math500"] | {"samples": 4}
    for score in other["models"].values():
        score |= {"pass_at_k": {"1": 0.3, "2": 0.4, "4": 0.5}, "maj_at_k": 0.35}
    summary["benchmarks"]["aime2024"] = other
    rows = report.results_table(summary)
    assert [(r["maj@k"], r["pass@k"]) for r in rows] == [("", "")] * 2 + [("35.0%", "50.0%")] * 2


def test_accuracy_by_level_in_the_html_is_the_summarys(quick_run: Run, html: str) -> None:
    found = quick_run.load_summary()["benchmarks"]["nano-test"]
    told = Page(html).tables
    (title,) = report.breakdown(quick_run.load_summary())
    assert title == "nano-test (partial: 48 of 512 problems) by level"
    heading, *rows = told[title.replace(" ", "-")]
    assert heading == ["level", "problems", "base", "ssb"]
    assert [row[0] for row in rows] == list(found["models"]["base"]["by_level"]) == ["1", "2", "3"]
    for level, n, *cells in rows:
        for model, cell in zip(("base", "ssb"), cells, strict=True):
            group = found["models"][model]["by_level"][level]
            shown = [float(x) for x in re.findall(r"[\d.]+", cell)]
            assert shown == pytest.approx([100 * x for x in (group["accuracy"], *group["ci95"])], abs=0.0501)
            assert int(n) == group["n"]


@pytest.mark.parametrize(
    ("ours", "literal", "words"),
    [
        ((0.02, (-0.02, 0.06), 0.3), (0.3, 0.001), "The 28.0 points between the two are formatting: right answers in"),
        ((0.02, (-0.02, 0.06), 0.3), (0.3, 0.001), "which SSB gives less often than its base."),
        ((0.2, (0.16, 0.24), 0.001), (0.02, 0.3), "The 18.0 points between the two are formatting: right answers in"),
        ((0.2, (0.16, 0.24), 0.001), (0.02, 0.3), "which SSB gives more often than its base."),
        ((0.05, (0.01, 0.09), 0.02), (0.04, 0.08), "noise only where answers are compared by their value."),
        ((0.03, (-0.01, 0.07), 0.2), (0.05, 0.01), "noise only where answers are compared letter for letter."),
    ],
)
def test_a_difference_that_is_partly_formatting_is_called_so(
    ours: tuple[float, tuple[float, float], float], literal: tuple[float, float], words: str
) -> None:
    told = report.verdict_in_words(benchmark(*ours, literal))
    assert words in told and "formatting" in told


@pytest.mark.parametrize(
    ("width", "spared"),
    [
        (80, {"vs base", "string match", "pass@k", "truncated", "no answer"}),
        (100, {"vs base", "string match", "pass@k"}),
        (180, set()),
    ],
)
def test_the_terminal_shows_the_reports_cells_in_the_columns_that_fit(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch, width: int, spared: set[str]
) -> None:
    from flows.cli import console

    narrow = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    monkeypatch.setattr(console, "console", narrow)
    rows = report.results_table(quick_run.load_summary())
    narrow.print(console.results_table(rows))
    printed = narrow.file.getvalue()  # type: ignore[attr-defined]
    heading, _, *lines = [line for line in printed.splitlines() if line.strip()]
    shown = [name for name in rows[0] if name not in spared]
    assert [cell for cell in rows[0] if cell in heading] == shown
    assert [re.split(r"\s{2,}", line.strip()) for line in lines] == [[r[n] for n in shown if r[n]] for r in rows]


def test_string_match_counts_answers_written_as_the_reference_is(quick_run: Run) -> None:
    bench = quick_run.load_summary()["benchmarks"]["nano-test"]
    gold = {p.id: p.answer for p in problems.load_problems(queries.load_config(quick_run).evaluate.benchmarks[0])}
    for evaluation in queries.load_evaluations(quick_run):
        tables = quick_run.store.tables(evaluation.manifest, ["problem_id", "verdict"])
        rows = [row for table in tables for row in table.to_pylist()]
        matches = [row["verdict"]["answer"] == gold[row["problem_id"]] for row in rows]
        assert bench["models"][evaluation.model]["string_match"] == pytest.approx(sum(matches) / len(matches))
    models, literal = bench["models"], bench["paired"]["ssb-base"]["string_match"]
    gap = models["ssb"]["string_match"] - models["base"]["string_match"]
    assert literal["difference"] == pytest.approx(gap)


def test_the_headline_without_a_student_says_so() -> None:
    summary = benchmark(0.1, (0.0, 0.2))
    summary["benchmarks"]["math500"]["paired"] = {}
    assert report.verdict_in_words(summary).startswith("Only the base was evaluated, on math500")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(4.21, "4.2 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert wording.duration(seconds) == shown


def test_more_models_than_two_get_their_own_bars_and_rows(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    summary = run.load_summary()
    result = summary["benchmarks"]["nano-test"]
    result["models"]["grpo"] = result["models"]["ssb"]
    result["paired"]["grpo-base"] = result["paired"]["ssb-base"]
    write_json(run.directory / "summary.json", summary)
    assert [r["model"] for r in report.results_table(run.load_summary())] == ["base", "ssb", "grpo"]
    figure = charts.draw_accuracy(run.load_summary()["benchmarks"])
    assert figure is not None
    heights = [bar.get_height() for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
    models = run.load_summary()["benchmarks"]["nano-test"]["models"]
    assert heights == pytest.approx([100 * models[m]["accuracy"] for m in ("base", "grpo", "ssb")])
    assert json.loads((run.directory / "summary.json").read_text()) == run.load_summary()


def test_a_run_of_another_version_is_refused_by_name(quick_run: Run, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "summary.json").write_text(json.dumps({k: v for k, v in quick_run.load_summary().items() if k != "format"}))
    with pytest.raises(ConfigError, match="run old was made by another version of ssb"):
        Run.named(tmp_path, "latest", quick_run.store)


@pytest.mark.parametrize(("of_the_base", "told"), [(0.9, True), (0.06, False), (0.012, False)])
def test_a_difference_that_is_partly_stating_an_answer_is_called_so(of_the_base: float, told: bool) -> None:
    summary = benchmark(0.1, (0.05, 0.15))
    summary["benchmarks"]["math500"]["models"]["base"]["no_answer"] = of_the_base
    words = "90.0% of the base's samples state no answer in the form asked for, 1.2% of SSB's: part of the difference"
    assert (words in report.verdict_in_words(summary)) == told
    assert ("state no answer" in report.verdict_in_words(summary)) == told


def test_answers_the_verifier_gave_up_on_are_told() -> None:
    summary = benchmark(0.1, (0.05, 0.15))
    summary["benchmarks"]["math500"]["models"]["ssb"]["unverified"] = 0.02
    told = report.verdict_in_words(summary)
    assert "The verifier gave up on some answers, which count as not correct: 2.0% of ssb's, 0.0% of base's." in told


def test_the_heat_map_is_the_solution_token_by_token(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    hostile = HOSTILE.replace("</pre>", "")  # where this page's text is looked for below
    shown = [hot("It is", 0.004), hot("\n", 0.01), hot("", 0.02), hot("é", 0.3), hot(hostile, 7.0), hot("\n\ufffd", 0)]
    mark_all(run, AnnotatedSolution("p<b>", 900, tuple(shown)))
    html = report.page(run)
    page = Page(html)
    (solution,) = re.findall(r'<pre class="heat" id="heat">(.*?)</pre>', html, re.DOTALL)
    inner = Page(solution)
    assert "".join(inner.text) == "".join(m.text for m in shown)
    assert [a["class"] for _, a in inner.tags] == ["heat0", "heat1 ends-line", "heat1", "heat4", "heat6", "heat0"]
    titles = [a["title"] for _, a in inner.tags]
    assert titles[3] == "'é': 0.300 nats\nraised: 'é' 25.0% → 75.0%\nlowered: '-' 50.0% → 0.0%"
    assert titles[4] == f"{hostile!r}: 7.000 nats\nraised: {hostile!r} 25.0% → 75.0%\nlowered: '-' 50.0% → 0.0%"
    assert "<script" not in html and not any(n.startswith("on") for _, a in page.tags for n in a)
    assert [row[:2] for row in page.tables["hint"][1:]] == [
        [repr(hostile), "7.000"],
        ["'é'", "0.300"],
        ["''", "0.020"],
        ["'\\n'", "0.010"],
    ]
    words = " ".join("".join(page.text).split())
    assert "The taught solution to p<b>, coloured" in words and "It is 1.222 nats a token in the mean." in words
    assert "These are the first 6 of 900 tokens." in words
    assert "below 0.01 0.01 0.03 0.1 0.3 1 3 or more" in words
    assert all(f".heat{step} {{" in html for step in range(len(report.HEAT) + 1))


def test_of_the_shards_solutions_the_median_is_shown_and_without_any_there_is_no_heat_map(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(quick_run, tmp_path)
    mark_all(run, None)
    assert hint_effect.load_annotated_solution(run) is None
    assert "changed the teacher's mind" not in " ".join(Page(report.page(run)).text)
    shards = hint_effect._shards(run.manifests("teach"))
    monkeypatch.setattr(hint_effect, "_shards", lambda manifests: [shards[0]] * 4)
    found = iter(
        [AnnotatedSolution("most", 1, (hot("x", 0.5),)), None, AnnotatedSolution("least", 1, (hot("x", 0.1),))]
    )
    monkeypatch.setattr(
        AnnotatedSolution, "load", lambda metadata: next(found, AnnotatedSolution("median", 1, (hot("x", 0.2),)))
    )
    shown = hint_effect.load_annotated_solution(run)
    assert shown and shown.problem_id == "median"
