"""A problem set: its order, its digests, and how little memory it needs."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import resource
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ssb_core import problems
from ssb_core.config import ProblemsConfig, presets
from ssb_core.errors import ConfigError
from ssb_core.problems import problem_set
from ssb_core.problems.problem_set import ProblemSet
from ssb_core.records import Problem
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages.shards import shard_inputs
from ssb_core.store import digest
from tests.support.problem_files import write_problems

MANY, MOST = 8_000, 150
"""Number of problems, and bytes of memory per problem; as objects they took more than 1,000 bytes."""

FIELDS = {"id": "n", "question": "q", "answer": "a", "subject": "s", "level": "l"}


@pytest.fixture
def source(tmp_path: Path) -> str:
    """40 problems. One has no answer, and two repeat the questions of others."""
    rows = [
        {
            "n": f"p{i}",
            "q": f'Was ist {i} + {i % 5}? \t"€" \\frac12\n  {"Zeile" if i % 2 else "line"} 😀',
            "a": str(2 * i) if i % 7 else "???" if i else "",
            "l": i % 3,
            "s": "Zahlen",
        }
        for i in range(40)
    ]
    rows[30]["q"], rows[31]["q"] = f"{rows[12]['q']}  ".upper(), str(rows[13]["q"]).replace(" ", "  ")
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(source: str, **fields: Any) -> ProblemSet:
    return problems.load_problems(ProblemsConfig(source=source, **FIELDS, **fields))


@pytest.mark.parametrize(
    ("fields", "first", "whole", "shards"),
    [
        ({}, "p1 p2 p3 p4 p5", "e3251259056dc791", ["6256ff42dcf44984", "eb7a591f28be163a"]),
        ({"shuffle_seed": 3}, "p6 p10 p20 p4 p19", "9cd73814ab3fa98c", ["cedc47dec77e9632", "e71da3dc24301d93"]),
        (
            {"shuffle_seed": 3, "distinct": True, "skip": 4, "limit": 9},
            "p19 p17 p15 p11 p3",
            "0a0897236495d853",
            ["e71da3dc24301d93", "b04ea99af8249221"],
        ),
    ],
)
def test_orders_and_digests_are_those_of_existing_stores(
    source: str, fields: dict[str, Any], first: str, whole: str, shards: list[str]
) -> None:
    """The values were computed when sets were tuples of records."""
    loaded = load(source, **fields)
    assert " ".join(p.id for p in islice(loaded, 5)) == first
    assert problems.content_digest(loaded) == whole
    assert [i.name for i in shard_inputs(loaded, 4)][:2] == shards


def test_rollouts_have_the_inputs_of_existing_stores(tmp_path: Path) -> None:
    wave = Pipeline.of(presets.load_config("quickstart"), tmp_path).wave(0, 64)
    assert wave.rollouts.inputs() == ["c682f28a398de661"]


def test_the_digest_is_that_of_the_contents_as_json(source: str) -> None:
    loaded = load(source, shuffle_seed=1)
    contents = [[p.id, p.question, p.answer] for p in loaded]
    assert loaded.content_digest() == digest(contents) == problems.content_digest(list(loaded))
    assert loaded[3:17:2].content_digest() == digest(contents[3:17:2]) and loaded[:0].content_digest() == digest([])


def test_a_set_is_a_sequence_like_any_other(source: str) -> None:
    loaded = load(source)
    every = list(loaded)
    assert len(loaded) == len(every) == 39 and loaded[-1] == every[-1] and loaded[5:9] == every[5:9]
    assert loaded[10:][2:4] == every[12:14] and every[7] in loaded and loaded != every[:-1]
    assert every[0].subject == "Zahlen" and every[0].level == "1"
    assert [list(c) for c in loaded.chunks(20)] == [every[:20], every[20:]]
    with pytest.raises(IndexError):
        loaded[39]


def test_a_pickled_set_contains_its_problems(source: str) -> None:
    loaded = load(source)[3:7]
    copy = pickle.loads(pickle.dumps(loaded))
    assert copy == loaded and copy.content_digest() == loaded.content_digest()


@pytest.mark.parametrize("ids", ["aab", "aba", "baa"])
def test_a_repeated_id_is_named_in_any_order(tmp_path: Path, ids: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps({"id": i, "question": "?", "answer": "1"}) + "\n" for i in ids))
    with pytest.raises(ConfigError, match=r"the id 'a' is already used in line \d"):
        problems.load_problems(ProblemsConfig(source=str(path), id="id"))


def test_the_same_part_is_the_same_object(source: str) -> None:
    part = load(source).part(4, 20)
    assert part is load(source).part(4, 20) and part == load(source)[4:20]
    assert all(a is b for a, b in zip(part.chunks(8), part.chunks(8), strict=True))


def test_threads_and_forked_processes_may_read_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem_set, "IN_MEMORY", 1000)  # so that the set is in a file
    expected = [Problem(f"p{i}", f"{i}" * 50, str(i)) for i in range(200)]
    loaded = ProblemSet.of(expected)
    with ThreadPoolExecutor(8) as threads:
        assert all(read == expected for read in threads.map(lambda _: list(loaded), range(40)))
    children = [multiprocessing.get_context("fork").Process(target=_expect, args=(loaded, expected)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]


def _expect(loaded: ProblemSet, expected: list[Problem]) -> None:
    assert all(list(loaded) == expected for _ in range(20))


@pytest.mark.parametrize("characters", [10_000, 10])
def test_a_full_disk_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    """With many characters a write fails, with few the final flush does."""
    monkeypatch.setattr(problem_set, "IN_MEMORY", 100)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(ConfigError, match=r"no room for the problems in .*\n  remedy: .*TMPDIR"):
            ProblemSet.of(Problem(f"p{i}", "x" * characters, "1") for i in range(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_set_takes_little_more_memory_than_its_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    monkeypatch.setattr(problem_set, "IN_MEMORY", 2**16)
    path = write_problems(tmp_path / f"many.{ending}", MANY)
    config = ProblemsConfig(source=str(path), id="id", shuffle_seed=1, distinct=True)
    write_problems(tmp_path / f"few.{ending}", 10)  # modules that load once are not measured
    problems.load_problems(config.model_copy(update={"source": str(tmp_path / f"few.{ending}")}))
    tracemalloc.start()
    wave = problems.load_problems(config)[: MANY - 1]
    inputs = shard_inputs(wave, 32)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(inputs) == MANY // 32 and asdict(wave[0])["id"].startswith("syn-")
    assert now / MANY < MOST and peak / MANY < 2 * MOST
