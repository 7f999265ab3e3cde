"""The origin of a run's results: its configuration, and the exact model and problems that it used."""

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
class Provenance:
    """A run with its configuration and its base model."""

    run: Run
    config: RunConfig
    model: ResolvedModel

    @classmethod
    def load(cls, run: Run) -> Provenance:
        """Read the configuration of `run` and find its model.

        Raises:
            ConfigError: the model is not on this machine, or its files have changed since the run.
        """
        config = queries.load_config(run)
        recorded = recorded_model(run)
        model = models.resolve(_pinned(config.model, str(recorded["identity"])), run.store.root)
        if model.recipe != recorded:
            raise ConfigError(
                f"{config.model.source} is no longer what run {run.name} used: its files or its chat template have "
                "changed\n  remedy: restore the old ones, or run again with the new ones"
            )
        return cls(run, config, model)

    @property
    def on_hub(self) -> bool:
        """Whether the base is on the hub, so that others can get it by its name."""
        return self.model.revision is not None

    def is_nano(self) -> bool:
        """Whether the base is the embedded model."""
        return self.model.source == str(models.NANO.resolve())

    def base_name(self) -> str:
        """The base's name for other people; for a local path only its last part, because the folder is private."""
        if self.on_hub:
            return self.model.source
        if self.is_nano():
            return "nano"
        if self._in_package():
            return self.config.model.source
        return Path(self.model.gguf or self.model.source).name

    def base_location(self) -> str:
        """The place that the base was read from, in words."""
        if self.on_hub:
            return "on the hub"
        if self.is_nano():
            return "the model embedded in ssb (`ssb_core/nano/model`)"
        if self.model.gguf is None:
            return "a directory on the machine this was made on"
        where = "in an installed Python package" if self._in_package() else "on the machine this was made on"
        return f"a GGUF file {where}, converted to safetensors"

    def _in_package(self) -> bool:
        """Whether a GGUF file came from a package. As in `gguf.find`, an existing path has priority over a package."""
        return self.model.gguf is not None and not Path(self.config.model.source).expanduser().is_file()

    def load_training_problems(self) -> ProblemSet:
        """The training problems that the run sampled.

        Raises:
            ConfigError: the problem set is not on this machine, or has changed since the run.
        """
        usable, start = problems.load_problems(self.config.problems), 0
        for wave in self.run.manifests("rollouts"):
            stop = start + sum(len(self.run.store.sidecar(wave, e).problem_ids) for e in wave.files)
            if wave.fingerprint != digest([wave.recipe, [problems.content_digest(usable[start:stop])]]):
                raise _changed(self.config.problems.source, self.run)
            start = stop
        return usable[:start]

    def load_benchmark_problems(self, benchmark: Benchmark) -> ProblemSet:
        """The problems of a benchmark that the run evaluated.

        Raises:
            ConfigError: the benchmark is not on this machine, or has changed since the run.
        """
        problem_set = problems.load_problems(benchmark)
        inputs = [problems.content_digest(problem_set)]
        if not any(m.fingerprint == digest([m.recipe, inputs]) for m in self.run.manifests("evaluate")):
            raise _changed(benchmark.source, self.run)
        return problem_set


def student_messages(tokenizer: PreTrainedTokenizerBase, question: str) -> prompts.Messages:
    """The chat messages that the student sees, in a form that the tokenizer's own template accepts."""
    messages = prompts.tutor_messages(question)
    return messages if prompts.takes_system(tokenizer) else prompts.fold_system(messages)


def _changed(source: str, run: Run) -> ConfigError:
    return ConfigError(
        f"{source} is no longer what run {run.name} read: its problems have changed\n"
        "  remedy: restore the old file, or run again with the new one"
    )


def recorded_model(run: Run) -> dict[str, Any]:
    """Identity and dtype of the model, from the recipe of the run's rollouts."""
    contents = {Recipe("rollouts", content).hash: content for content in run.store.recipes("rollouts")}
    if not (sampled := run.manifests("rollouts")):
        raise ConfigError(
            f"run {run.name} is an evaluation, which has no rollouts and no student of its own\n"
            "  remedy: name a run of the pipeline; `ssb runs` lists them"
        )
    return dict(contents[sampled[0].recipe]["model"])


def _pinned(config: ModelConfig, identity: str) -> ModelConfig:
    """The configured model at the commit that the run used, even if its branch has moved since."""
    name, at, commit = identity.rpartition("@")
    return config.model_copy(update={"revision": commit}) if at and name == config.source else config
