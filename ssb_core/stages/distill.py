"""Stage distill: a LoRA student sees only the bare question and matches the teacher's distribution (paper, eq. 3).

Hugging Face `Trainer` drives; the loss is exact forward KL over the whole vocabulary times T^2, from hidden states,
averaged over all solution tokens of an optimiser step however many passes it is split into. Training goes on from its
last whole checkpoint. The result is a directory: ``adapter/`` (PEFT, safetensors) and ``log.jsonl``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .. import models
from ..config import DistillConfig
from ..engines import release
from ..progress import Progress
from ..store import Entry, Manifest, Store, StoreError, digest, exclusive, sha256_file
from . import Outcome, required, sources, teach
from . import Spec as BaseSpec

if TYPE_CHECKING:
    import torch


class Spec(BaseSpec):
    """A student of the first `limit` traces taught by the given waves."""

    stage: ClassVar[str] = "distill"
    version: ClassVar[int] = 1
    teach: tuple[teach.Spec, ...]
    limit: int
    distill: DistillConfig

    def how(self) -> dict[str, Any]:
        recipe = self.distill.model_dump(exclude={"accumulation", "checkpointing", "save_steps"})
        return {"teach": self.teach[0].recipe.hash, "limit": self.limit, "distill": recipe}

    def inputs(self) -> list[str]:
        return [t.fingerprint for t in self.teach]

    def directory(self, store: Store) -> Path:
        return store.directory(self.recipe) / self.fingerprint

    def adapter(self, store: Store) -> Path:
        return self.directory(store) / "adapter"


class Traces:
    """The accepted traces of finished teach requests as a map-style data set; a row is read when asked for."""

    def __init__(self, store: Store, taught: Sequence[Manifest], limit: int) -> None:
        import pyarrow.parquet as pq

        from ..signal import codecs

        self.rows: list[tuple[Path, int]] = []
        self.origins: list[dict[str, Any]] = []
        for manifest in taught:
            for entry in manifest.entries:
                path = store.path(manifest, entry)
                dropped = store.table(manifest, entry, ["dropped"])["dropped"].to_pylist()
                self.rows += [(path, i) for i, reason in enumerate(dropped) if reason is None]
                self.origins.append(json.loads(pq.read_schema(path).metadata[codecs.METADATA.encode()]))
        del self.rows[limit:]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import pyarrow.parquet as pq

        from ..signal import codecs

        path, row = self.rows[index]
        file = pq.ParquetFile(path, page_checksum_verification=True)
        alone = file.num_row_groups == file.metadata.num_rows
        table = file.read_row_group(row) if alone else file.read()
        row = 0 if alone else row
        return {
            "prompt_ids": table["student_prompt_ids"][row].as_py(),
            "completion_ids": table["completion_ids"][row].as_py(),
            "teacher_NH": codecs.from_arrow(table[codecs.COLUMN], row, self.origins[0]["dtype"]),
        }


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Right-padded student inputs (B, S), labels (completion ids, elsewhere -100), teacher vectors (N, H).

    N runs over the labelled positions in row-major order, as ``labels != -100`` selects them.
    """
    import torch

    width = max(len(r["prompt_ids"]) + len(r["completion_ids"]) for r in rows)
    shape = (len(rows), width)
    input_ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, -100)
    for i, r in enumerate(rows):
        start, end = len(r["prompt_ids"]), len(r["prompt_ids"]) + len(r["completion_ids"])
        input_ids[i, :end] = torch.tensor(r["prompt_ids"] + r["completion_ids"])
        labels[i, start:end] = input_ids[i, start:end]
        mask[i, :end] = 1
    teacher_NH = torch.cat([r["teacher_NH"] for r in rows])
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, "teacher_NH": teacher_NH}


def make_student(spec: Spec) -> Any:
    """The base model with fresh, seeded LoRA weights (float32) on all linear layers but the head."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(spec.distill.seed)
    base = models.load_model(spec.teach[0].model, spec.execution.device)
    config = LoraConfig(
        r=spec.distill.lora_rank,
        lora_alpha=spec.distill.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    student: Any = get_peft_model(base, config, autocast_adapter_dtype=True)
    adapted = student.peft_config["default"]
    adapted.target_modules = sorted(adapted.target_modules)  # a set, in another order in every process
    return student


def weights(manifest: Manifest) -> Entry:
    """The file of a finished request that holds the adapter's weights."""
    return next(e for e in manifest.entries if e.path.endswith(".safetensors"))


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Train, or go on training, and commit the adapter."""
    manifests = [required(t, store) for t in spec.teach]
    traces = Traces(store, manifests, spec.limit)
    if not len(traces):
        raise StoreError("no trace was taught, so there is nothing to distill; sample more problems (problems.limit)")
    store.open(spec.recipe)
    # Checkpoints of other upstream bytes must not be gone on with.
    work = store.work(spec.recipe, spec.fingerprint, digest(sources(spec, store)))
    with exclusive(work, "distill"):
        return _finish(spec, store, traces, work, progress)


def _finish(spec: Spec, store: Store, traces: Traces, work: Path, progress: Progress) -> Outcome:
    """Train from the last checkpoint in `work` to the end, and commit the result."""
    directory = spec.directory(store)
    checkpoint = last_checkpoint(work)
    trainer, student = train(spec, traces, work, checkpoint, progress)
    log = [row for row in trainer.state.log_history if "loss" in row]
    _refuse_divergence(log)
    before = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0

    student.save_pretrained(work / "result" / "adapter")
    _write_log(work / "result" / "log.jsonl", log)
    shutil.copy(work / "speed.json", work / "result" / "speed.json")
    shutil.rmtree(directory, ignore_errors=True)
    (work / "result").rename(directory)
    facts = {
        "traces": len(traces),
        "steps": len(log),
        "first_loss": log[0]["loss"],
        "last_loss": log[-1]["loss"],
    }
    entries = tuple(
        Entry(str(p.relative_to(directory.parent)), p.stat().st_size, sha256_file(p))
        for p in sorted(directory.rglob("*"))
        if p.is_file() and p.name != "speed.json"
    )
    manifest = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, entries, sources(spec, store), facts)
    store.commit(spec.recipe, manifest)
    store.drop_work(manifest)
    return Outcome(manifest, len(log) - before, before)


def _refuse_divergence(log: Sequence[dict[str, Any]]) -> None:
    for row in log:
        if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
            raise StoreError(
                f"training diverged at step {row['step']} (loss {row['loss']}, gradient norm {row['grad_norm']}); "
                "lower distill.learning_rate"
            )


def train(spec: Spec, traces: Traces, work: Path, checkpoint: Path | None, progress: Progress) -> tuple[Any, Any]:
    """Run the trainer to the end; returns it and the trained student."""
    from ..signal import origin
    from ..trainer import DistillTrainer

    release()
    student = make_student(spec)
    origin.refuse_unfit(traces.origins, student, models.load_tokenizer(spec.teach[0].model))
    trainer = DistillTrainer(student, traces, collate, spec.distill, work, progress)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer, student


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that was written to the end (its trainer state is written last)."""
    found = sorted(work.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text())
            return path
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def _write_log(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    keep = ("step", "loss", "grad_norm", "learning_rate", "tokens")
    path.write_text("".join(json.dumps({k: r[k] for k in keep if k in r}) + "\n" for r in rows))
