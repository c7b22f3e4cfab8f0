"""The package as a whole: what importing it loads, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import chainrule


def test_import_loads_little() -> None:
    """Importing loads none of the libraries that only some uses need."""
    heavy = ["numpy", "graphviz", "mpmath", "matplotlib", "PIL", "tqdm"]
    code = f"import sys, chainrule; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    """Everything that is promised is there, and documented."""
    for name in chainrule.__all__:
        assert hasattr(chainrule, name), name
    assert set(chainrule.__all__) <= set(dir(chainrule))
    for name in ("Node", "draw_graph", "trace", "zero_grad", "group", "detect_anomaly"):
        assert getattr(chainrule, name).__doc__
    for name in chainrule.math.__all__:
        assert hasattr(chainrule.math, name), name


def test_unknown_name() -> None:
    """A misspelt name is an AttributeError."""
    with pytest.raises(AttributeError, match="nosuch"):
        chainrule.nosuch  # noqa: B018


def test_build_info() -> None:
    """Version, engine, Python."""
    info = chainrule.build_info()
    assert info["version"] == chainrule.__version__
    assert isinstance(info["compiled"], bool)
    assert str(info["python"]).split()[1] == ".".join(map(str, sys.version_info[:3]))
