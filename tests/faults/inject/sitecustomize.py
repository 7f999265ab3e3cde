"""A journal, and a fault, for processes with this folder on their PYTHONPATH and SSB_TEST_JOURNAL in their environment.

SSB_TEST_JOURNAL is ``[FOLDER, JOURNAL, FAULT or null]`` in JSON; see `tests.faults.subject`.
"""

import os

if given := os.environ.get("SSB_TEST_JOURNAL"):
    import json
    import sys
    from pathlib import Path

    from tests.faults.subject import Fault, Journal

    folder, journal, fault = json.loads(given)
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.addaudithook(Journal(Path(folder), descriptor, Fault(*fault) if fault else None))
