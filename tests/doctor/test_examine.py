"""Examinations: one that fails keeps no other from running, and a sound configuration is in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ssb_core.config import RunConfig
from ssb_core.doctor import Check, Examination, examine
from ssb_core.doctor.context import TRAINING
from ssb_core.errors import ConfigError
from tests.support.doctor import examined


def test_an_examination_that_fails_or_hangs_does_not_stop_the_others() -> None:
    def refused() -> Iterator[Check]:
        yield Check("first", "ok", "found before it failed")
        raise ConfigError("no model here\n  remedy: give one")

    def broken() -> Iterator[Check]:
        raise SystemExit("a library that gives up")

    def hanging() -> Iterator[Check]:
        time.sleep(60)
        yield Check("never", "ok", "")

    functions = {
        "refused": refused,
        "broken": broken,
        "hanging": hanging,
        "last": lambda: [Check("last", "ok", "fine")],
    }
    bounds = {"hanging": 0.2}
    results = list(
        examine(Examination("group", name, check, bounds.get(name, 60.0)) for name, check in functions.items())
    )
    assert [(group, c.name, c.status) for group, c in results] == [
        ("group", "first", "ok"),
        ("group", "refused", "problem"),
        ("group", "broken", "problem"),
        ("group", "hanging", "problem"),
        ("group", "last", "ok"),
    ]
    made = [c for _, c in results]
    assert (made[1].message, made[1].remedy) == ("no model here", "give one")
    assert made[2].message == "SystemExit: a library that gives up"
    assert made[3].message == "no answer within 0.2 s"


def test_this_installation_and_machine_are_in_order(tmp_path: Path) -> None:
    checks = examined(None, tmp_path / "deep" / "store")
    assert {name: c.status for name, c in checks.items() if c.status == "problem"} == {}
    assert {"python", "packages", "imports", "processor", "device", "open files", "engine", "store"} <= set(checks)
    assert "(to be created)" in checks["store"].message and list(tmp_path.iterdir()) == []


def test_a_sound_configuration_is_in_order_and_has_an_estimate(small: RunConfig, tmp_path: Path) -> None:
    checks = examined(small, tmp_path / "store")
    assert {name: c.status for name, c in checks.items() if c.status == "problem"} == {}
    assert checks[TRAINING].message == "64 problems of nano-train"
    assert checks["use"].message.endswith("context 1,024 tokens")
    assert checks["memory"].message.startswith("861.6 thousand parameters take 3.45 MB in float32")
    assert checks["disk"].message.startswith("at most ") and "signal" in checks["disk"].message
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_missing_is_reported_at_once(small: RunConfig, tmp_path: Path) -> None:
    """Another device than there is, a model and a problem set that are not there, and one with a bad answer."""
    (tmp_path / "mine.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "answer": " "}\n')
    changes = {
        "model": small.model.model_copy(update={"source": str(tmp_path / "model.gguf")}),
        "problems": small.problems.model_copy(update={"source": str(tmp_path / "mine.jsonl")}),
        "evaluate": small.evaluate.model_copy(
            update={"benchmarks": (small.evaluate.benchmarks[0].model_copy(update={"source": "none.jsonl"}),)}
        ),
        "execution": small.execution.model_copy(update={"device": "mps", "engine": "auto"}),
    }
    checks = examined(small.model_copy(update=changes), tmp_path / "store")
    problems = {name for name, c in checks.items() if c.status == "problem"}
    assert problems == {"device", "engine", "model", "nano-test"}
    assert checks["model"].remedy.startswith("correct the path")
    assert checks[TRAINING].status == "warning"
    assert "1 left out, because their reference answers cannot be used, first 'mine-00002' (it is empty)" in (
        checks[TRAINING].message
    )
    assert checks["target"].status == checks["disk"].status == "warning"
