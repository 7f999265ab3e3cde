"""Stage teach: the hinted teacher writes a robust solution; its exact signal at every token is captured.

Two requests in a row, each with its own shards: `Solutions` (sampled with the hint, verified again, checked for
mentions of the hint) and `Spec` (the base model's hidden states over hinted prompt + solution). Another codec or
precision therefore never samples again. Rejected solutions keep their row, with the reason and no signal.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar
from unicodedata import category, normalize

from .. import models, prompts, verify
from ..config import Decoding, Example, TeachConfig
from ..engines import K, Sampler, SampleRequest, complete, open_sampler, release, requests_for
from ..progress import Progress
from ..records import Completion, ContrastivePair, Drop, TeacherTrace, Verdict, from_row, to_table
from ..store import Store, digest
from . import select
from .shards import Input, Work, downstream_inputs, run_shards, sampled_table
from .spec import Outcome, execute, required
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from ..signal.teachers import Teacher

LEAK = re.compile(
    r"\b(?:incorrect|wrong|erroneous|flawed) (?:student|response|attempt|solution)s?\b"
    r"|\b(?:previous|provided) (?:students?|responses?|attempts?|solutions)\b"
    r"|\bsolutions?(?: (?:shown|given|provided))? above\b|\babove solutions?\b"
    r"|\bstudents?['\u2019]?s? (?:solution|response|attempt|answer|reasoning|mistake|error)s?\b",
    re.IGNORECASE,
)
STORY = re.compile(
    r"\b(?:the|this|that|first|second|other|both) (student|response|attempt)s?\b"
    r"|\b(?:previous|provided) (solution)\b",
    re.IGNORECASE,
)
JUDGED = re.compile(
    r"\b(?:student|response|attempt)s? (?:"
    r"(?:(?:is|are|was|were|got it) )?(?:incorrect|wrong|mistaken|erroneous)(?:ly)?"
    r"|(?:made|makes?) (?:an?|the|this|that) (?:\w+ ){0,2}(?:mistake|error)"
    r"|mis(?:calculat|comput|count|read|interpret|appl)\w*|forg[eo]ts?|overlook(?:s|ed)?)\b"
    r"|\b(?:response|attempt)s?(?: (?:shown|given|provided))? above\b|\babove (?:response|attempt)s?\b",
    re.IGNORECASE,
)
MARKUP = re.compile(r"(?:\\(?:text\w*|emph|math\w*)\{|[\s*_`{}\"\u201c\u201d\u00ab\u00bb-])+")


class Solutions(BaseSpec):
    """The taught solutions of one wave, without signal."""

    stage: ClassVar[str] = "teach"
    version: ClassVar[int] = 2
    fans_out: ClassVar[bool] = True
    select: select.Spec
    decoding: Decoding
    few_shot: tuple[Example, ...] = ()
    wrong_shown: bool = True

    def how(self) -> dict[str, Any]:
        return {
            "part": "solutions",
            "select": self.select.recipe.hash,
            "prompt": digest([self.shown("", "", ""), *(p.pattern for p in (LEAK, STORY, JUDGED, MARKUP))]),
            "verify": {**verify.versions(), "form": self.select.form},
            "decoding": self.decoding.recipe,
        }

    def inputs(self) -> list[str]:
        return [self.select.fingerprint]

    def shown(self, question: str, correct: str, wrong: str) -> prompts.Messages:
        """What the teacher is shown."""
        return prompts.hinted_messages(question, correct, wrong if self.wrong_shown else None, self.few_shot)

    @property
    def samples_with(self) -> str:
        return self.select.rollouts.model.identity


class Spec(BaseSpec):
    """The captured signal of one wave's solutions."""

    stage: ClassVar[str] = "teach"
    version: ClassVar[int] = 3
    fans_out: ClassVar[bool] = True
    solutions: Solutions
    codec: str
    k: int
    temperature: float

    @classmethod
    def of(
        cls, selected: select.Spec, config: TeachConfig, temperature: float, few_shot: tuple[Example, ...] = ()
    ) -> Spec:
        """The request for the pairs of one selection; the student will be distilled at `temperature`."""
        decoding = Decoding.model_validate(config.recipe)
        execution = selected.execution
        solutions = Solutions(select=selected, decoding=decoding, few_shot=few_shot, execution=execution)
        return cls(solutions=solutions, codec=config.codec, k=config.k, temperature=temperature, execution=execution)

    @property
    def names(self) -> dict[str, Any]:
        return {} if self.solutions.wrong_shown else {"model": "ssb-no-wrong"}

    @property
    def model(self) -> models.ResolvedModel:
        """The teacher, which is the base."""
        return self.solutions.select.rollouts.model

    def how(self) -> dict[str, Any]:
        return {"part": "signal", "solutions": self.solutions.recipe.hash, "codec": self.codec, **self.kept}

    @property
    def kept(self) -> dict[str, Any]:
        """What of every distribution a codec that leaves something out keeps."""
        return {"k": self.k, "temperature": self.temperature} if self.codec == "topk" else {}

    def inputs(self) -> list[str]:
        return [self.solutions.fingerprint]


