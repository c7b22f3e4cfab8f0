"""Which engine runs: the extension module, written in C, or the Python files that it is a twin of.

It is Python where no extension was built, and where ``CHAINRULE_PURE`` is set in the environment.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def _extension() -> tuple[Any, str]:
    """The extension module; or None, and why."""
    if os.environ.get("CHAINRULE_PURE"):
        return None, "CHAINRULE_PURE is set"
    try:
        module = import_module("chainrule._engine")
    except ImportError as error:
        note = Path(__file__).with_name("not_compiled.txt")  # from setup.py
        return None, note.read_text(encoding="utf-8") if note.is_file() else str(error)
    # In a source tree where it is not built, the folder of its sources is a package without a file.
    if module.__file__ is None:
        return None, "the extension is not built"
    # A free-threaded Python turns the lock on as it loads an extension that needs it, if it may.
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, "the extension needs the global interpreter lock"
    return module, ""


ENGINE: Any
ENGINE, REASON = _extension()
"""The extension module, or None; and why it is not there."""

COMPILED = ENGINE is not None
"""Whether the engine runs as machine code."""
