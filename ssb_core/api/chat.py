"""A conversation with both models of a finished run: its base and its student answer the same question.

Each question stands alone, with the prompt of the run's evaluation: models see no earlier question.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import problems, prompts, verify
from ..config import Decoding, Example, RunConfig
from ..engines.sampler import seed_for
from ..errors import ConfigError
from ..records import AnswerForm, Completion, Problem, Verdict
from ..results.problem_history import is_short_for
from ..results.provenance import Provenance
from ..results.student import find_adapter
from ..runs import Run

if TYPE_CHECKING:
    from ..engines.stream import StreamSampler


@dataclass
class Answer:
    """The answer of one model. Iterate over it once, to read its text while it is written.

    `completion` is None until the answer is whole: it stays None if the iteration ends early.
    """

    model: str
    parts: Iterator[str | Completion]
    text: str = ""
    completion: Completion | None = None

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, Completion):
                self.completion, self.text = part, part.text
                return
            self.text += part
            yield part


@dataclass(frozen=True, slots=True)
class KnownProblem:
    """A problem of the run, and the form in which completions state its answer."""

    problem: Problem
    form: AnswerForm


@dataclass
class Chat:
    """Base and student of a run, loaded once, with the settings of its evaluation."""

    sampler: StreamSampler
    decoding: Decoding
    few_shot: tuple[Example, ...]
    known: Mapping[str, KnownProblem]
    """Problems of the run by their id and by their question."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def open(cls, run: Run, changes: Mapping[str, Any] | None = None, few_shot: bool | None = None) -> Chat:
        """Load the models of `run`.

        `changes` replace fields of the evaluation's decoding. `few_shot` says whether worked examples come before the
        question; None: as in the run's first benchmark.

        Raises:
            ConfigError: the run has no student, or its model is no longer what it was.
            ValueError: a change has a wrong value.
            StoreError: the store no longer has the student, or it is damaged.
        """
        provenance, adapter = Provenance.load(run), find_adapter(run)
        first = provenance.config.evaluate.benchmarks[0]
        decoding = Decoding.model_validate(provenance.config.evaluate.decoding(first).recipe | dict(changes or {}))
        examples = provenance.config.prompts.few_shot if (first.few_shot if few_shot is None else few_shot) else ()
        from ..engines.stream import StreamSampler

        sampler = StreamSampler(provenance.model, provenance.config.execution, adapter.weights.parent)
        return cls(sampler, decoding, examples, known_problems(provenance.config))

    def find(self, line: str) -> KnownProblem | None:
        """The problem with this id or question, if there is one. ``nano-train-7`` is ``nano-train-0007``."""
        if (exact := self.known.get(line)) or " " in line:
            return exact
        meant = {k.problem.id: k for k in self.known.values() if is_short_for(line, k.problem.id)}
        return next(iter(meant.values())) if len(meant) == 1 else None

    def ask(self, question: str) -> tuple[Answer, Answer]:
        """The answers of base and student to a question. The same question gets another sample the next time."""
        number = next(self.numbers)
        messages = prompts.tutor_messages(question, self.few_shot)
        seed = seed_for("chat", self.decoding.seed, question, number)
        base, student = (self.sampler.stream(messages, self.decoding, seed, adapted) for adapted in (False, True))
        return Answer("base", base), Answer("student", student)

    def verdicts(self, question: str, answers: tuple[Answer, ...]) -> list[Verdict]:
        """The verdict on each whole answer to a known problem's question; empty for any other question."""
        texts = [a.completion.text for a in answers if a.completion]
        if question.strip() not in self.known or len(texts) < len(answers):
            return []
        known = self.known[question.strip()]
        with verify.Verifier(known.form) as verifier:
            return list(verifier.grade((text, known.problem.answer) for text in texts))


def known_problems(config: RunConfig) -> dict[str, KnownProblem]:
    """The problems of a run by id and by question, without those of the hub, which would have to be asked for them."""
    known: dict[str, KnownProblem] = {}
    for problem_set in (*config.evaluate.benchmarks, config.problems):
        with contextlib.suppress(ConfigError):  # a file that is gone; nobody needs it to chat
            for problem in () if problems.is_on_hub(problem_set) else problems.load_problems(problem_set):
                for key in (problem.id, problem.question.strip()):
                    known.setdefault(key, KnownProblem(problem, problem_set.completion_form))
    return known
