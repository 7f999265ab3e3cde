"""Stage distill: a LoRA student sees only the bare question and matches the teacher's distribution (paper, eq. 3).

Hugging Face `Trainer` drives; the loss is exact forward KL over the whole vocabulary times T^2, from hidden states,
averaged over all solution tokens of an optimiser step however many passes or processes it is split into. Training goes
on from its last whole checkpoint. The result is a directory: ``adapter/`` (PEFT, safetensors) and ``log.jsonl``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from .. import models
from ..config import DistillConfig, require_packages
from ..engines import release
from ..errors import StoreError
from ..progress import Progress
from ..store import Entry, Manifest, Store, digest, fsync, sha256_file
from ..store import work as unfinished
from ..training import checkpoints, dataset
from . import teach
from .spec import Outcome, required, sources
from .spec import Spec as BaseSpec

DATA = "traces.arrow"
LOG = "log.jsonl"
CURVES = "tensorboard"


class Trained(BaseSpec):
    """A request whose result is a directory with an adapter."""

    def directory(self, store: Store) -> Path:
        return store.directory(self.recipe) / self.fingerprint

    def adapter(self, store: Store) -> Path:
        """The finished adapter, on this machine and checked.

        Raises:
            Damaged: it is not what was written.
        """
        store.verify(required(self, store))
        return self.directory(store) / "adapter"


class Spec(Trained):
    """A student of the first `limit` traces taught by the given waves, the last of them held out if asked."""

    stage: ClassVar[str] = "distill"
    version: ClassVar[int] = 2
    method: Literal["ssb"] = "ssb"
    teach: tuple[teach.Spec, ...]
    limit: int
    distill: DistillConfig

    def how(self) -> dict[str, Any]:
        return {"teach": self.teach[0].recipe.hash, "limit": self.limit, "distill": self.distill.recipe}

    def inputs(self) -> list[str]:
        return [t.fingerprint for t in self.teach]

    @property
    def names(self) -> dict[str, Any]:
        return {"model": self.method, "seed": self.distill.seed}

    def as_text(self) -> dict[str, Any]:
        """The fields of a request for the same traces, learned by cross-entropy alone."""
        plain = self.distill.model_copy(update={"cross_entropy": 1.0})
        return {"teach": self.teach, "limit": self.limit, "distill": plain, "execution": self.execution}


def make_student(spec: Spec) -> Any:
    """The base model with fresh, seeded LoRA weights (float32) on all linear layers but the head."""
    from peft import get_peft_model
    from transformers import set_seed

    set_seed(spec.distill.seed)
    how = spec.execution
    base = models.load_model(spec.teach[0].model, how.device, sharded=how.train_processes if how.train_sharded else 1)
    student: Any = get_peft_model(
        base, lora(spec.distill.lora_rank, spec.distill.lora_alpha), autocast_adapter_dtype=True
    )
    sort_targets(student)
    return student


def lora(rank: int, alpha: int) -> Any:
    """LoRA on all linear layers but the head, as every student has it."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def sort_targets(student: Any) -> None:
    """Put the names of adapted layers, a set in another order in every process, in order, as they are saved."""
    adapted = student.peft_config["default"]
    adapted.target_modules = sorted(adapted.target_modules)


def weights(manifest: Manifest) -> Entry:
    """The file that stands for a finished student's, or merged model's, bytes: its first file of weights."""
    return next(e for e in manifest.entries if e.path.endswith(".safetensors"))


LayOut = Callable[[Spec, Store, Sequence[Manifest], Path], int]


def lay_out(spec: Spec, store: Store, taught: Sequence[Manifest], path: Path) -> int:
    """Write the traces to learn from to `path`; how many there are."""
    return dataset.lay_out(store, taught, spec.limit, path)


def run(spec: Spec, store: Store, progress: Progress, lay_out: LayOut = lay_out) -> Outcome:
    """Train on what is laid out, or go on training, and commit the adapter."""
    require_packages(spec.execution)
    manifests = [required(t, store) for t in spec.teach]
    store.open(spec.recipe)
    # Checkpoints of other upstream bytes must not be gone on with.
    work = unfinished.work(store, spec.recipe, spec.fingerprint, digest(sources(spec, store)))
    taught = lay_out(spec, store, manifests, work / DATA)
    if taught <= spec.distill.held_out:
        kept = f" but the {spec.distill.held_out} that are held out (distill.held_out)" if taught else ""
        raise StoreError(
            f"no trace was taught{kept}, so there is nothing to distill; sample more problems (problems.limit)"
        )
    checkpoint = checkpoints.last(work)
    if checkpoint is None:
        shutil.rmtree(work / "result", ignore_errors=True)
    release()
    if spec.execution.train_processes > 1:
        from ..training import distributed

        distributed.train(spec, store, work, checkpoint, progress)
    else:
        train(spec, store.there.keep, work, checkpoint, progress)
    return _commit(spec, store, taught - spec.distill.held_out, work, checkpoint)


