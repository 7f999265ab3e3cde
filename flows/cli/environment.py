"""The environment variables of a command that runs in a terminal."""

from __future__ import annotations

import os


def set_defaults() -> None:
    """Set what suits a terminal, unless the user has set it. Call this before Prefect is imported."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # we print each error once, ourselves
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")  # deployments/automations.yaml relies on it
    os.environ.setdefault("DO_NOT_TRACK", "1")
