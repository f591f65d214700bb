"""What `import gqn` offers; the order of imports inside it is held by import-linter, see pyproject.toml."""

import pytest

import gqn


def test_a_notebook_has_every_name() -> None:
    for name in gqn.__all__:
        assert getattr(gqn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gqn.nothing
