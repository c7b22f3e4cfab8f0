"""Outer products that are added up over lanes, against the products of each lane."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from random_forms import bits
from test_program_kernels import any_machine, run

from chainrule import rules
from chainrule.backends.llvm.kernel import Kernel, reduce_lanes
from chainrule.backends.llvm.outer_products import OuterProduct, take_out_products
from chainrule.passes.promote import promoted
from chainrule.program.builder import Builder
from chainrule.program.form import VALUES, Array, Index, Loop, Operand, Program, Slice, statements

__all__ = ["any_machine"]  # a fixture

Floats = NDArray[np.float64]


class Shape(NamedTuple):
    """How a drawn program computes the products: rows, columns, and with what."""

    rows: int
    columns: int
    conditional: bool
    computed: bool
    backwards: bool


def drafted(shape: Shape) -> Program:
    """The products of some inputs with others, and a column beside them, as a layer has."""
    rows, columns = shape.rows, shape.columns
    builder = Builder(2 * rows + columns)
    products = Array(VALUES, rows * (columns + 1), "products")
    right, first = builder.inputs, 2 * rows
    if shape.computed:
        right, first = Array(VALUES, columns, "right"), 0
        with builder.loop(columns) as j:
            x = builder.load(builder.inputs, Index(2 * rows, ((j, 1),)))
            builder.store(right, Index(0, ((j, 1),)), builder.compute(rules.add, (x, 0.5)))
    with builder.loop(rows) as i:
        row = builder.load(builder.inputs, Index(0, ((i, 1),)))
        reached = builder.load(builder.inputs, Index(rows, ((i, 1),)))
        with builder.loop(columns) as j:
            at = (
                Index(first + columns - 1, ((j, -1),))
                if shape.backwards
                else Index(first, ((j, 1),))
            )
            column = builder.load(right, at)
            value: Operand
            if shape.conditional:
                value = builder.compute(rules.message, (reached, row, column))
            else:
                value = builder.compute(rules.multiply, (column, row))
            builder.store(products, Index(0, ((i, columns + 1), (j, 1))), value)
        builder.store(products, Index(columns, ((i, columns + 1),)), row)
    return builder.finish([row_sum(builder), Slice(products, 0, products.size)])


def row_sum(builder: Builder) -> Operand:
    """Another output."""
    return builder.compute(rules.add, (builder.input(0), 1.0))


def points_for(shape: Shape, lanes: int, seed: int) -> Floats:
    """Inputs: some conditions are 0, and some columns inf or NaN if these are conditional."""
    random = np.random.default_rng(seed)
    points = random.normal(size=(lanes, 2 * shape.rows + shape.columns))
    conditions = points[:, shape.rows : 2 * shape.rows]
    conditions[random.random(conditions.shape) < 0.4] = 0.0
    if shape.conditional and seed % 2:
        columns = points[:, 2 * shape.rows :]
        columns[random.random(columns.shape) < 0.1] = random.choice([np.inf, np.nan])
    return points


SHAPES = [
    Shape(*sizes, *([random.random() < 0.5 for _ in range(3)]))
    for random in [Random(0)]
    for sizes in [(8, 8), (9, 11), (1, 64), (67, 1), (10, 7), (3, 30), (20, 13), (5, 14), (16, 17)]
]


def check(shape: Shape, lanes: int, seed: int, uniform: list[bool]) -> None:
    """Sums are to the last bit those of the stored products."""
    program = drafted(shape)
    points = points_for(shape, lanes, seed)
    points[:, uniform] = points[0, uniform]
    count = 1 + shape.rows * (shape.columns + 1)
    kernel = Kernel(program, uniform, reduce=[True] * count)
    some = Random(seed).sample(range(lanes), Random(seed).randint(1, lanes))
    for chosen in (None, some):
        for _ in range(2):  # the workspace is used again
            _, result = run(kernel, points, uniform, chosen)
            every, _ = run(kernel, points, uniform, materialize=True)
            picked = every if chosen is None else every[chosen]
            assert result.sums is not None
            expected = reduce_lanes(np.ascontiguousarray(picked.T))
            assert bits(result.sums.tolist()) == bits(expected.tolist())


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("lanes", [1, 8, 13, 128, 131, 300])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_outer_products(shape: Shape, lanes: int) -> None:
    """On all machines, for any number of lanes, with the remainders of tiles, groups and blocks."""
    check(shape, lanes, lanes + shape.rows, [False] * (2 * shape.rows + shape.columns))


@pytest.mark.parametrize("lanes", [1100, 2500])
def test_many_units(lanes: int) -> None:
    """Lanes are added up some at a time."""
    check(SHAPES[1], lanes, lanes, [False] * (2 * SHAPES[1].rows + SHAPES[1].columns))


@pytest.mark.parametrize("seed", range(12))
def test_factors_that_are_the_same_for_all_lanes(seed: int) -> None:
    """Inputs that are uniform: also where whole loops run once for all lanes."""
    shape = SHAPES[seed % len(SHAPES)]
    rng = Random(seed)
    kinds = [[rng.random() < 0.6] * size for size in (shape.rows, shape.rows, shape.columns)]
    check(shape, 21, seed, [x for kind in kinds for x in kind])
    check(shape, 21, seed, [rng.random() < 0.5 for kind in kinds for _ in kind])


@pytest.mark.parametrize("shape", SHAPES)
def test_loops_go(shape: Shape) -> None:
    """Products are found, and what is left of the program does not compute them."""
    program = promoted(drafted(shape))
    count = 1 + shape.rows * (shape.columns + 1)
    assert take_out_products(program, [True] * count)
    assert [type(x) for x in program.body].count(OuterProduct) == 1
    loops = [x for x in statements(program.body) if isinstance(x, Loop)]
    assert len(loops) == 1 + shape.computed


def test_what_is_no_outer_product() -> None:
    """Products of which not all are added up, which are read, or whose factor has both indices."""
    shape = Shape(9, 11, False, False, False)
    count = 1 + shape.rows * (shape.columns + 1)
    for kept in (1, count - 1):
        reduce = [place != kept for place in range(count)]
        assert not take_out_products(promoted(drafted(shape), reduce), reduce)
    builder = Builder(100)
    squares = Array(VALUES, 100, "squares")
    with builder.loop(10) as i:
        row = builder.load(builder.inputs, Index(0, ((i, 1),)))
        with builder.loop(10) as j:
            at = Index(0, ((i, 10), (j, 1)))
            product = builder.compute(rules.multiply, (row, builder.load(builder.inputs, at)))
            builder.store(squares, at, product)
    program = builder.finish([Slice(squares, 0, 100)])
    assert not take_out_products(promoted(program, [True] * 100), [True] * 100)
    builder = Builder(20)
    with builder.loop(10) as i:
        row = builder.load(builder.inputs, Index(0, ((i, 1),)))
        with builder.loop(10) as j:
            column = builder.load(builder.inputs, Index(10, ((j, 1),)))
            product = builder.compute(rules.multiply, (row, column))
            builder.store(squares, Index(0, ((i, 10), (j, 1))), product)
    read = builder.load(squares, Index(7))
    program = builder.finish([Slice(squares, 0, 100), read])
    assert not take_out_products(promoted(program, [True] * 101), [True] * 101)


def test_a_guard_that_fails_in_a_lane() -> None:
    """Then there are no sums, and what is stored is as before."""
    builder = Builder(18)
    products = Array(VALUES, 81, "products")
    builder.guard(builder.compute(rules.less, (builder.input(0), 2.0)), True, Index())
    with builder.loop(9) as i:
        row = builder.load(builder.inputs, Index(0, ((i, 1),)))
        with builder.loop(9) as j:
            column = builder.load(builder.inputs, Index(9, ((j, 1),)))
            value = builder.compute(rules.multiply, (row, column))
            builder.store(products, Index(0, ((i, 9), (j, 1))), value)
    program = builder.finish([Slice(products, 0, 81)])
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (20, 18))
    kernel = Kernel(program, [False] * 18, reduce=[True] * 81)
    points[11, 0] = 3.0
    _, result = run(kernel, points)
    assert result.status is not None
    assert result.status.tolist() == [0] * 11 + [1] + [0] * 8
    points[11, 0] = 0.5
    _, result = run(kernel, points)
    assert result.sums is not None
    np.testing.assert_allclose(result.sums, (points[:, :9].T @ points[:, 9:]).ravel(), rtol=1e-12)
