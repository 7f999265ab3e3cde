"""Fixtures of the tests of `tasks`."""

from __future__ import annotations

import logging

import pytest

from tasks import artifacts, storyteller


@pytest.fixture
def run_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The lines for the flow run's log, although there is no flow run."""
    for module in (artifacts, storyteller):
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("test"))
    return caplog
