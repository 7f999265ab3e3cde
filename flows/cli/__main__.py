"""The program ``ssb``, which is the same as ``python -m flows.cli``."""

from __future__ import annotations

from .interruption import handle_to_the_end


def main() -> None:
    """Entry point of the console script. Signals are handled before anything that takes time is imported."""
    handle_to_the_end()
    from .main import app

    app()


if __name__ == "__main__":
    main()
