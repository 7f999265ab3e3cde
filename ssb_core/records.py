"""Every record that travels between stages, and the Arrow schema in which it is stored.

    Problem -> Rollout -> Verdict -> Selection (a ContrastivePair or a Rejection) -> TeacherTrace -> Sample

Records are frozen and slotted. Token ids are those that the engine sampled or read, never re-tokenised text. A problem
that leaves the pipeline has its reason in the row of the stage that dropped it, so the history of every problem can be
rebuilt from the shards alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

AnswerForm = Literal["boxed", "hash", "choice", "exact"]
"""The form in which a text gives its final answer: in the last ``\\boxed{}``, after ``####``, as a letter A to E, or as
a whole."""

NO_VOTE = -1
"""The number of a sample without an answer, where answers are numbered to be counted."""

FinishReason = Literal["stop", "length", "too_long"]
R = TypeVar("R")
VerdictStatus = Literal["correct", "incorrect", "no_answer", "unparsable", "timeout", "crashed", "rejected"]
Drop = Literal[
    "all_correct",
    "all_wrong",
    "unparsed",
    "unverified",
    "too_long",
    "no_answer",
    "truncated",
    "wrong_answer",
    "leak",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a checkable answer. `subject` and `level` are labels to report by, or empty."""

    id: str
    question: str
    answer: str
    subject: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion as an engine sampled it. Its ids end with the end-of-turn token, unless it was cut.

    `finish_reason` is ``stop``; ``length`` if the token cap cut it; or ``too_long`` if nothing was sampled, because the
    prompt plus max_new_tokens exceeds the context window.
    """

    completion_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason


TOO_LONG = Completion((), "", "too_long")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Answer number `index` of the base model to the question."""

    problem_id: str
    index: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verifier's judgement of one completion. Equal answers share one canonical `key`.

    `seconds` is the time it took. It is not stored, because equal work must give equal shards. The versions of the
    verifier and its libraries are not stored here either: the recipe of every shard of verdicts holds them.
    """

    status: VerdictStatus
    answer: str | None = None
    key: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def unverified(self) -> bool:
        """Whether the verifier gave up on the answer, so that it is neither right nor wrong."""
        return self.status in ("timeout", "crashed", "rejected")

    def matches_literally(self, gold: str) -> bool:
        """Whether the answer is the gold answer letter by letter: a second opinion that depends on notation."""
        return self.answer is not None and self.answer.strip() == gold.strip()


@dataclass(frozen=True, slots=True)
class Selection:
    """The select stage's row for one problem: every verdict, and the chosen pair or the reason why there is none.

    `correct` and `wrong` are indices of rollouts.
    """

    problem_id: str
    verdicts: tuple[Verdict, ...]
    correct: int | None
    wrong: int | None
    dropped: Drop | None


@dataclass(frozen=True, slots=True)
class ContrastivePair:
    """A problem with one correct rollout and one rollout holding the majority-wrong answer."""

    problem: Problem
    correct: Rollout
    wrong: Rollout


@dataclass(frozen=True, slots=True)
class Rejection:
    """A problem that left the pipeline at `stage`."""

    problem_id: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTrace:
    """A robust solution by the hinted teacher, or a rejected attempt; then `dropped` says why.

    ``signal.codecs`` stores the teacher's signal at every completion token beside these columns.
    """

    problem_id: str
    student_prompt_ids: tuple[int, ...]
    teacher_prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    seed: int
    verdict: Verdict
    dropped: Drop | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Answer number `index` of an evaluated model to one benchmark problem, graded. `prompt_hash` is the digest of its
    prompt's ids."""

    problem_id: str
    index: int
    seed: int
    prompt_hash: str
    completion_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScore:
    """One model on one benchmark. Values are rates of its samples unless noted; tokens are counted per sample.

    * `n`: problems. `samples`: samples per problem.
    * `accuracy`: avg@k. Its `standard_error` and 95% interval `ci95` are clustered by problem. With several training
      seeds they include the spread of `seeds`, which holds the accuracy of each (`seed_sd`; 0 for one seed).
    * `pass_at_k` by k; `maj_at_k` over all samples.
    * `string_match`: the accuracy if answers had to be written exactly as the reference answers are.
    * `unverified`: answers that the verifier gave up on, for lack of time in `timeouts` of them. They are not correct.
    """

    benchmark: str
    model: str
    n: int
    samples: int
    accuracy: float
    ci95: tuple[float, float]
    standard_error: float
    pass_at_k: dict[str, float]
    maj_at_k: float
    string_match: float
    no_answer: float
    truncated: float
    unverified: float
    timeouts: float
    mean_tokens: float
    p95_tokens: float
    seeds: tuple[float, ...]
    seed_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The accuracy of one model minus that of another on the same problems: a 95% interval and a two-sided p-value.

    `wins` and `losses` count the problems on which the first model is better, and worse. A true difference of
    `minimum_detectable_effect` would have been found with 80% power.
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float
    wins: int
    losses: int
    standard_error: float
    minimum_detectable_effect: float


def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record stored in shards."""
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    verdict = pa.struct([("status", pa.string()), ("answer", pa.string()), ("key", pa.string())])
    types: dict[str, pa.DataType] = {
        "index": pa.int32(),
        "correct": pa.int32(),
        "wrong": pa.int32(),
        "seed": pa.int64(),
        "prompt_ids": ids,
        "student_prompt_ids": ids,
        "teacher_prompt_ids": ids,
        "completion_ids": ids,
        "verdict": verdict,
        "verdicts": pa.list_(verdict),
    }
    return pa.schema([(f.name, types.get(f.name, pa.string())) for f in fields(record)])


def to_table(records: Sequence[Any], record: type) -> pa.Table:
    """Records of one type as a table of its `schema`."""
    import pyarrow as pa

    columns = schema(record)
    values = ([_plain(getattr(r, column.name)) for r in records] for column in columns)
    return pa.table([pa.array(v, column.type) for v, column in zip(values, columns, strict=True)], columns)


def _plain(value: Any) -> Any:
    """A value that Arrow takes: verdicts as dictionaries. Token ids stay as they are, since there are thousands."""
    if isinstance(value, Verdict):
        return asdict(value)
    if isinstance(value, tuple) and value and isinstance(value[0], Verdict):
        return [asdict(v) for v in value]
    return value


def from_row(record: type[R], row: dict[str, Any]) -> R:
    """The record in a row. Columns that are not fields of the record are ignored."""
    values = {f.name: row[f.name] for f in fields(record)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name == "verdict":
            values[name] = Verdict(**value)
        elif name == "verdicts":
            values[name] = tuple(Verdict(**v) for v in value)
        elif isinstance(value, list):
            values[name] = tuple(value)
    return record(**values)
