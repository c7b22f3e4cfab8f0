"""What is installed: the version, and which engine runs."""

from __future__ import annotations

import platform

from chainrule._version import __version__
from chainrule.engine import ENGINE, REASON


def build_info() -> dict[str, str | bool]:
    """What runs here.

    Returns:
        ``version``, ``python`` and ``machine``; ``compiled``, whether the engine in C
        runs, else it is its reference in Python; and ``reason``, why, where that is so.
    """
    return {
        "version": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": platform.machine(),
        "compiled": ENGINE is not None,
        "reason": REASON,
    }