def write(
    sampler: Sampler,
    verifier: verify.Verifier,
    shards: Iterable[tuple[K, Sequence[ContrastivePair]]],
    spec: Solutions,
    progress: Progress,
) -> Iterator[tuple[K, list[TeacherTrace]]]:
    """One hinted solution for each pair of every shard, verified, with the reason if it cannot be used."""

    def ask(pair: ContrastivePair) -> list[SampleRequest]:
        shown = spec.shown(pair.problem.question, pair.correct.text, pair.wrong.text)
        return requests_for(sampler, shown, "teach", spec.decoding.seed, pair.problem.id, 1)

    groups = (((key, pairs), [r for p in pairs for r in ask(p)]) for key, pairs in shards)
    for (key, pairs), completed in complete(sampler, groups, spec.decoding, progress):
        written = [c for _, c in completed]
        verdicts = verifier.grade((c.text, p.problem.answer) for p, c in zip(pairs, written, strict=True))
        traces = []
        for pair, (request, c), graded in zip(pairs, completed, verdicts, strict=True):
            verdict = Verdict("rejected") if c.finish_reason == "too_long" else graded
            traces.append(
                TeacherTrace(
                    pair.problem.id,
                    sampler.encode(prompts.tutor_messages(pair.problem.question)),
                    request.prompt_ids,
                    c.completion_ids,
                    c.text,
                    c.finish_reason,
                    request.seed,
                    verdict,
                    _why_dropped(c, verdict, pair.problem.question),
                )
            )
        yield key, traces


def _why_dropped(written: Completion, verdict: Verdict, question: str) -> Drop | None:
    if written.finish_reason != "stop":
        return "truncated" if written.finish_reason == "length" else "too_long"
    if verdict.unverified:
        return "unverified"
    if verdict.status != "correct":
        return "no_answer" if verdict.status == "no_answer" else "wrong_answer"
    return "leak" if mentions_hint(written.text, question) else None


def mentions_hint(text: str, question: str) -> bool:
    """Whether a solution speaks of the rollouts, which its reader does not see.

    Where the question itself speaks of students, or of mixing solutions, so may its solution (`STORY`), but of their
    mistakes, and of attempts above, only in the question's own words (`JUDGED`). And no question excuses what can only
    mean the rollouts, such as a wrong attempt (`LEAK`): it may ask for that mention.
    """
    plain, asked = _plain(text), _plain(question)
    wanted = {noun for m in STORY.finditer(plain) for noun in m.groups() if noun} | set(JUDGED.findall(plain))
    return bool(LEAK.search(plain)) or any(not re.search(rf"\b{w}", asked, re.IGNORECASE) for w in wanted)


def _plain(text: str) -> str:
    """A text without its markup, and without characters that no reader sees."""
    return MARKUP.sub(" ", "".join(c for c in normalize("NFKC", text) if category(c) != "Cf"))


def facts(table: pa.Table) -> dict[str, int]:
    """How many solutions were taught, and how many dropped for which reason; completion tokens of the taught."""
    dropped = table["dropped"].to_pylist()
    lengths = [len(ids) for ids in table["completion_ids"].to_pylist()]
    taught = sum(n for n, d in zip(lengths, dropped, strict=True) if d is None)
    return {**Counter(d or "taught" for d in dropped), "tokens": taught, "written_tokens": sum(lengths)}


def run(spec: Spec | Solutions, store: Store, progress: Progress) -> Outcome:
    """Write the missing solutions; if the signal is asked for, capture what is missing of it."""
    if isinstance(spec, Spec):
        execute(spec.solutions, store, progress)
    return run_shards(spec, store, work(spec, store, progress), progress)


def work(spec: Spec | Solutions, store: Store, progress: Progress) -> Work:
    """Shards of one of the two requests, whose upstream is finished."""
    return _writing(spec, store, progress) if isinstance(spec, Solutions) else _capturing(spec, store, progress)


