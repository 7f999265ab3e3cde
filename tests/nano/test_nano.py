"""The embedded model: its problems, its size, and that the base hides an ability which the hint shows."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, replace
from itertools import islice

import pytest

from ssb_core import models
from ssb_core.nano import build
from ssb_core.problems import nano as problems
from ssb_core.verify.extract import final_answer


@pytest.mark.parametrize("split", ["pretrain", "train", "test"])
def test_streams_are_seeded_and_stay_in_their_split(split: problems.Split) -> None:
    first = list(islice(problems.stream(split, 0), 200))
    assert first == list(islice(problems.stream(split, 0), 200))
    assert first != list(islice(problems.stream(split, 1), 200))
    assert {c.split for c in first} == {split}


def test_no_problem_of_one_split_is_a_reworded_problem_of_another() -> None:
    sets = {
        split: {c.signature for length in ((1, 2, 3), (4, 5)) for c in islice(problems.stream(split, 0, length), 4096)}
        for split in ("pretrain", "train", "test")
    }
    assert not sets["train"] & sets["test"]
    assert not sets["pretrain"] & (sets["train"] | sets["test"])


def test_careful_solutions_are_right_and_slips_are_carried_forward() -> None:
    rng = random.Random(0)
    for chain in islice(problems.stream("train", 0), 300):
        value = chain.start
        for step in chain.steps:
            value = problems.apply(step.op, value, step.operand)
            assert 1 <= value <= 99
        assert final_answer(problems.solution(chain)) == str(value)
        slipped = problems.solution(chain, rng)
        assert slipped != problems.solution(chain)
        lines = slipped.splitlines()[1:-1]
        results = [line.rsplit(" = ", 1)[1].rstrip(".") for line in lines]
        starts = [line.split(": ")[1].split(" ")[0] for line in lines]
        assert starts[1:] == results[:-1]
        assert final_answer(slipped) == results[-1]


def test_the_weights_are_small_and_are_the_ones_that_were_built() -> None:
    weights = (models.NANO / "model.safetensors").read_bytes()
    built = json.loads((models.NANO / "build.json").read_text())
    assert len(weights) <= 4_000_000
    assert built["sha256"] == hashlib.sha256(weights).hexdigest()
    assert built["data_version"] == problems.DATA_VERSION


def test_the_hint_shows_an_ability_that_bare_answers_hide() -> None:
    accuracy = build.measure(models.NANO, n=100)
    assert accuracy["hinted"] >= 0.95
    assert accuracy["bare"] <= accuracy["hinted"] - 0.25


def test_the_build_script_starts_exactly_as_recorded() -> None:
    built = json.loads((models.NANO / "build.json").read_text())
    settings = build.Settings()
    tokenizer = build.build_tokenizer(settings)
    shipped = json.loads((models.NANO / "tokenizer.json").read_text())
    assert json.loads(tokenizer.backend_tokenizer.to_str())["model"] == shipped["model"]
    _, rows = build.train(replace(settings, steps=1), tokenizer)
    assert built["settings"] == asdict(settings)
    assert rows[0]["loss"] == built["log"][0]["loss"]
