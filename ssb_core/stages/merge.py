"""Stage merge: a student's adapter is added to its base model; the next round begins from the result.

The sum is taken in float32 and rounded once to the dtype in which the model is computed. So the new base differs from
the student that was evaluated by less than one rounding of its weights.
"""

from __future__ import annotations

import shutil
from typing import Any, ClassVar

from .. import models
from ..models import ResolvedModel
from ..models.generation import generation_config
from ..store import Store, digest, work
from . import distill
from .directory import DirectorySpec, commit_directory
from .execute import Outcome, sources
from .runtime import Runtime

SHARD_SIZE = "5GB"


class Spec(DirectorySpec):
    """The weights of one student's base with its adapter added."""

    stage: ClassVar[str] = "merge"
    version: ClassVar[int] = 1
    student: distill.Spec

    def recipe_content(self) -> dict[str, Any]:
        return {"student": self.student.recipe.hash}

    def inputs(self) -> list[str]:
        return [self.student.fingerprint]

    def model(self, store: Store) -> ResolvedModel:
        """The merged model as further stages load it. Its identity names the request, not the weights."""
        base = self.student.teach[0].model
        place = {"source": str(self.directory(store).resolve()), "revision": None, "gguf": None}
        return base.model_copy(update={**place, "identity": digest([base.identity, self.fingerprint])})


def run(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Merge, and commit the model's directory."""
    import torch

    made_from, base = sources(spec, store), spec.student.teach[0].model
    store.prepare(spec.recipe)
    work_dir = work.work_dir(store, spec.recipe, spec.fingerprint, digest(made_from))
    result = work_dir / "result"
    shutil.rmtree(result, ignore_errors=True)
    runtime.progress.begin("merge", 1, "models")
    tokenizer = models.load_tokenizer(base)
    merged = models.load_merged(base, spec.student.load_adapter(store)).to(getattr(torch, base.dtype))
    merged.generation_config = generation_config(base, tokenizer)
    with models.no_bars():
        merged.save_pretrained(result, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(result)
    runtime.progress.advance()
    runtime.progress.end()
    return Outcome(commit_directory(spec, store, work_dir, made_from), 1, 0)
