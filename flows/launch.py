"""A run as the command line starts it: its name, what is refused beforehand, the flow, and what is told at the end."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssb_core.config import ProblemsConfig, RunConfig


def name_of(name: str | None, preset: str | None, config: Path | None, settings: RunConfig) -> str:
    """The given name if it is one, else preset (or file) and a digest: the same command means the same run."""
    if name is None:
        fields = settings.model_dump_json(exclude={"execution"})
        return f"{preset or (config.stem if config else 'run')}-{hashlib.sha256(fields.encode()).hexdigest()[:6]}"
    from ssb_core.config import ConfigError

    if not 0 < len(name) <= 100 or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ConfigError(
            f"--name {name!r}: a run's name is a folder name: no slashes, no dot in front, up to 100 letters"
        )
    return name


def refuse_bad_part(first: str, last: str, force: Sequence[str]) -> None:
    """Refuse --from after --to, and --force outside them."""
    from ssb_core.config import ConfigError
    from ssb_core.stages import STAGES

    if STAGES.index(first) > STAGES.index(last):
        raise ConfigError(f"--from {first} comes after --to {last}")
    for stage in force:
        if stage not in STAGES[STAGES.index(first) : STAGES.index(last) + 1]:
            raise ConfigError(f"--force {stage} lies outside --from {first} --to {last}")


def refuse_bad_input(settings: RunConfig, store: Path, runs: Path, start: str) -> None:
    """Refuse bad folders or data, --from without what comes before it, and a model that cannot do what is left."""
    from ssb_core.config import ConfigError
    from ssb_core.pipeline import Pipeline
    from ssb_core.plan import plan
    from ssb_core.stages import STAGES
    from ssb_core.store import Store

    for path in (store, runs):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; results need a directory (--store, --runs)")
    pipeline = Pipeline.of(settings, store)
    missing = [row for row in plan(pipeline, Store(store)) if row.status != "cached"]
    for row in missing:
        if row.round == 1 and row.stage in STAGES[: STAGES.index(start)]:
            raise ConfigError(
                f"--from {start}: {row.label} is not in {store} ({row.status}{': ' + row.why if row.why else ''})\n"
                "  remedy: run without --from, or see `ssb plan`"
            )
    if missing:
        pipeline.check_model()


def note_left_out(settings: RunConfig, where: str, to_stage: str = "evaluate") -> None:
    """One line for every problem set of the run with problems that nothing can be verified against."""
    from ssb_core import problems

    from . import console

    sets: dict[str, ProblemsConfig] = {settings.problems.source: settings.problems}
    if to_stage == "evaluate":
        sets |= {f"benchmark {b.name}": b for b in settings.evaluate.benchmarks}
    for name, problem_set in sets.items():
        if rejected := problems.rejections(problem_set):
            print(console.rejection_line(name, rejected, where), file=sys.stderr)


def note_overlap(settings: RunConfig, where: str, to_stage: str = "evaluate") -> None:
    """One line for every benchmark of the run with problems that stand among the training problems."""
    from ssb_core import benchmarks, wording

    if to_stage != "evaluate":
        return
    for b in settings.evaluate.asked:
        found = {"overlap": benchmarks.contamination(settings.problems, b)}
        if told := wording.contaminated(b.name, found):
            print(f"warning: {told} {where} lists all", file=sys.stderr)


def start(
    settings: RunConfig,
    store: Path,
    runs: Path,
    name: str,
    preset: str,
    from_stage: str,
    to_stage: str,
    force: list[str],
) -> dict[str, Any]:
    """Run the flow with this terminal listening."""
    environment_defaults()
    from ssb_core.progress import PlainProgress
    from tasks.caching import listener

    from . import console
    from .ssb import ssb

    with console.progress(PlainProgress()) as progress:
        token = listener.set(progress)
        try:
            return ssb(settings, str(store), str(runs), name, preset, from_stage, to_stage, tuple(force))
        finally:
            listener.reset(token)


def environment_defaults() -> None:
    """Settings that suit a terminal, unless the user has set them; before torch and Prefect are imported."""
    # Threads that spin long while they wait make a run many times slower as soon as anything else wants a core.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # errors are told once, by us
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _program() -> str:
    """How the user can call this program: by name if it is on the path."""
    return "ssb" if shutil.which("ssb") else os.path.relpath(sys.argv[0])


def tell(summary: dict[str, Any], directory: Path) -> None:
    """Results, where to read more, and what to do next."""
    from ssb_core import report as reports

    from . import console

    out = console.console
    out.print(console.yield_line(summary["yield"]))
    if summary["benchmarks"]:
        out.print(console.results(reports.results_table(summary)))
        out.print(reports.verdict_in_words(summary))
    statuses = ", ".join(f"{name} {s['status']}" for name, s in summary["stages"].items())
    out.print(f"\nstages   {statuses}; {summary['seconds']:.0f} s")
    out.print(f"report   {directory / 'report.html'}")
    out.print(f"numbers  {directory / 'summary.json'}")
    out.print(f"next     {_program()} show ID   tells one problem's story; ids are in the report")
