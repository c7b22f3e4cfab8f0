"""Where things lie in a workspace: what the code of a program and the code around it agree on.

A workspace for lanes holds a block of eight lanes of each value in a slot of 64 bytes; one for a
single point has slots of 8 bytes. It begins with the position of each lane in the call (-1 for one
that is only there to fill the block), the handle of the kernel's table of callbacks, and the status
of each lane: 0, or 1 plus the number of the first guard that failed; for a single point the address
of its outputs follows.
"""

from __future__ import annotations

from typing import Final

BLOCK: Final = 8
"""Lanes of a block: the unit in which lanes are loaded, guarded, added up and stored."""

SLOT: Final = 8 * BLOCK
POSITIONS: Final = 0
HANDLE: Final = 1
STATUS: Final = 2
RESULTS: Final = 3
HEADER_SLOTS: Final = 4
