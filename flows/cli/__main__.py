"""``python -m flows.cli`` is the same program as ``ssb``."""

from .main import main

main()
