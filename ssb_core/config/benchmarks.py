"""Benchmarks by name: those of the presets, those of a given configuration, and definitions of the user's own.

math500                                              a benchmark of a preset, with the decoding of that preset
{name: mine, source: mine.jsonl, form: exact}        a definition, in the words of evaluate.benchmarks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..suggest import did_you_mean
from . import document, presets
from .inputs import Benchmark
from .settings import Decoding, RunConfig

Named = str | Benchmark | Mapping[str, Any]
"""A benchmark: its name, or its definition as YAML, as a mapping or as a `Benchmark`."""

NO_TRAINING = {"source": "nano-train"}
"""The problem set in the configuration of an evaluation. It is required there, and never used."""

_EXAMPLE = "'{name: mine, source: mine.jsonl, form: exact}'"
_WRITE = f"write it as {_EXAMPLE}"
_OWN = f"or define your own: --benchmarks {_EXAMPLE}"


def preset_benchmarks() -> dict[str, str]:
    """The names of the benchmarks of all presets, each with its preset."""
    return {
        b.name: preset for preset in presets.preset_names() for b in presets.load_config(preset).evaluate.benchmarks
    }


def evaluation_tree(wanted: Sequence[Named], given: RunConfig | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of an evaluation on the `wanted` benchmarks, as a tree without its section `model`.

    Everything else is that of `given`, or the default. Without `wanted` the benchmarks are those of `given`.
    `overrides` of the section evaluate also replace the decoding that a preset has for its benchmark.

    Raises:
        ConfigError: there is no benchmark of that name, or none is wanted, or two need different worked examples.
    """
    sections = {"prompts", "evaluate", "execution"}
    tree: dict[str, Any] = given.model_dump(mode="json", include=sections) if given else {"evaluate": {}}
    if not wanted and not given:
        raise ConfigError(f"no benchmark is named\n  remedy: --benchmarks NAME, where NAME is {_names()}; {_OWN}")
    found = [_find(text, given, overrides) for text in wanted]
    if found:
        tree["evaluate"]["benchmarks"] = [benchmark for benchmark, _ in found]
    for examples in (e for _, e in found if e):
        if tree.setdefault("prompts", examples) != examples:
            raise ConfigError(
                "the benchmarks need different worked examples (prompts.few_shot)\n"
                "  remedy: evaluate them one after the other"
            )
    return tree | {"problems": NO_TRAINING}


def _find(text: Named, given: RunConfig | None, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A benchmark's definition, and the section `prompts` that it needs, if it is one of another preset's."""
    if isinstance(text, Benchmark):
        return text.model_dump(mode="json"), {}
    if isinstance(text, Mapping):
        return dict(text), {}
    if text.lstrip().startswith("{"):
        return _parse(text), {}
    name = _plain(text)
    if own := next((b for b in given.evaluate.benchmarks if _plain(b.name) == name) if given else iter(()), None):
        return own.model_dump(mode="json"), {}
    preset = next((preset for known, preset in preset_benchmarks().items() if _plain(known) == name), None)
    if preset is None:
        similar = did_you_mean(text, preset_benchmarks())
        raise ConfigError(f"there is no benchmark {text!r:.100}{similar}\n  remedy: give {_names()}; {_OWN}")
    return _of_preset(preset, name, overrides)


def _of_preset(preset: str, name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A benchmark with the decoding that its preset has for it, written into its own fields."""
    decoding = [o for o in overrides if o.startswith("evaluate.") and not o.startswith("evaluate.benchmarks")]
    config = presets.load_config(preset, overrides=decoding)
    benchmark = next(b for b in config.evaluate.benchmarks if _plain(b.name) == name)
    sampling = config.evaluate.decoding(benchmark).model_dump(include=set(Decoding.model_fields) - {"seed"})
    own = benchmark.model_dump(mode="json") | sampling | {"samples": config.evaluate.samples_of(benchmark)}
    return own, config.prompts.model_dump(mode="json") if benchmark.few_shot else {}


def _parse(text: str) -> dict[str, Any]:
    _, tree = document.load(f"--benchmarks {text:.200}", text)
    if not isinstance(tree, dict):
        raise ConfigError(f"--benchmarks {text:.200}: it is not a mapping\n  remedy: {_WRITE}")
    return tree


def _plain(name: str) -> str:
    """A name as it is compared: ``MATH-500`` is ``math500``."""
    return "".join(c for c in name.lower() if c.isalnum())


def _names() -> str:
    return f"one of {', '.join(preset_benchmarks())}"
