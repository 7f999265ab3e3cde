"""Notes, for every process that has this folder on its PYTHONPATH, what GOMP_SPINCOUNT is when torch is first imported.

SSB_TEST_TORCH names the file of these notes. A line has the value, and then the command.
"""

import os
import sys
from typing import Any


class Guard:
    """A finder of modules that finds none."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torch":
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            with open(os.environ["SSB_TEST_TORCH"], "a") as notes:
                notes.write(f"{os.environ.get('GOMP_SPINCOUNT')} {' '.join(sys.orig_argv)}\n")


if "SSB_TEST_TORCH" in os.environ:
    sys.meta_path.insert(0, Guard())  # type: ignore[arg-type]
