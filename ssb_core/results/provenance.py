"""What an export comes from: the run, its configuration, and the very model and problems that it used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, problems, prompts
from ..config import Benchmark, ModelConfig, RunConfig
from ..errors import ConfigError
from ..models import ResolvedModel
from ..problems import ProblemSet
from ..runs import Run
from ..store import Recipe, digest
from . import queries

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Origin:
    """A run with its configuration and its base model."""

    run: Run
    config: RunConfig
    model: ResolvedModel

    @classmethod
    def of(cls, run: Run) -> Origin:
        """The origin of everything exported from `run`.

        Raises:
            ConfigError: its model is not here, or its files have changed since.
        """
        config = queries.configuration(run)
        noted = _noted_model(run)
        model = models.resolve(_pinned(config.model, str(noted["identity"])), run.store.root)
        if model.recipe != noted:
            raise ConfigError(
                f"{config.model.source} is no longer what run {run.name} used: its files or its chat template have "
                "changed\n  remedy: bring the old ones back, or run again with the new"
            )
        return cls(run, config, model)

    @property
    def on_hub(self) -> bool:
        """Whether others can get the base by its name."""
        return self.model.revision is not None

    @property
    def is_nano(self) -> bool:
        """Whether the base is the embedded model."""
        return self.model.source == str(models.NANO.resolve())

    @property
    def base(self) -> str:
        """The base's name for others; of a local path its last part alone, as its folder is nobody's business."""
        if self.on_hub:
            return self.model.source
        if self.is_nano:
            return "nano"
        if self._in_package:
            return self.config.model.source
        return Path(self.model.gguf or self.model.source).name

    @property
    def place(self) -> str:
        """Where the base was read from, in words."""
        if self.on_hub:
            return "on the hub"
        if self.is_nano:
            return "the model embedded in ssb (`ssb_core/nano/model`)"
        if self.model.gguf is None:
            return "a directory on the machine this was made on"
        where = "in an installed Python package" if self._in_package else "on the machine this was made on"
        return f"a GGUF file {where}, converted to safetensors"

    @property
    def _in_package(self) -> bool:
        """As `gguf.find` reads it: a path that exists goes first."""
        return self.model.gguf is not None and not Path(self.config.model.source).expanduser().is_file()

    def asked(self) -> ProblemSet:
        """The training problems that the run sampled.

        Raises:
            ConfigError: the problem set is not here, or has changed since.
        """
        usable, start = problems.load_problems(self.config.problems), 0
        for wave in self.run.manifests("rollouts"):
            stop = start + sum(len(self.run.store.sidecar(wave, e).problem_ids) for e in wave.files)
            if wave.fingerprint != digest([wave.recipe, [problems.content_digest(usable[start:stop])]]):
                raise _changed(self.config.problems.source, self.run)
            start = stop
        return usable[:start]

    def answered(self, benchmark: Benchmark) -> ProblemSet:
        """The problems of a benchmark that the run evaluated.

        Raises:
            ConfigError: the benchmark is not here, or has changed since.
        """
        found = problems.load_problems(benchmark)
        inputs = [problems.content_digest(found)]
        if not any(m.fingerprint == digest([m.recipe, inputs]) for m in self.run.manifests("evaluate")):
            raise _changed(benchmark.source, self.run)
        return found


def student_turns(tokenizer: PreTrainedTokenizerBase, question: str) -> prompts.Messages:
    """The chat turns that the student sees, as the tokenizer's own template takes them."""
    messages = prompts.tutor_messages(question)
    return messages if prompts.takes_system(tokenizer) else prompts.fold_system(messages)


def _changed(source: str, run: Run) -> ConfigError:
    return ConfigError(
        f"{source} is no longer what run {run.name} read: its problems have changed\n"
        "  remedy: bring the old file back, or run again with the new one"
    )


def _noted_model(run: Run) -> dict[str, Any]:
    """Identity and dtype of the model, as the recipe of the run's rollouts notes them."""
    hows = {Recipe("rollouts", how).hash: how for how in run.store.recipes("rollouts")}
    first = run.manifests("rollouts")[0]
    return dict(hows[first.recipe]["model"])


def _pinned(config: ModelConfig, identity: str) -> ModelConfig:
    """The configured model at the commit the run used, wherever its branch stands now."""
    name, at, commit = identity.rpartition("@")
    return config.model_copy(update={"revision": commit}) if at and name == config.source else config
