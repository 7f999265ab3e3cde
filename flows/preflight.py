"""What is looked at before a run, from the command line as in a deployed flow: its name, its part, its input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssb_core.config import ProblemsConfig, RunConfig
    from ssb_core.records import Rejection
    from ssb_core.runs.pipeline import Pipeline
    from ssb_core.store import Store


def name_of(name: str | None, origin: str, settings: RunConfig) -> str:
    """The given name if it is one, else preset or file (`origin`) and a digest: the same command means the same run.

    Raises:
        ConfigError: the name cannot be a folder's.
    """
    from ssb_core.errors import ConfigError

    if name is None:
        fields = settings.model_dump_json(exclude={"execution"})
        name = f"{origin}-{hashlib.sha256(fields.encode()).hexdigest()[:6]}"
    if not (0 < len(name) <= 100 and name.isprintable()) or name.startswith(".") or any(c in name for c in "/\\"):
        raise ConfigError(
            f"--name {name!r}: a run's name is a folder name: no slashes, no dot in front, up to 100 letters that show"
        )
    return name


def refuse_bad_part(first: str, last: str, force: Sequence[str]) -> None:
    """Refuse --from after --to, and --force outside them."""
    from ssb_core.errors import ConfigError
    from ssb_core.stages import STAGES

    if STAGES.index(first) > STAGES.index(last):
        raise ConfigError(f"--from {first} comes after --to {last}")
    for stage in force:
        if stage not in STAGES[STAGES.index(first) : STAGES.index(last) + 1]:
            raise ConfigError(f"--force {stage} lies outside --from {first} --to {last}")


def refuse_bad_input(settings: RunConfig, store: Store, runs: Path, start: str) -> Pipeline:
    """The requests of the run.

    Raises:
        ConfigError: bad folders or data, --from without what comes before it, a model that cannot do what is left.
    """
    from ssb_core.errors import ConfigError
    from ssb_core.runs.pipeline import Pipeline
    from ssb_core.runs.plan import plan
    from ssb_core.stages import STAGES

    for path in (store.root, runs):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; results need a directory (--store, --runs)")
    store.check()
    pipeline = Pipeline.of(settings, store.root)
    missing = [row for row in plan(pipeline, store) if row.status != "cached"]
    for row in missing:
        if row.round == 1 and row.stage in STAGES[: STAGES.index(start)]:
            raise ConfigError(
                f"--from {start}: {row.label} is not in {store} ({row.status}{': ' + row.why if row.why else ''})\n"
                "  remedy: run without --from, or see `ssb plan`"
            )
    if missing:
        pipeline.check_model()
    return pipeline


def notes(settings: RunConfig, where: str, to_stage: str = "evaluate") -> Iterator[str]:
    """A line for every problem set with problems that nothing can be verified against, and for every overlap.

    `where` says where all of them are listed.
    """
    from ssb_core import problems
    from ssb_core.evaluation import benchmarks
    from ssb_core.results import wording

    asked = settings.evaluate.asked if to_stage == "evaluate" else ()
    sets: dict[str, ProblemsConfig] = {settings.problems.source: settings.problems}
    for name, problem_set in (sets | {f"benchmark {b.name}": b for b in asked}).items():
        if rejected := problems.rejections(problem_set):
            yield f"note: {_left_out(name, rejected, where)}"
    for b in asked:
        found = {"overlap": benchmarks.contaminated_ids(settings.problems, b)}
        if told := wording.contaminated(b.name, found):
            yield f"warning: {told} {where} lists all"


def _left_out(name: str, rejected: Sequence[Rejection], where: str) -> str:
    """Which problems of a set are left out and why, the first few by id."""
    first = ", ".join(f"{r.problem_id!r:.60} ({r.reason})" for r in rejected[:3])
    rest = f"; {where} lists all" if len(rejected) > 3 else f"; see {where}"
    problems = "1 problem" if len(rejected) == 1 else f"{len(rejected):,} problems"
    return f"{name}: {problems} left out, reference answer cannot be used: {first}{rest}"
