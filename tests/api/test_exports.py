"""What `import ssb_core` exports, and that it loads nothing."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import import_module, resources

import pytest

import ssb_core
from ssb_core import errors
from tests.support.processes import ROOT

IMPORT = """
import json, sys
import ssb_core
print(json.dumps(sorted(sys.modules)))
"""


def test_every_public_name_can_be_imported_and_is_listed_once() -> None:
    assert sorted(ssb_core.__all__) == sorted(set(ssb_core.__all__))
    for name in ssb_core.__all__:
        assert getattr(ssb_core, name) is not None and name in dir(ssb_core)


def test_a_public_name_is_the_same_object_as_in_its_own_module() -> None:
    for name in ssb_core.__all__:
        value = getattr(ssb_core, name)
        assert getattr(import_module(value.__module__), name) is value and value.__module__.startswith("ssb_core.")
        assert inspect.getdoc(value), f"{name} has no docstring"


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ssb_core' has no attribute 'nonsense'"):
        _ = ssb_core.nonsense
    with pytest.raises(ImportError):
        exec("from ssb_core import nonsense")


def test_importing_the_package_loads_nothing_but_itself() -> None:
    done = subprocess.run([sys.executable, "-S", "-c", IMPORT], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert loaded - set(sys.stdlib_module_names) - {"__main__"} == {"ssb_core"}
    own = [name for name in json.loads(done.stdout) if name.startswith("ssb_core")]
    assert own == ["ssb_core", "ssb_core.openmp"]  # openmp has to come before torch


def test_the_package_says_that_it_has_types() -> None:
    assert resources.files("ssb_core").joinpath("py.typed").is_file()


def test_ssb_error_catches_every_error_that_a_user_can_see() -> None:
    defined = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, BaseException)]
    own = [e for e in defined if e.__module__ == errors.__name__]
    assert len(own) >= 7
    for kind in own:
        assert issubclass(kind, ssb_core.SSBError) and getattr(ssb_core, kind.__name__) is kind
        with pytest.raises(ssb_core.SSBError, match="message"):
            raise kind("message")
