"""Which engine runs: the extension module, written in C, or the Python files that it is a twin of.

It is Python where no extension was built, and where ``CHAINRULE_PURE`` is set in the environment.
"""

from __future__ import annotations

import os
from typing import Any


def _extension() -> Any:
    if os.environ.get("CHAINRULE_PURE"):
        return None
    try:
        from chainrule import _engine
    except ImportError:
        return None
    # In a source tree where it is not built, the folder of its sources is a package without a file.
    return _engine if _engine.__file__ is not None else None


ENGINE: Any = _extension()
"""The extension module, or None."""

COMPILED = ENGINE is not None
"""Whether the engine runs as machine code."""
