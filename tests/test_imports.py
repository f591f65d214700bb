"""Properties of `import gqn`; the order of imports inside it is held by import-linter, see pyproject.toml."""

import importlib.resources
import subprocess
import sys

import pytest

import gqn


def test_a_notebook_has_every_name() -> None:
    for name in gqn.__all__:
        assert getattr(gqn, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = gqn.nothing


def test_import_loads_no_library_until_a_name_is_used() -> None:
    code = "import sys, gqn; print([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_type_checkers_find_the_types() -> None:
    files = importlib.resources.files("gqn")
    assert (files / "py.typed").is_file()
    assert (files / "__init__.pyi").is_file()
