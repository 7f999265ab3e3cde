"""Why too few traces were taught: the yield in numbers, a text of each kind, and the field that would help.

It is read from the manifests and shards that a student builds on, when there is nothing to train on. The texts of
models are shortened, and nothing in them reaches the terminal but printable letters.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..config import Decoding
from ..errors import ConfigError, printable
from ..records import Drop, Selection, Verdict
from ..store import Store
from . import rollouts, select, teach
from .execute import required
from .spec import Spec, lineage

Kind = Literal["correct", "wrong", "unreadable", "no_answer", "cut", "unjudged", "too_long"]
KINDS: dict[Kind, str] = {
    "correct": "correct",
    "wrong": "wrong",
    "unreadable": "with an unreadable answer",
    "no_answer": "without an answer",
    "cut": "cut at the token cap",
    "unjudged": "not judged",
    "too_long": "not sampled (the prompt is too long)",
}
OUTCOMES: dict[str, str] = {
    "mixed": "mixed",
    "all_correct": "all correct",
    "all_wrong": "all wrong",
    "unparsed": "with too few answers",
    "unverified": "not judged",
    "too_long": "too long",
}
HEAD, TAIL = 50, 100  # letters shown of a text: an answer is at its end


@dataclass
class Shortage:
    """What became of every problem, rollout and solution of one round, and the first text of each kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    solutions: Counter[str] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)
    examples: dict[Kind, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> int:
        return self.outcomes.total()

    def main_kind(self) -> Kind | None:
        """The kind of at least half of all rollouts, if it is one that teaches nothing."""
        kind, n = self.kinds.most_common(1)[0] if self.kinds else (None, 0)
        return kind if kind not in ("correct", "wrong") and 2 * n >= self.kinds.total() else None

    def main_reason(self) -> str:
        """The outcome of most problems that became no pair."""
        reasons = self.outcomes - Counter(mixed=self.outcomes["mixed"])
        return reasons.most_common(1)[0][0] if reasons else "mixed"


def explain(student: Spec, store: Store, taught: int, held_out: int) -> str:
    """The message of the error: too few traces for `student`, and why. It ends with the remedy."""
    waves = [s for s in lineage(student) if isinstance(s, select.Spec) and s.round == student.round]
    shortage, first = Shortage(), waves[0]
    for wave in waves:
        _count(shortage, wave, store)
    written = [s.solutions for s in lineage(student) if isinstance(s, teach.Spec) and s.round == student.round]
    for solutions in written:
        _count_solutions(shortage, solutions, store)
    cause, remedy = _diagnose(shortage, first.rollouts, written[0].decoding, held_out)
    only = f"; {held_out:,} are held out (distill.held_out)" if held_out else ""
    said = "no trace was taught" if not taught else f"too few traces were taught ({taught:,}{only})"
    examples = [shortage.examples[kind] for kind in KINDS if kind in shortage.examples] + [*shortage.dropped.values()]
    lines = [f"{said}, so there is nothing to train on: {cause}", *_figures(shortage), *examples]
    return "\n  ".join([*lines, f"remedy: {remedy}"])


def _count(shortage: Shortage, spec: select.Spec, store: Store) -> None:
    """Add the problems and rollouts of one wave, and examples of kinds that have none yet."""
    selected, sampled = required(spec, store), required(spec.rollouts, store)
    columns = ["problem_id", "index", "finish_reason", "text"]
    for chosen, rolled in zip(selected.files, sampled.files, strict=True):
        selections = {s.problem_id: s for s in store.records(selected, chosen, Selection)}
        shortage.outcomes.update(s.dropped or "mixed" for s in selections.values())
        for row in store.table(sampled, rolled, columns).to_pylist():
            verdicts = selections[row["problem_id"]].verdicts
            verdict = verdicts[row["index"]] if verdicts else None
            kind = _kind(verdict, row["finish_reason"])
            shortage.kinds[kind] += 1
            if kind not in shortage.examples and verdict:
                shortage.examples[kind] = _example(spec.rollouts, kind, row, verdict)


def _count_solutions(shortage: Shortage, spec: teach.Solutions, store: Store) -> None:
    """Add the solutions of one wave, and an example of each reason for which some are dropped."""
    manifest = required(spec, store)
    shortage.solutions.update({k: n for k, n in manifest.stats.items() if k in ("taught", *get_args(Drop))})
    for table in store.tables(manifest, ["problem_id", "dropped", "text"]):
        for row in table.to_pylist():
            if (why := row["dropped"]) and why not in shortage.dropped:
                head = f"solution dropped as {why.replace('_', ' ')}, problem {_short(row['problem_id'])}"
                shortage.dropped[why] = f"{head}: {_short(row['text'])}"


def _kind(verdict: Verdict | None, finish_reason: str) -> Kind:
    if verdict is None:
        return "too_long"
    if verdict.status == "correct":
        return "correct"
    if finish_reason == "length":
        return "cut"
    kinds: dict[str, Kind] = {"incorrect": "wrong", "unparsable": "unreadable", "no_answer": "no_answer"}
    return kinds.get(verdict.status, "unjudged")


def _example(spec: rollouts.Spec, kind: Kind, row: dict[str, str], verdict: Verdict) -> str:
    """A rollout in one line: its problem, its kind, its answer beside the reference answer, and its text."""
    said = ""
    if verdict.answer is not None:
        said = f" (answer {_short(verdict.answer)}"
        with contextlib.suppress(ConfigError):  # the problem file may have changed since
            said += "".join(f", reference {_short(p.answer)}" for p in spec.load_wave() if p.id == row["problem_id"])
        said += ")"
    return f"{KINDS[kind]}, problem {_short(row['problem_id'])}{said}: {_short(row['text'])}"


def _short(text: str) -> str:
    """A text on one line, quoted, without its middle if it is long."""
    ends = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} ... {text[-TAIL:]}"
    return f'"{printable(" ".join(ends.split()))}"'


