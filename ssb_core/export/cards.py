"""Model and data cards: the summary's numbers, how they were made, and code that loads the files beside the card.

`report` formats all result numbers. A card claims nothing that is not in summary.json. Tests run its code: ``make
test-vllm`` that for vLLM, ``make test`` the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from .. import problems, prompts
from ..config import ProblemsConfig
from ..errors import ConfigError
from ..report.markdown import block, table
from ..report.tables import results_table
from ..report.verdict import verdict_in_words
from ..results import queries
from ..results.provenance import Provenance, student_messages
from ..results.wording import problem_count, sampling
from ..store import write_json

PAPER = "https://arxiv.org/abs/2512.05105"
QUESTION = "Ruth has 3 pens. She buys 4 more. How many pens does Ruth have now?"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's MaxLoRARanks, copied because an export does not need vLLM
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class Card:
    """The kind of export (adapter, merged or dataset), which names the template, and the values that only it has."""

    kind: str
    context: dict[str, Any]
    rows: int = 0


def write(card: Card, provenance: Provenance, directory: Path) -> None:
    """Write the card as README.md."""
    (directory / "README.md").write_text(render(card, provenance), encoding="utf-8")


def write_marker(card: Card, provenance: Provenance, path: Path) -> None:
    """Write the provenance for programs. The file also marks the directory as an export."""
    summary = provenance.run.load_summary()
    shared = {name: summary[name] for name in ("run", "preset", "fingerprints", "versions")}
    model = {"source": provenance.base_name(), "revision": provenance.model.revision, **provenance.model.recipe}
    write_json(path, {"format": 1, "kind": card.kind, **shared, "model": model})


def render(card: Card, provenance: Provenance) -> str:
    """The card as Markdown with YAML front matter."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # Markdown, so only the filters escape anything
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"table": table, "block": block, "py": _literal, "problem_count": problem_count}
    return environment.get_template(f"{card.kind}.md.j2").render(_content(card, provenance))


def _content(card: Card, provenance: Provenance) -> dict[str, Any]:
    """The values that the templates show."""
    summary, config = provenance.run.load_summary(), provenance.config
    tokenizer = card.context["tokenizer"]
    return {
        **card.context,
        "front": yaml.safe_dump(_front_matter(card, provenance), sort_keys=False, allow_unicode=True),
        "rows": card.rows,
        "summary": summary,
        "config": config,
        "model": provenance.model,
        "on_hub": provenance.on_hub,
        "is_nano": provenance.is_nano(),
        "base": provenance.base_name(),
        "base_location": provenance.base_location(),
        "verdict": verdict_in_words(summary).splitlines(),
        "results": results_table(summary) if summary["benchmarks"] else [],
        "funnel": queries.load_funnel(provenance.run),
        "sampling": sampling(config.evaluate.recipe),
        "sampling_of": {b.name: sampling(config.evaluate.decoding(b).recipe) for b in config.evaluate.benchmarks},
        "caps": {b.name: config.evaluate.decoding(b).max_new_tokens for b in config.evaluate.benchmarks},
        "messages": student_messages(tokenizer, QUESTION),
        "prompt": tokenizer.decode(prompts.encode(tokenizer, prompts.tutor_messages(QUESTION))),
        "dated": "strftime_now" in tokenizer.chat_template,
        "benchmarks": [b for b in config.evaluate.limited_benchmarks() if b.name in summary["benchmarks"]],
        "provenance": _provenance(provenance),
        "sets": _sets(provenance),
        "vllm_rank": next((r for r in VLLM_RANKS if r >= config.distill.lora_rank), config.distill.lora_rank),
        "paper": PAPER,
    }


def _front_matter(card: Card, provenance: Provenance) -> dict[str, Any]:
    """The metadata for the hub. It names no license, which the user must choose, and no base that is not on the hub."""
    if card.kind == "dataset":
        return {
            "pretty_name": f"SSB traces of run {provenance.run.name}",
            "task_categories": ["text-generation"],
            "tags": ["semantic-soft-bootstrapping", "self-distillation", "synthetic"],
            "size_categories": [next((name for n, name in SIZES if card.rows < n), "n>1M")],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
        }
    adapter = card.kind == "adapter"
    base = {"base_model": provenance.base_name(), "base_model_relation": "adapter" if adapter else "finetune"}
    return {
        **(base if provenance.on_hub else {}),
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["semantic-soft-bootstrapping", "self-distillation", "lora"],
        **({"datasets": [provenance.config.problems.source]} if problems.is_on_hub(provenance.config.problems) else {}),
    }


def _provenance(provenance: Provenance) -> list[dict[str, str]]:
    """Rows about run, model, requests, versions and machine."""
    summary, model = provenance.run.load_summary(), provenance.model
    machine = provenance.run.load_environment()
    values = {
        "run": f"`{summary['run']}` (preset {summary['preset']})",
        "base model": f"`{provenance.base_name()}`, {provenance.base_location()}",
        "its identity": f"`{model.identity}`" + ("" if provenance.on_hub else ", a digest of its files"),
        "computed in": f"{model.dtype} on {machine['device']} {machine['device_name']}".strip(),
        **{f"{stage} sampled by": ", ".join(names) for stage, names in summary["engines"].items()},
        **{f"{stage} fingerprint": f"`{value}`" for stage, value in summary["fingerprints"].items()},
        "versions": ", ".join(f"{name} {value}" for name, value in summary["versions"].items()),
    }
    return [{"what": name, "value": value} for name, value in values.items()]


def _sets(provenance: Provenance) -> list[dict[str, str]]:
    """Rows about the problem sets of the run: name, source, number of problems, digest of their contents."""
    config, summary = provenance.config, provenance.run.load_summary()
    training = _set("training", config.problems, summary["yield"]["problems"], provenance.load_training_problems)
    benchmarks = [b for b in config.evaluate.limited_benchmarks() if b.name in summary["benchmarks"]]
    held_out = [
        _set(b.name, b, summary["benchmarks"][b.name]["n"], partial(provenance.load_benchmark_problems, b))
        for b in benchmarks
    ]
    return [training, *held_out]


def _set(name: str, config: ProblemsConfig, n: int, load: Callable[[], problems.ProblemSet]) -> dict[str, str]:
    try:
        digest = f"`{problems.content_digest(load())}`"
    except ConfigError:  # the card is useful without it, because the fingerprints cover the contents too
        digest = "not available when this was exported"
    return {"set": name, "source": _source(config), "problems": f"{n:,}", "content digest": digest}


def _source(config: ProblemsConfig) -> str:
    """The source of a problem set; for a local file only its name, because the folder is private."""
    if config.source in problems.EMBEDDED:
        return f"{config.source}, embedded in ssb"
    if not problems.is_on_hub(config):
        return Path(config.source).name
    return ", ".join(filter(None, (config.source, config.subset, f"split {config.split}")))


def _literal(value: Any) -> str:
    """A text or number as Python code."""
    return json.dumps(value, ensure_ascii=False)
