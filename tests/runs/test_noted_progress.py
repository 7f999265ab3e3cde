"""The note of how far the work is, which another process reads."""

from __future__ import annotations

from ssb_core.runs.entries import Phase
from ssb_core.runs.noted_progress import NotedProgress
from tests.support.listeners import Recorded


def test_every_call_is_passed_on_and_notes_are_made_at_both_ends_and_every_few_seconds() -> None:
    notes, listener = list[Phase](), Recorded()
    progress = NotedProgress(listener, notes.append, every=60)
    for _ in range(2):
        progress.note("a line"), progress.wait("a reason")
        progress.begin("distill", 9, "steps", 2)
        progress.advance(), progress.advance(3)
        progress.end()
        progress.every = 0
    calls = [("note", "a line"), ("wait", "a reason"), ("begin", "distill", 9, "steps", 2)]
    assert listener.calls == 2 * [*calls, ("advance", 1), ("advance", 3), ("end",)]
    assert [(n.label, n.total, n.before, n.done) for n in notes] == [
        ("distill", 9, 2, done) for done in (2, 6, 2, 3, 6, 6)
    ]
    assert all(n.seconds >= 0 and n.at > 0 for n in notes)
