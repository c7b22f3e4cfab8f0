"""A program without loops, from a recording."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compiler.recording import (
    ABSENT,
    GUARD,
    INPUT,
    LEAF,
    OPERATION_OF,
    POOLED,
    USER,
    Recording,
)
from chainrule.program.builder import Builder
from chainrule.program.form import Index, Operand, Program


def flat(recording: Recording, outputs: Sequence[int]) -> Program:
    """The program of a recording, without loops.

    Args:
        recording: its rows are put in order.
        outputs: what the program gives, as ``record`` gave it.

    Returns:
        A program whose guards are numbered in the order of the recording's.
    """
    outputs = recording.in_order(outputs)
    codes, left, right = (x.tolist() for x in (recording.codes, recording.left, recording.right))
    constants, pool = recording.constants.tolist(), recording.pool.tolist()
    notes = recording.notes.tolist() or [-1] * len(codes)
    annotations = [*recording.annotations, None]  # the last for -1
    n_inputs = codes.count(INPUT)
    builder = Builder(n_inputs)
    values: list[Operand] = []
    n_guards = 0

    def operand(x: int) -> Operand:
        return values[x] if x >= 0 else constants[~x]  # type: ignore[no-any-return]

    for code, a, b, note in zip(codes, left, right, notes, strict=True):
        builder.note = annotations[note]
        if code == INPUT:
            value: Operand = builder.input(a)
        elif code == LEAF:
            value = operand(a)
        elif code == GUARD:
            builder.guard(operand(a), bool(b), Index(n_guards))
            n_guards += 1
            value = 0.0
        elif code == USER:
            operation = recording.operations[pool[a]]
            value = builder.compute(operation, [operand(x) for x in pool[a + 1 : a + 1 + b]])
        elif code & POOLED:
            given = [operand(x) for x in pool[a : a + b]]
            value = builder.compute(OPERATION_OF[code & ~POOLED], given)
        elif b == ABSENT:
            value = builder.compute(OPERATION_OF[code], [operand(a)])
        else:
            value = builder.compute(OPERATION_OF[code], [operand(a), operand(b)])
        values.append(value)
    return builder.finish([operand(x) for x in outputs])
