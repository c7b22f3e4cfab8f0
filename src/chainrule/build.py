"""What is installed: the version, and whether the engine runs as machine code."""

from __future__ import annotations

import platform

from chainrule._version import __version__
from chainrule.engine import COMPILED, REASON


def build_info() -> dict[str, str | bool]:
    """What runs here.

    Returns:
        ``version``, ``python`` and ``machine``; ``compiled``, whether the engine runs as machine
        code, else it is plain Python; and ``reason``, why it is not compiled.
    """
    return {
        "version": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": platform.machine(),
        "compiled": COMPILED,
        "reason": REASON,
    }