def _figures(s: Shortage) -> Iterator[str]:
    outcomes = ", ".join(f"{s.outcomes[name]:,} {words}" for name, words in OUTCOMES.items() if s.outcomes[name])
    yield f"problems: {s.problems:,} ({outcomes})"
    total = s.kinds.total()
    shares = (f"{100 * s.kinds[kind] / total:.1f}% {words}" for kind, words in KINDS.items() if s.kinds[kind])
    yield f"rollouts: {total:,} ({', '.join(shares)})"
    if s.solutions:
        dropped = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in s.solutions.most_common())
        yield f"solutions: {s.solutions.total():,} ({dropped})"


def _diagnose(s: Shortage, spec: rollouts.Spec, taught: Decoding, held_out: int) -> tuple[str, str]:
    """The main cause in words, and the field that would help."""
    if s.outcomes["mixed"] > held_out and 2 * s.solutions["taught"] < s.solutions.total():
        return _of_teacher(s, taught)
    kind, reason = s.main_kind(), s.main_reason()
    if kind is None and 2 * s.outcomes["mixed"] >= s.problems:
        return "there are too few problems", _more_problems(spec, held_out)
    cause, remedy = _of_rollouts(kind or reason, spec)
    more = f"; or {_more_problems(spec, held_out)}" if s.outcomes["mixed"] else ""
    return cause, remedy + more


def _of_rollouts(reason: str, spec: rollouts.Spec) -> tuple[str, str]:
    cap, samples = spec.rollouts.max_new_tokens, spec.rollouts.samples
    form = "a letter in \\boxed{}" if spec.problems.completion_form == "choice" else "\\boxed{}"
    match reason:
        case "cut":
            return "most rollouts are cut at the token cap", f"raise rollouts.max_new_tokens (now {cap:,})"
        case "no_answer" | "unreadable" | "unparsed":
            what = "no answer" if reason != "unreadable" else "no readable answer"
            return f"most rollouts give {what} in the form asked for ({form})", (
                f"show the model the form: give worked examples that end in {form} (prompts.few_shot), or choose a "
                "model that follows instructions (model.source); if texts end too early, raise "
                f"rollouts.max_new_tokens (now {cap:,})"
            )
        case "all_correct":
            return "every rollout of most problems is correct, which leaves no mistake to learn from", (
                f"choose harder problems (problems.source), or sample more (rollouts.samples, now {samples}, or "
                f"rollouts.temperature, now {spec.rollouts.temperature:g})"
            )
        case "all_wrong":
            return "no rollout of most problems is correct", (
                f"choose easier problems (problems.source) or a better model (model.source), or sample more "
                f"(rollouts.samples, now {samples}); if wrong answers look right above, see the form of the "
                "reference answers (problems.form)"
            )
        case "too_long":
            return "most prompts are too long for the model's context", (
                "choose shorter problems (problems.source), fewer worked examples (prompts.few_shot), or a lower "
                f"rollouts.max_new_tokens (now {cap:,})"
            )
        case _:
            return "the verifier gave up on most answers", "see the answers above, and choose other problems"


def _of_teacher(s: Shortage, taught: Decoding) -> tuple[str, str]:
    """Why pairs gave no traces, whose solutions were sampled as `taught` says."""
    dropped = s.solutions - Counter(taught=s.solutions["taught"])
    reason = dropped.most_common(1)[0][0] if dropped else ""
    cap, temperature = f"(now {taught.max_new_tokens:,})", f"teach.temperature (now {taught.temperature:g})"
    remedies = {
        "truncated": ("are cut at the token cap", f"raise teach.max_new_tokens {cap}"),
        "no_answer": (
            "give no answer in the form asked for",
            "give worked examples (prompts.few_shot), also to the teacher (prompts.teach_few_shot), or lower "
            f"{temperature}",
        ),
        "wrong_answer": ("end in a wrong answer", f"lower {temperature}, or choose a better model (model.source)"),
        "leak": (
            "mention the rollouts that the teacher saw",
            f"give worked examples (prompts.few_shot), change {temperature}, or choose a better model (model.source)",
        ),
        "too_long": (
            "were not written, because the prompt with both rollouts is too long for the model's context",
            f"lower rollouts.max_new_tokens or teach.max_new_tokens {cap}",
        ),
    }
    what, remedy = remedies.get(reason, ("were not judged", "choose other problems"))
    return f"most of the teacher's solutions {what}", remedy


def _more_problems(spec: rollouts.Spec, held_out: int) -> str:
    limit = spec.problems.limit
    more = f"raise problems.limit (now {limit:,})" if limit else "choose a larger set of problems (problems.source)"
    return f"{more}, or lower distill.held_out (now {held_out:,})" if held_out else more
