"""Calling a CasADi function on arrays in place, its quickest way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compiled_cases.common import Array


def in_place(function: Any, inputs: Sequence[Array], outputs: Sequence[Array]) -> Callable[[], Any]:
    """An evaluation that reads and writes these arrays, columns of matrices one after the other."""
    buffer, evaluate = function.buffer()
    for i, array in enumerate(inputs):
        buffer.set_arg(i, array.data)
    for i, array in enumerate(outputs):
        buffer.set_res(i, array.data)
    kept = buffer, *inputs, *outputs  # as CasADi keeps their addresses only

    def run() -> Any:
        evaluate()
        return kept[1 + len(inputs) :]

    return run
