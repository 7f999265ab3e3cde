"""What became of one problem in a run: its whole story through the stages, told from the shards alone.

Shards are found through the problem ids in their sidecars, so a story reads one shard a stage, and of that only the
columns of the record: never captured vectors. `chapters` is the one place where a story is put into words; the
terminal (`render`) and report.html only lay it out.
"""

from __future__ import annotations

import difflib
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from .. import problems
from ..config import ProblemsConfig
from ..errors import ConfigError
from ..records import Problem, Rejection, Rollout, Sample, Selection, TeacherTrace, Verdict, VerdictStatus, from_row
from ..store import Manifest
from . import queries

if TYPE_CHECKING:
    from ..runs import Run

R = TypeVar("R")
WIDTH = 100
LONGEST = 20_000  # characters of one text that are shown
TRAINING = "training problem"
VERDICTS: dict[VerdictStatus, str] = {
    "correct": "correct",
    "incorrect": "wrong",
    "no_answer": "no answer",
    "unparsable": "unreadable answer",
    "timeout": "not judged in time",
    "crashed": "crashed the verifier",
    "rejected": "not judged",
}
BAD_GOLD = "Never asked, because nothing can be verified against its reference answer"
REASONS = {
    "all_correct": "every rollout is correct, so there is no mistake to contrast with",
    "all_wrong": "no rollout is correct, so there is nothing to teach from",
    "unparsed": "too few rollouts have a readable answer to make a pair",
    "unverified": "the verifier gave up on an answer, so nobody knows whether it is right",
    "too_long": "the prompt and a full-length completion do not fit into the model's context",
    "no_answer": "the solution gives no final answer",
    "truncated": "the solution hit the token cap",
    "wrong_answer": "the solution ends in a wrong answer",
    "leak": "the solution mentions the rollouts that the teacher was shown",
    "held_out": "its loss is watched, but it is not trained on",
    "above_target": "target_traces was reached without it",
}


@dataclass(frozen=True, slots=True)
class Story:
    """One problem in a run. What the run did not reach, or what is not about this problem, is empty.

    `origin` is ``training problem`` or the name of a benchmark; `samples` are those of each evaluation; `left_out`
    is why the problem was not asked at all.
    """

    problem: Problem
    origin: str
    rollouts: tuple[Rollout, ...] = ()
    selection: Selection | None = None
    trace: TeacherTrace | None = None
    samples: tuple[tuple[str, tuple[Sample, ...]], ...] = ()
    left_out: Rejection | None = None

    @property
    def rejection(self) -> Rejection | None:
        """Where and why the problem left the pipeline, if it did."""
        if self.left_out:
            return self.left_out
        for stage, row in (("select", self.selection), ("teach", self.trace)):
            if row is not None and row.dropped:
                return Rejection(self.problem.id, stage, row.dropped)
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion as a reader sees it: `caption` is its verdict and all other facts in words."""

    status: VerdictStatus
    caption: str
    text: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one stage did with the problem: the outcome in words, and the completions it is about."""

    title: str
    outcome: str
    answers: tuple[Answer, ...]


def tell(run: Run, problem_id: str) -> Story:
    """The story of one problem, of the training set or of a benchmark.

    Raises:
        ConfigError: no problem set of the run has this id; the message names the nearest ones.
        StoreError: the store no longer holds the run's shards.
    """
    problem, origin, left_out = _find(run, problem_id)
    if left_out:
        return Story(problem, origin, left_out=left_out)
    if origin != TRAINING:
        benchmarks = queries.configuration(run).evaluate.limited_benchmarks()
        where = {b.name for b in benchmarks if problem in problems.load_problems(b)}  # ids are only unique within a set
        asked = [e for e in queries.evaluations(run) if e.benchmark in where]
        samples = [(f"{e.model} on {e.benchmark}", _rows(run, [e.manifest], Sample, problem.id)) for e in asked]
        return Story(problem, origin, samples=tuple(samples))
    rollouts = _rows(run, run.manifests("rollouts"), Rollout, problem.id)
    selections = _rows(run, run.manifests("select"), Selection, problem.id)
    traces = _rows(run, run.manifests("teach"), TeacherTrace, problem.id)
    return Story(problem, origin, rollouts, next(iter(selections), None), next(iter(traces), None))