def _writing(spec: Solutions, store: Store, progress: Progress) -> Work:
    """Shards of sampled and verified solutions, one for each shard of pairs."""
    selected, sampled = required(spec.select, store), required(spec.select.rollouts, store)
    inputs = downstream_inputs(selected, store, spec.select.rollouts.wave)
    rolled = dict(zip(selected.entries, sampled.entries, strict=True))

    def pairs(item: Input) -> list[ContrastivePair]:
        assert item.upstream
        chosen = store.table(selected, item.upstream)
        return select.pairs(chosen, store.table(sampled, rolled[item.upstream]), item.problems)

    def mixed(item: Input) -> int:
        return select.mixed(store.table(selected, item.upstream, ["dropped"])) if item.upstream else 0

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with (
            open_sampler(spec.select.rollouts.model, spec.execution, note=progress.note) as sampler,
            verify.Verifier(spec.select.form) as verifier,
        ):
            for item, traces in write(sampler, verifier, ((i, pairs(i)) for i in missing), spec, progress):
                yield item, sampled_table(traces, TeacherTrace, sampler)

    return Work(inputs, make, "teach", "solutions", mixed, ["dropped", "completion_ids"], facts)


def _capturing(spec: Spec, store: Store, progress: Progress) -> Work:
    """Shards of solutions with their signal, one for each shard of solutions."""
    solutions = required(spec.solutions, store)
    inputs = downstream_inputs(solutions, store, spec.solutions.select.rollouts.wave)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        release()
        model, tokenizer = models.load_model(spec.model, spec.execution.device), models.load_tokenizer(spec.model)
        compatibility = describe_signal(model, tokenizer, spec)
        for item in missing:
            assert item.upstream
            rows = store.table(solutions, item.upstream).to_pylist()
            traces = [from_row(TeacherTrace, r) for r in rows]
            yield item, signal_table(model, tokenizer, compatibility, traces, spec.execution.capture_tokens)
            progress.advance(len(item.problems))

    return Work(inputs, make, "capture", "problems", lambda i: len(i.problems), ["dropped", "completion_ids"], facts)


def describe_signal(model: Any, tokenizer: Any, spec: Spec) -> dict[str, Any]:
    """What the captured numbers are, for the schema metadata of every shard."""
    from ..signal import compatibility, layout

    shared = compatibility.shared_properties(model, tokenizer)
    if spec.kept:
        shared |= {**spec.kept, "k": min(spec.k, shared["vocabulary"])}
    return {
        "codec": f"{spec.codec}/{layout.CODEC_VERSION}",
        "dtype": str(model.dtype).removeprefix("torch."),
        "model": spec.model.identity,
        "adapter": None,  # the teacher is the base itself
        **shared,
    }


def signal_table(
    model: Any, tokenizer: Any, compatibility: dict[str, Any], traces: Sequence[TeacherTrace], token_budget: int
) -> pa.Table:
    """The traces with their signal column; in the schema metadata its certificate, and the hint's effect on one."""
    import pyarrow as pa

    from ..signal import capture, codecs, layout
    from ..signal.shards import annotated_solution

    kept = [t for t in traces if t.dropped is None]
    head_VH, soft_cap = models.head_weight(model), models.soft_cap(model)
    states = capture.capture(model, kept, token_budget)
    signal = {
        t.problem_id: codecs.encode(h_NH, head_VH, soft_cap, compatibility)
        for t, h_NH in zip(kept, states, strict=True)
    }
    column = pa.chunked_array([codecs.to_arrow([signal.get(t.problem_id) for t in traces], compatibility)])
    places = [i for i, t in enumerate(traces) if t.dropped is None]

    def stored(i: int) -> Teacher:
        return codecs.teacher(codecs.from_arrow(column, places[i], compatibility), compatibility)

    temperatures = (1.0, compatibility["temperature"]) if "temperature" in compatibility else (1.0,)
    certificate = asdict(capture.certify(model, kept, stored, temperatures))
    table = to_table(traces, TeacherTrace)
    table = table.append_column(layout.COLUMN, column)
    noted = {layout.METADATA.encode(): json.dumps({**compatibility, **certificate}, sort_keys=True).encode()}
    if kept:  # for the report
        noted |= annotated_solution(model, tokenizer, kept[0], signal[kept[0].problem_id], compatibility).dump()
    return table.replace_schema_metadata(noted)
