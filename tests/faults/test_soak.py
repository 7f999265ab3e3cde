"""A short soak: a few seeded faults of every kind. ``make soak`` runs the long one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.soak import INSTANT, STOP, STRIKES, Soak
from tests.support.subject import Subject


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    folder = tmp_path_factory.mktemp("soak")
    with Subject(folder / "logs") as subject:
        yield Soak(subject, folder, seed=8)


def test_a_run_killed_at_any_instant_ends_as_an_uninterrupted_one(soak: Soak) -> None:
    soak.kill_at_instants(3)
    assert not soak.record.problems and soak.record.of(INSTANT) == 3


def test_a_run_killed_terminated_or_out_of_space_while_it_writes_loses_nothing(soak: Soak) -> None:
    kinds = ["SIGKILL", "SIGTERM", "fill", "SIGINT"]
    soak.strike(kinds, 5)
    soak.strike(["later"], 3)
    assert not soak.record.problems
    assert sorted(soak.record.of(STRIKES[kind][0]) for kind in kinds) == [1, 1, 1, 2]
    assert soak.record.of(STRIKES["later"][0]) >= 2


def test_a_store_that_refuses_writes_is_one_clear_message_and_costs_no_work(soak: Soak) -> None:
    soak.refuse_writes(1)
    assert not soak.record.problems
    assert soak.record.of("read-only store") == soak.record.of("no permission to write") == 1


def test_few_open_files_a_stop_and_a_clock_turned_back_do_not_change_a_byte(soak: Soak) -> None:
    soak.limit_files([8, 12])
    soak.stop_for_a_while(3)
    soak.turn_the_clock_back(1)
    assert not soak.record.problems and soak.record.of(STOP) == 3
