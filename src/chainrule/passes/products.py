"""Products of arrays that are recorded as one: nested loops in the program around them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy
from numpy.typing import NDArray

from chainrule import rules
from chainrule.program.builder import Builder
from chainrule.program.form import CONSTANT, SUMS, VALUES, Array, Index, Loop
from chainrule.program.nests import added, scaled

if TYPE_CHECKING:
    from .loops import Around

Floats = NDArray[numpy.float64]


class Factor(NamedTuple):
    """Where the elements of a factor lie.

    Attributes:
        source: a table of numbers; "input" for inputs of the program; "given" for what is handed to
            the product.
        first: the first of them.
        strides: how far it is from one to the next along each axis of the result, and along the
            axis of the sum.
    """

    source: str | Floats
    first: int
    strides: tuple[int, ...]


class Product:
    """A product: of each element of the result, the sum of ``left * right`` along an axis.

    What it is given, and gives, is said as for a loop whose body was recorded. With a start, that
    comes before the first term; each term is added as a Python loop would, from one value to the
    next, so that the loops are those that come of one.

    Args:
        shape: of the result.
        terms: how many terms each sum has.
        factors: left and right.
        given: what is handed to it: operands of a recording.
        level: of the transformation that it is computed in.
        start: what each sum begins with, if not with the first term.
    """

    trips: Final = 1
    guards: Final = 0
    mixes: Final = False
    hands_on: Final = False

    def __init__(
        self,
        shape: tuple[int, ...],
        terms: int,
        factors: Sequence[Factor],
        given: Any,
        level: int,
        start: Factor | None = None,
    ) -> None:
        self.start = start
        self.shape = shape
        self.terms = terms
        self.factors = list(factors)
        self.columns = [given]
        self.level = level
        self.n_given = len(given)
        self.n_results = prod(shape)

    @property
    def rows_saved(self) -> int:
        """The rows that it stands for in the place of a Python loop; 0 for a product of arrays."""
        return 0 if self.start is None else 2 * self.terms * self.n_results

    def rows(self) -> list[int]:
        """The columns that are operands."""
        return [0]

    @property
    def key(self) -> Any:
        """Equal for products that do the same."""
        read = self.factors if self.start is None else [*self.factors, self.start]
        sources = [x.source if isinstance(x.source, str) else x.source.tobytes() for x in read]
        return (self.shape, self.terms, *sources, *[x[1:] for x in read])

    def write(self, builder: Builder, around: Around) -> None:
        """Write the product.

        Args:
            builder: of the program around it.
            around: what is around it.
        """
        width = 1 if self.start is None else self.terms + 1
        size = width * self.n_results
        if self.start is None:
            total = Array(SUMS, around.count * size, "product", None, -0.0)
        else:
            total = Array(VALUES, around.count * size, "sum")
        first = around.where(size)
        with ExitStack() as nest:
            loops = [nest.enter_context(builder.loop(length)) for length in self.shape]
            strides = [prod(self.shape[axis + 1 :]) for axis in range(len(loops))]
            place = Index(0, tuple(zip(loops, strides, strict=True)))
            at = added(first, scaled(place, width))
            if self.start is not None:
                start = self._element(builder, self.start, loops, around)
                builder.store(total, at, builder.load(*start))
            with builder.loop(self.terms) as term:
                left, right = [
                    self._element(builder, factor, [*loops, term], around)
                    for factor in self.factors
                ]
                here = added(at, Index(0, ((term, 1),)))
                before = None if self.start is None else builder.load(total, here)
                operands = [builder.load(*left), builder.load(*right)]
                x = builder.compute(rules.multiply, operands)
                if before is None:
                    builder.add(total, at, x)
                else:
                    builder.store(total, here.plus(1), builder.compute(rules.add, [before, x]))
            to = added(around.results_at, place)
            builder.store(around.results, to, builder.load(total, at.plus(width - 1)))

    def _element(
        self, builder: Builder, factor: Factor, loops: Sequence[Loop], around: Around
    ) -> tuple[Array, Index]:
        """The element of a factor in an iteration of loops."""
        steps = zip(loops, factor.strides, strict=True)
        at = Index(factor.first, tuple([(loop, step) for loop, step in steps if step]))
        if not isinstance(factor.source, str):
            return Array(CONSTANT, len(factor.source), "", factor.source), at
        if factor.source == "input":
            return builder.inputs, at
        return around.given, added(around.given_at, at)