def examples(run: Run, n: int = 1, stage: str = "teach") -> list[Story]:
    """The stories of the first `n` taught problems; or of those that another stage, select, kept."""
    return [tell(run, problem_id) for problem_id in islice(_kept_ids(run, stage), n)]


def flipped(run: Run, better: int = 2, worse: int = 1) -> list[Story]:
    """Benchmark problems that the student does most better on than the base, and most worse, with both's samples."""
    found = [e for e in queries.evaluations(run) if e.model in ("base", "ssb")]
    first = {e.model: e for e in reversed(found) if e.benchmark == found[0].benchmark}
    if len(first) < 2:
        return []
    base, student = (_right(run, first[model].manifest) for model in ("base", "ssb"))
    change = {problem_id: student[problem_id] - base[problem_id] for problem_id in base if problem_id in student}
    up = [i for i in sorted(change, key=lambda i: -change[i]) if change[i] > 0][:better]
    down = [i for i in sorted(change, key=lambda i: change[i]) if change[i] < 0][:worse]
    stories = [tell(run, problem_id) for problem_id in (*up, *down)]
    both = {f"{model} on {e.benchmark}" for model, e in first.items()}
    return [replace(s, samples=tuple((what, rows) for what, rows in s.samples if what in both)) for s in stories]


def _right(run: Run, manifest: Manifest) -> Counter[str]:
    """How many samples of each problem are correct."""
    counted: Counter[str] = Counter()
    for table in run.store.tables(manifest, ["problem_id", "verdict"]):
        for row in table.to_pylist():
            counted[row["problem_id"]] += row["verdict"]["status"] == "correct"
    return counted


def _find(run: Run, problem_id: str) -> tuple[Problem, str, Rejection | None]:
    """The problem, the name of its set, and why it was left out, if it was.

    An id that stands in several sets means the training problem, one that is left out only if it stands in no other.
    """
    config = queries.configuration(run)
    sets: dict[str, ProblemsConfig] = {
        TRAINING: config.problems,
        **{b.name: b for b in config.evaluate.limited_benchmarks()},
    }
    for problem, origin, left_out in _every(sets):
        if problem.id == problem_id:
            return problem, origin, left_out
    ids = (problem.id for problem, _, _ in _every(sets))
    near = (
        difflib.get_close_matches(problem_id, ids, n=3) or [problems.load_problems(s)[0].id for s in sets.values()][:3]
    )
    raise ConfigError(
        f"run {run.name} has no problem {problem_id!r}\n  remedy: give one of its ids, like {', '.join(near)}"
    )


def _every(sets: Mapping[str, ProblemsConfig]) -> Iterator[tuple[Problem, str, Rejection | None]]:
    """The problems of all sets, and behind them those that are left out, each with its set and the reason."""
    for origin, config in sets.items():
        yield from ((problem, origin, None) for problem in problems.load_problems(config))
    for origin, config in sets.items():
        for problem, why in zip(problems.unverifiable(config), problems.rejections(config), strict=True):
            yield problem, origin, why


def _rows(run: Run, manifests: Iterable[Manifest], record: type[R], problem_id: str) -> tuple[R, ...]:
    """The records of one problem, from the one shard that holds it."""
    import pyarrow.compute as pc

    columns = [f.name for f in fields(record)]  # type: ignore[arg-type]
    for manifest in manifests:
        for entry in manifest.files:
            if problem_id in run.store.sidecar(manifest, entry).problem_ids:
                table = run.store.table(manifest, entry, columns)
                mine = table.filter(pc.equal(table["problem_id"], problem_id))
                return tuple(from_row(record, row) for row in mine.to_pylist())
    return ()


def _kept_ids(run: Run, stage: str) -> Iterator[str]:
    for manifest in run.manifests(stage):
        for table in run.store.tables(manifest, ["problem_id", "dropped"]):
            yield from (row["problem_id"] for row in table.to_pylist() if row["dropped"] is None)


def chapters(story: Story) -> list[Chapter]:
    """The story in words: one chapter for each stage that saw the problem."""
    found = []
    if story.left_out:
        found.append(Chapter("Left out", f"{BAD_GOLD}: {story.left_out.reason}.", ()))
    if story.rollouts or story.selection:
        found.append(_rollouts_chapter(story))
    if story.trace:
        found.append(_solution_chapter(story.trace))
    return found + [_samples_chapter(what, samples) for what, samples in story.samples]


