"""How much memory there is."""

from __future__ import annotations

import os
from typing import Final

_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB")


def available_memory() -> int:
    """Bytes that can be had without driving others out; very many where it can't be known."""
    found = [2**62]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    found.append(1024 * int(line.split()[1]))
    except (OSError, ValueError):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:  # the limit of a container
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
            most = int(limit.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as current:
            found.append(most - int(current.read()))
    except (OSError, ValueError):  # none
        pass
    return max(0, min(found))


def readable(size: float) -> str:
    """A number of bytes to read."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.3g} {_UNITS[unit]}"
