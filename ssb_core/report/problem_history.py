"""The history of one problem in words.

`sections` is the only place where a history is put into words. The terminal (`render`), report.html and Prefect pages
only lay the sections out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import printable
from ..records import Rollout, Sample, Selection, TeacherTrace, Verdict, VerdictStatus
from ..results.problem_history import ProblemHistory

WIDTH = 100
LONGEST = 20_000  # characters shown of one text
VERDICTS: dict[VerdictStatus, str] = {
    "correct": "correct",
    "incorrect": "wrong",
    "no_answer": "no answer",
    "unparsable": "unreadable answer",
    "timeout": "not judged in time",
    "crashed": "crashed the verifier",
    "rejected": "not judged",
}
UNVERIFIABLE = "Never sampled, because nothing can be verified against its reference answer"
REASONS = {
    "all_correct": "every rollout is correct, so there is no mistake to contrast with",
    "all_wrong": "no rollout is correct, so there is nothing to teach from",
    "unparsed": "too few rollouts have a readable answer to make a pair",
    "unverified": "the verifier gave up on an answer, so it may be right or wrong",
    "too_long": "the prompt and a full-length completion do not fit into the model's context",
    "no_answer": "the solution gives no final answer",
    "truncated": "the solution hit the token cap",
    "wrong_answer": "the solution ends in a wrong answer",
    "leak": "the solution mentions the rollouts that the teacher saw",
    "held_out": "its loss is watched, but it is not trained on",
    "above_target": "target_traces was reached without it",
}


@dataclass(frozen=True, slots=True)
class CompletionView:
    """One completion as a reader sees it. `caption` gives its verdict and everything else about it in words."""

    status: VerdictStatus
    caption: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """The outcome of one stage for the problem, in words, and the completions that it is about."""

    title: str
    outcome: str
    completions: tuple[CompletionView, ...]


def sections(history: ProblemHistory) -> list[Section]:
    """The history in words: one section for each stage that the problem reached."""
    parts = []
    if history.unverifiable:
        parts.append(Section("Left out", f"{UNVERIFIABLE}: {history.unverifiable.reason}.", ()))
    if history.rollouts or history.selection:
        parts.append(_rollouts_section(history))
    if history.trace:
        parts.append(_solution_section(history.trace))
    return parts + [_samples_section(name, samples) for name, samples in history.samples]


def _rollouts_section(history: ProblemHistory) -> Section:
    if any(r.finish_reason == "too_long" for r in history.rollouts):
        length = f"Its prompt has {len(history.rollouts[0].prompt_ids):,} tokens."
        return Section("Rollouts", f"Dropped (too_long): {REASONS['too_long']}. {length}", ())
    selection, verdicts = history.selection, [Verdict("rejected")] * len(history.rollouts)
    outcome, roles = "Not judged in this run.", {}
    if selection:
        outcome, verdicts = _outcome(selection), list(selection.verdicts)
        roles = {
            selection.correct: "shown to the teacher as correct",
            selection.wrong: "shown to the teacher as majority wrong",
        }
    graded = zip(history.rollouts, verdicts, strict=True)
    views = tuple(describe_completion(r, v, r.index, roles.get(r.index, "")) for r, v in graded)
    return Section("Rollouts", outcome, views)


def _outcome(s: Selection) -> str:
    if s.dropped or s.wrong is None:
        return f"Dropped ({s.dropped}): {REASONS.get(s.dropped or '', 'no pair')}."
    correct = sum(v.status == "correct" for v in s.verdicts)
    majority = s.verdicts[s.wrong]
    same = sum((v.status, v.key or v.answer) == (majority.status, majority.key or majority.answer) for v in s.verdicts)
    return f"{correct} of {len(s.verdicts)} correct; {same} with the majority wrong answer, {majority.answer}."


def _solution_section(trace: TeacherTrace) -> Section:
    views = (describe_completion(trace, trace.verdict),) if trace.completion_ids else ()
    if trace.dropped:
        length = f" Its prompt has {len(trace.teacher_prompt_ids):,} tokens." if trace.dropped == "too_long" else ""
        return Section("Rejected solution", f"Dropped ({trace.dropped}): {REASONS[trace.dropped]}.{length}", views)
    return Section("Taught solution", "Its answer was verified again, so it was kept as a trace.", views)


def _samples_section(name: str, samples: Sequence[Sample]) -> Section:
    correct = sum(s.verdict.status == "correct" for s in samples)
    views = tuple(describe_completion(s, s.verdict, s.index) for s in samples)
    return Section(name, f"{correct} of {len(samples)} correct.", views)


def describe_completion(
    row: Rollout | TeacherTrace | Sample, verdict: Verdict, index: int | None = None, role: str = ""
) -> CompletionView:
    """A completion with its verdict and everything else about it in words."""
    parts = [
        VERDICTS[verdict.status] if index is None else f"#{index} {VERDICTS[verdict.status]}",
        f"answer {verdict.answer}" if verdict.answer is not None else "",
        f"{len(row.completion_ids)} tokens",
        "cut at the token cap" if row.finish_reason == "length" and row.completion_ids else "",
        role,
    ]
    return CompletionView(verdict.status, ", ".join(p for p in parts if p), row.text)


def render(history: ProblemHistory) -> str:
    """The history as plain text of at most 100 columns."""
    p, parts = history.problem, sections(history)
    heading = ", ".join(part for part in (p.id, history.problem_set_name, p.subject, p.level) if part)
    blocks = [_wrap(heading, 0), "Question\n" + _wrap(p.question, 4), "Reference answer\n" + _wrap(p.answer, 4)]
    for section in parts:
        blocks.append(f"{section.title}\n{_wrap(section.outcome, 4)}")
        blocks += [f"{_wrap(c.caption, 4)}\n{_wrap(c.text, 8)}" for c in section.completions]
    if not parts:
        blocks.append("The run ended, or had taught enough, before it reached this problem.")
    return "\n\n".join(blocks)


def _wrap(text: str, indent: int) -> str:
    """Indent and wrap `text`, keeping its line breaks.

    Characters that could control a terminal become U+FFFD, and a text longer than `LONGEST` is cut.
    """
    pad = " " * indent
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n... ({len(text):,} characters in all)"
    lines = [printable(line) for line in text.splitlines()]
    parts = [part for line in lines for part in textwrap.wrap(line, WIDTH - indent, replace_whitespace=False) or [""]]
    return "\n".join((pad + part).rstrip() for part in parts)