def _rollouts_chapter(story: Story) -> Chapter:
    if any(r.finish_reason == "too_long" for r in story.rollouts):
        length = f"Its prompt takes {len(story.rollouts[0].prompt_ids):,} tokens."
        return Chapter("Rollouts", f"Dropped (too_long): {REASONS['too_long']}. {length}", ())
    chosen, verdicts = story.selection, [Verdict("rejected")] * len(story.rollouts)
    outcome, roles = "Not judged in this run.", {}
    if chosen:
        outcome, verdicts = _outcome(chosen), list(chosen.verdicts)
        roles = {
            chosen.correct: "shown to the teacher as correct",
            chosen.wrong: "shown to the teacher as majority wrong",
        }
    graded = zip(story.rollouts, verdicts, strict=True)
    return Chapter("Rollouts", outcome, tuple(answer(r, v, r.index, roles.get(r.index, "")) for r, v in graded))


def _outcome(s: Selection) -> str:
    if s.dropped or s.wrong is None:
        return f"Dropped ({s.dropped}): {REASONS.get(s.dropped or '', 'no pair')}."
    correct = sum(v.status == "correct" for v in s.verdicts)
    majority = s.verdicts[s.wrong]
    same = sum((v.status, v.key or v.answer) == (majority.status, majority.key or majority.answer) for v in s.verdicts)
    return f"{correct} of {len(s.verdicts)} correct; {same} with the majority wrong answer, {majority.answer}."


def _solution_chapter(trace: TeacherTrace) -> Chapter:
    answers = (answer(trace, trace.verdict),) if trace.completion_ids else ()
    if trace.dropped:
        length = f" Its prompt takes {len(trace.teacher_prompt_ids):,} tokens." if trace.dropped == "too_long" else ""
        return Chapter("Rejected solution", f"Dropped ({trace.dropped}): {REASONS[trace.dropped]}.{length}", answers)
    return Chapter("Taught solution", "Its answer was verified again: kept as a trace.", answers)


def _samples_chapter(what: str, samples: Sequence[Sample]) -> Chapter:
    correct = sum(s.verdict.status == "correct" for s in samples)
    answers = tuple(answer(s, s.verdict, s.index) for s in samples)
    return Chapter(what, f"{correct} of {len(samples)} correct.", answers)


def answer(row: Rollout | TeacherTrace | Sample, verdict: Verdict, index: int | None = None, role: str = "") -> Answer:
    """A completion with its verdict and all other facts in words."""
    facts = [
        VERDICTS[verdict.status] if index is None else f"#{index} {VERDICTS[verdict.status]}",
        f"answer {verdict.answer}" if verdict.answer is not None else "",
        f"{len(row.completion_ids)} tokens",
        "cut at the token cap" if row.finish_reason == "length" and row.completion_ids else "",
        role,
    ]
    return Answer(verdict.status, ", ".join(f for f in facts if f), row.text)


def render(story: Story) -> str:
    """The story as plain text of at most 100 columns."""
    p, told = story.problem, chapters(story)
    head = ", ".join(f for f in (p.id, story.origin, p.subject, p.level) if f)
    blocks = [_wrap(head, 0), "Question\n" + _wrap(p.question, 4), "Reference answer\n" + _wrap(p.answer, 4)]
    for chapter in told:
        blocks.append(f"{chapter.title}\n{_wrap(chapter.outcome, 4)}")
        blocks += [f"{_wrap(a.caption, 4)}\n{_wrap(a.text, 8)}" for a in chapter.answers]
    if not told:
        blocks.append("The run ended, or had taught enough, before it came to this problem.")
    return "\n\n".join(blocks)


def _wrap(text: str, indent: int) -> str:
    """`text` with its own line breaks, indented; what could steer a terminal is shown as U+FFFD, no book in full."""
    pad = " " * indent
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n... ({len(text):,} characters in all)"
    lines = ["".join(c if c.isprintable() else "\ufffd" for c in line.expandtabs(4)) for line in text.splitlines()]
    parts = [part for line in lines for part in textwrap.wrap(line, WIDTH - indent, replace_whitespace=False) or [""]]
    return "\n".join((pad + part).rstrip() for part in parts)
