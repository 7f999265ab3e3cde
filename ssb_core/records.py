"""Every type that travels between stages, and the Arrow schema in which it is stored.

    Problem -> Rollout -> Verdict -> Selection (a ContrastivePair or a Rejection) -> TeacherTrace -> Sample

Records are frozen and slotted. Token ids are what the engine sampled or read, never re-tokenised text. A problem that
leaves the pipeline leaves its reason in the row of the stage that dropped it, so its whole story can be told from the
shards alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

AnswerForm = Literal["boxed", "hash", "choice", "exact"]
"""How a text gives its final answer: in the last ``\\boxed{}``, after ``####``, as a letter A to E, or as a whole."""

NO_VOTE = -1
"""Stands for the answer of a sample that states none, where answers are numbered to be counted."""

FinishReason = Literal["stop", "length", "too_long"]
R = TypeVar("R")
Status = Literal["correct", "incorrect", "no_answer", "unparsable", "timeout", "crashed", "rejected"]
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
    """What an engine sampled: ids end with the end-of-turn token unless `finish_reason` is ``length``.

    ``too_long`` means that nothing was, as the prompt and a full-length completion exceed the model's context.
    """

    completion_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason


TOO_LONG = Completion((), "", "too_long")


@dataclass(frozen=True, slots=True)
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
    """What the verifier says of one completion. Equal answers share one canonical `key`.

    `seconds` is what it took and is not stored (equal work must give equal shards), nor are the versions of the
    verifier and its libraries: the recipe of every shard of verdicts holds them.
    """

    status: Status
    answer: str | None = None
    key: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def unverified(self) -> bool:
        """Whether the verifier gave up on the answer, which then is neither right nor wrong."""
        return self.status in ("timeout", "crashed", "rejected")

    def matches_literally(self, gold: str) -> bool:
        """Whether the answer is the gold answer letter for letter: the second opinion, to which notation matters."""
        return self.answer is not None and self.answer.strip() == gold.strip()


@dataclass(frozen=True, slots=True)
class Selection:
    """The select stage's row for one problem: every verdict, and the chosen pair or the reason there is none."""

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


@dataclass(frozen=True, slots=True)
class TeacherTrace:
    """A robust solution by the hinted teacher, or its rejected attempt (then `dropped` says why).

    The teacher's signal at every completion token is stored beside these columns by ``signal.codecs``.
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


@dataclass(frozen=True, slots=True)
class Sample:
    """Answer number `index` of an evaluated model to one benchmark problem, graded; `prompt_hash` is of its prompt."""

    problem_id: str
    index: int
    seed: int
    prompt_hash: str
    completion_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class BenchmarkScore:
    """One model on one benchmark, in rates of its samples unless said otherwise; tokens are per sample.

    `accuracy` is avg@k; `standard_error` and `ci95` (95%) are clustered by problem, and include the spread of `seeds`,
    the accuracy of each training, where there are several (`seed_sd`, 0 for one). `pass_at_k` is by k, `maj_at_k` that
    of all samples. `string_match` is the accuracy if answers had to be written just as the reference answers are,
    `unverified` the rate of answers that the verifier gave up on, `timeouts` of those among them for lack of time;
    they count as not correct.
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


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Accuracy of one model minus another on the same problems, with a 95% interval and a two-sided p-value.

    `wins` and `losses` count the problems on which the first does better, and worse. A true difference of
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
    """What Arrow takes: verdicts as dictionaries; token ids as they are, for there are thousands."""
    if isinstance(value, Verdict):
        return asdict(value)
    if isinstance(value, tuple) and value and isinstance(value[0], Verdict):
        return [asdict(v) for v in value]
    return value


def from_row(record: type[R], row: dict[str, Any]) -> R:
    """Rebuild a record from its row; columns that are not fields of the record are ignored."""
    values = {f.name: row[f.name] for f in fields(record)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name == "verdict":
            values[name] = Verdict(**value)
        elif name == "verdicts":
            values[name] = tuple(Verdict(**v) for v in value)
        elif isinstance(value, list):
            values[name] = tuple(value)
    return record(**values)
