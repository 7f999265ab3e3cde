"""Listeners of progress, and their calls as lines of JSON between processes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from ssb_core.progress import CallbackProgress, JsonProgress, PlainProgress, rate_and_eta, replay, roughly, send
from tests.support.listeners import Recorded

CALLS = (
    ("begin", "rollouts", 64, "samples", 8),
    ("advance", 1),
    ("advance", 7),
    ("note", 'a "line"\nwith ünïcode and \u2028'),
    ("wait", "another process writes"),
    ("end",),
)


def test_replay_makes_the_calls_that_json_progress_wrote_down() -> None:
    stream, recorded = io.StringIO(), Recorded()
    writer = JsonProgress(stream)
    for name, *arguments in CALLS:
        getattr(writer, name)(*arguments)
    for line in stream.getvalue().split("\n")[:-1]:
        replay(json.loads(line), recorded)
    assert tuple(recorded.calls) == CALLS


@pytest.mark.parametrize(
    "event",
    [
        {"event": "__init__"},
        {"event": "__class__"},
        {"event": "done", "made": 1},
        {"event": "callback", "text": "x"},
        {"event": "begin", "label": "x"},
        {"event": "begin", "label": "x", "total": "1", "unit": "y", "done": 0},
        {"event": "advance", "n": "1"},
        {"event": "note"},
        {"event": "note", "text": ["x"]},
        {"event": ["end"]},
        {},
    ],
    ids=str,
)
def test_an_event_that_is_none_of_progress_is_refused(event: dict[str, Any]) -> None:
    recorded = Recorded()
    with pytest.raises(ValueError, match="not an event of progress"):
        replay(event, recorded)
    assert recorded.calls == []


def test_an_event_is_one_line_with_its_fields() -> None:
    stream = io.StringIO()
    send(stream, "failed", message="two\nlines")
    assert stream.getvalue() == '{"event": "failed", "message": "two\\nlines"}\n'


def test_waiting_is_a_note_unless_a_listener_shows_it_otherwise() -> None:
    lines: list[str] = []
    PlainProgress(lines.append).wait("another process writes")
    assert lines == ["another process writes"]


def test_plain_progress_writes_a_line_at_most_every_so_often_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [100.0], list[str]()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = PlainProgress(lines.append, every=10)
    progress.begin("rollouts", 20, "samples", 10)
    for seconds in (4, 5, 2, 3, 7):
        now[0] += seconds
        progress.advance()
        if seconds == 3:
            progress.estimate(754.0)
    progress.end()
    assert lines == [
        "rollouts: 13/20 samples, 0.3 samples/s, 0:00:26 left",
        "rollouts: 15/20 samples, 0.2 samples/s, 0:00:21 left; the run takes about 13 min more",
        "rollouts: 15/20 samples, done in 21.0 s",
    ]


def test_plain_progress_is_silent_about_a_phase_without_work() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    progress.begin("rollouts", 20, "samples", 20)
    progress.end()
    assert lines == []


def test_callback_progress_passes_label_done_total_and_unit() -> None:
    calls: list[tuple[str, int, int, str]] = []
    progress = CallbackProgress(lambda *arguments: calls.append(arguments))
    progress.begin("teach", 4, "solutions", 1)
    progress.advance()
    progress.advance(2)
    progress.end()
    assert calls == [("teach", done, 4, "solutions") for done in (1, 2, 4)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "10 s"), (44, "40 s"), (91, "2 min"), (5000, "83 min"), (9000, "2 h 30 min"), (7300, "2 h"), (90_000, "25 h")],
)
def test_a_rough_time_has_no_more_than_two_digits(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


def test_the_rate_is_zero_before_anything_is_done() -> None:
    assert rate_and_eta(0, 5, 1.0, "samples") == "waiting"
    assert rate_and_eta(25, 1000, 2.0, "samples") == "12.5 samples/s, 0:01:20 left"
