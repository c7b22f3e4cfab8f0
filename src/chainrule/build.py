"""What is installed: the version, and whether the engine runs as machine code."""

from __future__ import annotations

import platform

from chainrule._version import __version__
from chainrule.node import COMPILED


def build_info() -> dict[str, str | bool]:
    """The version, whether the engine is compiled (else it is plain Python), and the Python."""
    return {
        "version": __version__,
        "compiled": COMPILED,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": platform.machine(),
    }