def _commit(spec: Spec, store: Store, dataset: int, work: Path, checkpoint: Path | None) -> Outcome:
    """Make what was trained in `work` the request's result."""
    log = read_log(work / "result")
    refuse_divergence(log, "distill.learning_rate")
    facts = {"traces": dataset, "steps": len(log), "first_loss": log[0]["loss"], "last_loss": log[-1]["loss"]}
    if held_out := [row["held_out_loss"] for row in log if "held_out_loss" in row]:
        facts |= {"first_held_out_loss": held_out[0], "best_held_out_loss": min(held_out)}
    return commit(spec, store, work, facts, checkpoints.step(checkpoint))


def commit(spec: Any, store: Store, work: Path, facts: dict[str, Any], before: int) -> Outcome:
    """Make ``work/result`` the result of a request that trains; `before` of its steps were made earlier."""
    directory = spec.directory(store)
    if (work / "speed.json").exists():  # another machine may have noted it
        shutil.copy(work / "speed.json", work / "result" / "speed.json")
    place(work / "result", directory)
    manifest = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, entries(directory), sources(spec, store), facts)
    store.commit(spec.recipe, manifest)
    unfinished.drop_work(store, manifest)
    return Outcome(manifest, facts["steps"] - before, before)


def place(result: Path, directory: Path) -> None:
    """Move a finished result to where its manifest looks for it; its bytes and names are on the disk by then."""
    for path in (*result.rglob("*"), result):
        fsync(path)
    shutil.rmtree(directory, ignore_errors=True)
    result.rename(directory)
    fsync(directory.parent)


def entries(directory: Path) -> tuple[Entry, ...]:
    """The files of a finished directory; those that differ between equal trainings are left out."""
    return tuple(
        Entry(str(p.relative_to(directory.parent)), p.stat().st_size, sha256_file(p))
        for p in sorted(directory.rglob("*"))
        if p.is_file() and p.name != "speed.json" and p.parent.name != CURVES
    )


def refuse_divergence(log: Sequence[dict[str, Any]], field: str) -> None:
    """Refuse a training log whose loss or gradient is no number; `field` is what to lower."""
    for row in log:
        if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
            raise StoreError(
                f"training diverged at step {row['step']} (loss {row['loss']}, gradient norm {row['grad_norm']}); "
                f"lower {field}"
            )


def train(spec: Spec, keep: Callable[[Path], None], work: Path, checkpoint: Path | None, progress: Progress) -> None:
    """Train on the traces laid out in `work` to the end; the adapter and its log are then in ``work/result``."""
    from ..signal import compatibility
    from ..training.trainer import DistillTrainer

    student, taught = make_student(spec), dataset.Traces(work / DATA)
    compatibility.refuse_unfit(taught.origins, student, models.load_tokenizer(spec.teach[0].model))
    cut = len(taught) - spec.distill.held_out
    learned, held_out = (dataset.Traces(work / DATA, part) for part in (range(cut), range(cut, len(taught))))
    trainer = DistillTrainer(
        student, learned, held_out, spec.distill, work, progress, spec.execution.report_to, spec.stage
    )
    trainer.keep = keep
    if "tensorboard" in spec.execution.report_to:
        trainer.draw_curves(work / "result" / CURVES, checkpoints.step(checkpoint))
    if checkpoint and trainer.had_stopped(checkpoint):
        trainer.take_best(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        shutil.rmtree(work / "result" / "adapter", ignore_errors=True)  # of a killed process, temporary files and all
        student.save_pretrained(work / "result" / "adapter")
        _write_log(work / "result", trainer.state.log_history)


def _write_log(directory: Path, history: Sequence[dict[str, Any]]) -> None:
    """A line for each optimiser step, with the held-out loss after it where that was computed."""
    keep = ("step", "loss", "grad_norm", "learning_rate", "tokens")
    held_out = {row["step"]: row["eval_loss"] for row in history if "eval_loss" in row}
    rows = [{k: row[k] for k in keep if k in row} for row in history if "loss" in row]
    rows = [row | ({"held_out_loss": held_out[row["step"]]} if row["step"] in held_out else {}) for row in rows]
    (directory / LOG).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_log(directory: Path) -> list[dict[str, Any]]:
    """The training log in a distillation's directory, a row for each optimiser step."""
    return [json.loads(line) for line in (directory / LOG).read_text().splitlines()]
