"""Rolling: from a recording to a program in which repeated stretches are loops, where it pays."""

from __future__ import annotations

import functools
from typing import Any, Final

from chainrule.program.form import Program
from chainrule.program.recording import TABLE, Recording

from .flat import flat
from .products import Product
from .stretches import LoopBody, Stretch

SHORT = 256
"""Loops must save as many rows: short code is compiled soon, and faster than loops."""

SHARE = 0.25
"""And this share of all rows."""

REPEATED = 128
"""The same of a short body of a loop, whose code is written for several iterations side by side."""

VARIED: Final = 32, 0.5
"""The same of recordings whose loops have other lengths each time: rows, and the share of all."""

LANES = 5.5
"""So many times as many over lanes, where values of short code stay in vector registers."""


def rolled(
    recording: Recording | Stretch,
    outputs: Any,
    lanes: bool = False,
    varied: bool = False,
    repeated: bool = False,
) -> Program:
    """The program of a recording, with loops where it pays, and those that it says.

    Args:
        recording: its rows are in order.
        outputs: operands of it, a list or an array: what the program gives.
        lanes: whether it will run over lanes.
        varied: whether there are more recordings like it, perhaps with loops of other lengths. Then
            loops are made wherever there are any, so that the programs are alike.
        repeated: whether it is the body of a loop.

    Returns:
        A program whose guards are numbered in the order of the recording's.
    """
    least, share = (SHORT * LANES if lanes else SHORT), SHARE
    if repeated and not lanes and len(recording) < least:
        least = min(least, REPEATED)
    if varied:
        least, share = VARIED
    saved = sum(x.rows_saved for x in recording.loops) if isinstance(recording, Stretch) else 0
    if saved:  # so that all else becomes what it would beside the loops of these rows
        share = max(0.0, share - (1.0 - share) * saved / len(recording))
        least = max(VARIED[0], least - saved)

    @functools.cache
    def programs(number: int) -> tuple[LoopBody | Product, Program | None]:
        assert isinstance(recording, Stretch)
        loop = recording.loops[number]
        if isinstance(loop, Product):
            return loop, None
        return loop, rolled(loop.stretch, loop.outputs, lanes, varied, repeated=True)

    if len(recording) < least and all(x is not TABLE for x in recording.operations):
        return flat(recording, outputs, programs)
    # Here, as this is a large part of the compiler, and short code does without.
    from .repetitions import with_loops

    found = with_loops(recording, outputs, least, share, programs, repeated)
    return flat(recording, outputs, programs) if found is None else found
