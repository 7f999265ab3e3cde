"""Model and data cards: the summary's numbers, how they came about, and code that loads what lies beside the card.

Result numbers are formatted by `report` and nowhere else. A card claims nothing that is not in summary.json. Its code
is run by tests: vLLM's by ``make test-vllm``, the rest by ``make test``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from .. import problems, prompts, report
from ..config import Decoding, ProblemsConfig
from ..errors import ConfigError
from ..results import queries
from ..results.provenance import Origin, student_turns
from ..results.wording import how_many
from ..store import write_json

PAPER = "https://arxiv.org/abs/2512.05105"
QUESTION = "Ruth has 3 pens. She buys 4 more. How many pens does Ruth have now?"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's MaxLoRARanks; to export takes no vLLM
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class Card:
    """What a card is of (adapter, merged or dataset, which names its template), and what only its maker knows."""

    kind: str
    facts: dict[str, Any]
    rows: int = 0


def write(card: Card, origin: Origin, directory: Path) -> None:
    """Write README.md."""
    (directory / "README.md").write_text(render(card, origin), encoding="utf-8")


def write_mark(card: Card, origin: Origin, path: Path) -> None:
    """Write the provenance for programs, which also marks the directory as an export."""
    kept = {name: origin.run.load_summary()[name] for name in ("run", "preset", "fingerprints", "versions")}
    write_json(path, {"format": 1, "kind": card.kind, **kept, "model": _named(origin)})


def render(card: Card, origin: Origin) -> str:
    """The card as Markdown with YAML front matter."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # Markdown, so nothing is escaped but by the filters
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"table": table, "fenced": fenced, "py": _literal, "how_many": how_many}
    return environment.get_template(f"{card.kind}.md.j2").render(_content(card, origin))


def _content(card: Card, origin: Origin) -> dict[str, Any]:
    """What the templates show."""
    summary, config = origin.run.load_summary(), origin.config
    tokenizer = card.facts["tokenizer"]
    return {
        **card.facts,
        "front": yaml.safe_dump(_front_matter(card, origin), sort_keys=False, allow_unicode=True),
        "rows": card.rows,
        "summary": summary,
        "config": config,
        "model": origin.model,
        "on_hub": origin.on_hub,
        "is_nano": origin.is_nano,
        "base": origin.base,
        "place": origin.place,
        "verdict": report.verdict_in_words(summary).splitlines(),
        "results": report.results_table(summary) if summary["benchmarks"] else [],
        "funnel": queries.funnel(origin.run),
        "sampling": _sampling(config.evaluate),
        "sampled": {b.name: _sampling(config.evaluate.decoding(b)) for b in config.evaluate.benchmarks},
        "caps": {b.name: config.evaluate.decoding(b).max_new_tokens for b in config.evaluate.benchmarks},
        "messages": student_turns(tokenizer, QUESTION),
        "prompt": tokenizer.decode(prompts.encode(tokenizer, prompts.tutor_messages(QUESTION))),
        "dated": "strftime_now" in tokenizer.chat_template,
        "benchmarks": [b for b in config.evaluate.limited_benchmarks() if b.name in summary["benchmarks"]],
        "provenance": _provenance(origin),
        "sets": _sets(origin),
        "vllm_rank": next((r for r in VLLM_RANKS if r >= config.distill.lora_rank), config.distill.lora_rank),
        "paper": PAPER,
    }


def _front_matter(card: Card, origin: Origin) -> dict[str, Any]:
    """What the hub reads; no license, which is the user's to choose, and no base that the hub does not know."""
    if card.kind == "dataset":
        return {
            "pretty_name": f"SSB traces of run {origin.run.name}",
            "task_categories": ["text-generation"],
            "tags": ["semantic-soft-bootstrapping", "self-distillation", "synthetic"],
            "size_categories": [next((name for n, name in SIZES if card.rows < n), "n>1M")],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
        }
    adapter = card.kind == "adapter"
    base = {"base_model": origin.base, "base_model_relation": "adapter" if adapter else "finetune"}
    return {
        **(base if origin.on_hub else {}),
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["semantic-soft-bootstrapping", "self-distillation", "lora"],
        **({"datasets": [origin.config.problems.source]} if problems.is_on_hub(origin.config.problems) else {}),
    }


def _named(origin: Origin) -> dict[str, Any]:
    return {"source": origin.base, "revision": origin.model.revision, **origin.model.recipe}


def _sampling(decoding: Decoding) -> str:
    """How an evaluation sampled, in words."""
    if not decoding.temperature:
        return "greedy decoding"
    return f"temperature {decoding.temperature:g}" + (f", top-k {decoding.top_k}" if decoding.top_k else "")


def _provenance(origin: Origin) -> list[dict[str, str]]:
    """Rows of names and values: run, model, requests, versions, machine."""
    summary, model = origin.run.load_summary(), origin.model
    machine = origin.run.load_environment()
    facts = {
        "run": f"`{summary['run']}` (preset {summary['preset']})",
        "base model": f"`{origin.base}`, {origin.place}",
        "its identity": f"`{model.identity}`" + ("" if origin.on_hub else ", a digest of its files"),
        "computed in": f"{model.dtype} on {machine['device']} {machine['device_name']}".strip(),
        **{f"{stage} sampled by": ", ".join(names) for stage, names in summary["engines"].items()},
        **{f"{stage} fingerprint": f"`{value}`" for stage, value in summary["fingerprints"].items()},
        "versions": ", ".join(f"{name} {value}" for name, value in summary["versions"].items()),
    }
    return [{"what": name, "value": value} for name, value in facts.items()]


def _sets(origin: Origin) -> list[dict[str, str]]:
    """The problem sets of the run: name, source, how many problems, digest of their contents."""
    config, summary = origin.config, origin.run.load_summary()
    trained = _set("training", config.problems, summary["yield"]["problems"], origin.asked)
    tested = [b for b in config.evaluate.limited_benchmarks() if b.name in summary["benchmarks"]]
    held_out = [_set(b.name, b, summary["benchmarks"][b.name]["n"], partial(origin.answered, b)) for b in tested]
    return [trained, *held_out]


def _set(name: str, config: ProblemsConfig, n: int, read: Callable[[], problems.ProblemSet]) -> dict[str, str]:
    try:
        digest = f"`{problems.content_digest(read())}`"
    except ConfigError:  # a card can do without: the fingerprints hold the contents too
        digest = "not at hand when this was exported"
    return {"set": name, "source": _source(config), "problems": f"{n:,}", "content digest": digest}


def _source(config: ProblemsConfig) -> str:
    """Where a problem set is from; of a local file its name alone, as its folder is nobody's business."""
    if config.source in problems.EMBEDDED:
        return f"{config.source}, embedded in ssb"
    if not problems.is_on_hub(config):
        return Path(config.source).name
    return ", ".join(filter(None, (config.source, config.subset, f"split {config.split}")))


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of cells as a Markdown table, the names of the first row as its heading."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(_cell(c) for c in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def fenced(text: str) -> str:
    """`text` as a code block, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.rstrip()}\n{fence}"


def _literal(value: Any) -> str:
    """A text or number as Python code."""
    return json.dumps(value, ensure_ascii=False)
