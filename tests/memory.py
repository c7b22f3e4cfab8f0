"""How much memory is in use, for tests that nothing leaks."""

import gc
import sys

from chainrule.engine import ENGINE


def blocks_in_use() -> int:
    """Blocks of memory in use, after what only the collector finds is gone.

    Without the freed nodes that the engine in C keeps for the next ones.
    """
    gc.collect()
    return sys.getallocatedblocks() - (0 if ENGINE is None else int(ENGINE.kept_nodes()))
