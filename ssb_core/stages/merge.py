"""Stage merge: a student's adapter is added to its base, whose next round begins from the result.

The sum is taken in float32 and rounded once to the dtype that the model is computed in, so that the new base differs
from the student that was evaluated by less than one rounding of its weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from .. import models
from ..models import ResolvedModel
from ..progress import Progress
from ..store import Manifest, Store, digest
from ..store import work as unfinished
from . import distill
from .spec import Outcome, required, sources
from .spec import Spec as BaseSpec

SHARD_SIZE = "5GB"


class Spec(BaseSpec):
    """The weights of one student with its adapter added."""

    stage: ClassVar[str] = "merge"
    version: ClassVar[int] = 1
    student: distill.Spec

    def how(self) -> dict[str, Any]:
        return {"student": self.student.recipe.hash}

    def inputs(self) -> list[str]:
        return [self.student.fingerprint]

    def directory(self, store: Store) -> Path:
        return store.directory(self.recipe) / self.fingerprint

    def model(self, store: Store) -> ResolvedModel:
        """The merged model as further stages load it; which bytes the student has, their upstream checksums say."""
        base = self.student.teach[0].model
        place = {"source": str(self.directory(store).resolve()), "revision": None, "gguf": None}
        return base.model_copy(update={**place, "identity": digest([base.identity, self.fingerprint])})


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Merge, and commit the model's directory."""
    import torch
    from transformers import GenerationConfig

    made_from = sources(spec, store)
    required(spec.student, store)
    store.prepare(spec.recipe)
    base, directory = spec.student.teach[0].model, spec.directory(store)
    work = unfinished.work_dir(store, spec.recipe, spec.fingerprint, digest(made_from))
    result = work / "result"
    shutil.rmtree(result, ignore_errors=True)
    progress.begin("merge", 1, "models")
    tokenizer = models.load_tokenizer(base)
    merged = models.load_merged(base, spec.student.adapter(store)).to(getattr(torch, base.dtype))
    # What a base suggests of sampling is not used, and not always valid.
    stops = list(models.end_of_turn(base, tokenizer))
    merged.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)
    merged.save_pretrained(result, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(result)
    progress.advance()
    progress.end()
    distill.place(result, directory)
    files = distill.file_entries(directory)
    manifest = store.commit(spec.recipe, Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, files, made_from))
    unfinished.delete_work(store, manifest)
    return Outcome(manifest, 1, 0)
