"""Sums over the lanes of a unit, eight of each while blocks are computed: functions on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .assembly import Module, Procedure
from .instructions import width_of
from .layout import BLOCK, SLOT


def write_add(module: Module) -> None:
    """Write a function that adds values to sums.

    It takes the workspace, pairs of the offsets of a value and of its sum, and their number.
    """
    f = Procedure(module, "add", None, "ppi")
    workspace, rows, count = f.args
    kind = f.vector_type(f.double)
    with f.loop(count) as k:
        row = f.at(rows, f.b.shl(k, f.number(4)))
        value = f.load(kind, workspace, f.field(row, 0), align=SLOT)
        place = f.at(workspace, f.field(row, 1))
        f.store(f.b.fadd(f.load(kind, place, align=SLOT), value), place, align=SLOT)
    f.b.ret_void()


def write_add_valid(module: Module) -> None:
    """Write a function that adds the valid lanes of the sums of a block to those before it.

    It takes the sums of the block, for the result as well, those before it, their number, and how
    many lanes are valid.
    """
    f = Procedure(module, "add_valid", None, "ppii")
    sums, before, count, valid = f.args
    kind = f.vector_type(f.double)
    steps = f.constant(f.vector_type(f.i64), list(range(BLOCK)))
    is_valid = f.b.icmp("<", steps, f.splat(valid))
    with f.loop(count) as k:
        offset = f.b.shl(k, f.number(6))
        total = f.load(kind, sums, offset, align=SLOT)
        total = f.b.select(is_valid, total, f.constant(kind, 0.0))
        total = f.b.fadd(f.load(kind, before, offset, align=SLOT), total)
        f.store(total, sums, offset, align=SLOT)
    f.b.ret_void()


def write_add_up(module: Module) -> None:
    """Write a function that adds up the eight sums of each output, in halves.

    It takes the sums, their number, and where the results go.
    """
    f = Procedure(module, "add_up", None, "pip")
    sums, count, results = f.args
    with f.loop(count) as k:
        part = f.load(f.vector_type(f.double), sums, f.b.shl(k, f.number(6)), align=SLOT)
        total = f.element(added_up(f, [part]), 0)
        f.store(total, results, f.b.shl(k, f.number(3)))
    f.b.ret_void()


def added_up(f: Procedure, parts: Sequence[Any]) -> Any:
    """The sums of the eight numbers of each of some vectors, in halves: a vector.

    Args:
        f: the function it is written to.
        parts: 1, 2, 4 or 8 vectors. Two at a time, of which a half each is added, become one.
    """
    found, width = list(parts), BLOCK
    while width > 1:
        pairs = [found[k : k + 2] for k in range(0, len(found), 2)]
        size = width_of(found[0].type) * len(pairs[0])
        low = [k for k in range(size) if k % width < width // 2]
        high = [k + width // 2 for k in low]
        found = [f.b.fadd(f.shuffle(x[0], x[-1], low), f.shuffle(x[0], x[-1], high)) for x in pairs]
        width //= 2
    return found[0]
