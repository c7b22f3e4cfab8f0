"""Sums over the lanes of a unit, eight of each while blocks are computed: functions on them."""

from __future__ import annotations

from typing import Any

from .assembly import Module, Procedure
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
        f.store(added_up(f, part), results, f.b.shl(k, f.number(3)))
    f.b.ret_void()


def added_up(f: Procedure, part: Any) -> Any:
    """The sum of the eight numbers of a vector, in halves."""
    half = BLOCK // 2
    while half:
        low = f.shuffle(part, part, list(range(half)))
        high = f.shuffle(part, part, list(range(half, 2 * half)))
        part = f.b.fadd(low, high)
        half //= 2
    return f.element(part, 0)
