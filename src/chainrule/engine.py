"""Which engine runs: the one in C where it is built, else its reference in Python."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final


def _find() -> tuple[Any, str]:
    """The extension module; or None, and why."""
    if os.environ.get("CHAINRULE_PURE"):
        return None, "CHAINRULE_PURE is set"
    try:
        found = import_module("chainrule._engine")
    except ImportError as error:
        note = Path(__file__).with_name("not_compiled.txt")  # by setup.py
        return None, note.read_text(encoding="utf-8") if note.is_file() else str(error)
    if found.__file__ is None:  # a source tree: the folder of the C files
        return None, "it is not built"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, "the engine in C needs the global interpreter lock"
    return found, ""


ENGINE: Final[Any]
REASON: Final[str]
ENGINE, REASON = _find()
