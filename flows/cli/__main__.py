"""``python -m flows.cli`` is ``ssb``."""

from .main import main

main()
