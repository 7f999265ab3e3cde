"""Write a journal, and let a fault strike, in every process that has this folder on its PYTHONPATH.

SSB_TEST_JOURNAL must be set to ``[FOLDER, JOURNAL, FAULT or null]`` in JSON; see `tests.support.faults`.
"""

import os

if setting := os.environ.get("SSB_TEST_JOURNAL"):
    import json
    import sys
    from pathlib import Path

    from tests.support.faults import Fault, Journal

    folder, journal, fault = json.loads(setting)
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.addaudithook(Journal(Path(folder), descriptor, Fault(*fault) if fault else None))
