"""A sparse matrix whose entries may be nodes: what a sparse derivative is before it has numbers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from importlib import import_module
from itertools import chain
from typing import Any

import numpy
import optree

from chainrule import forking
from chainrule.array_elements import objects
from chainrule.node import Node
from chainrule.trees import Operands, map_leaves


class SparseNodes:
    """A matrix by compressed rows, as ``scipy.sparse.csr_array``, with nodes among its entries.

    Args:
        data: the entries, row by row.
        indices: their columns.
        indptr: where each row starts in them, and the end.
        shape: rows and columns.
    """

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.data = data
        self.indices = indices
        self.indptr = indptr
        self.shape = shape

    def __repr__(self) -> str:
        return f"<SparseNodes of shape {self.shape} with {len(self.indices)} stored entries>"

    def toarray(self) -> Any:
        """The dense matrix: an object array with 0.0 where nothing is stored."""
        dense = numpy.zeros(self.shape, dtype=object)
        for row in range(self.shape[0]):
            for k in range(self.indptr[row], self.indptr[row + 1]):
                dense[row, self.indices[k]] = self.data[k]
        return dense


class Entries:
    """The entries of a sparse matrix, row by row.

    Args:
        counts: of entries in each row.
        columns: of the entries, row by row, in any order in a row.
        values: the entries, numbers or nodes.
        symmetric: whether those above the diagonal are those below it.
        in_order: whether the columns are in order in each row.

    Attributes:
        indices, indptr: as of the matrix.
        values: the entries, in order.
        own: which entries are no copies of others.
    """

    def __init__(
        self, counts: Any, columns: Any, values: Any, symmetric: bool, in_order: bool = False
    ) -> None:
        self._counts = counts
        self.indptr = numpy.concatenate([[0], numpy.cumsum(counts)])
        self.indices, self.values = columns, values
        if not in_order:
            keys = self.rows * (int(columns.max(initial=0)) + 1) + columns
            if (keys[1:] < keys[:-1]).any():
                order = numpy.argsort(keys, kind="stable")
                self.indices, self.values = columns[order], values[order]
        self.own = numpy.ones(len(columns), dtype=numpy.bool_)
        self._symmetric = symmetric
        if symmetric and len(columns):
            keys = self.rows * len(counts) + self.indices
            across = self.indices * len(counts) + self.rows
            self._across = numpy.minimum(numpy.searchsorted(keys, across), len(columns) - 1)
            self.own = (self.indices <= self.rows) | (keys[self._across] != across)
            self.put(self.values)

    @forking.computed_once
    def rows(self) -> Any:
        """The row of each entry."""
        return numpy.repeat(numpy.arange(len(self._counts)), self._counts)

    @staticmethod
    def of(rows: Sequence[dict[int, Any]], symmetric: bool) -> Entries:
        """The entries of rows that are given by column."""
        counts = numpy.fromiter(map(len, rows), numpy.int64, len(rows))
        columns = numpy.fromiter(chain.from_iterable(rows), numpy.int64, int(counts.sum()))
        values = objects([*chain.from_iterable([row.values() for row in rows])])
        return Entries(counts, columns, values, symmetric)

    def put(self, values: Any) -> Entries:
        """Take other values for the entries of their own."""
        self.values = values
        if not self.own.all():
            self.values[~self.own] = values[self._across[~self.own]]
        return self

    def period(self, most: int) -> int | None:
        """A small number modulo which no row has two equal columns; None if there is none."""
        longest = int(numpy.diff(self.indptr).max(initial=1))
        distances = numpy.zeros(0, dtype=numpy.int64)
        for step in range(1, min(longest, most + 1)):
            same = self.rows[step:] == self.rows[:-step]
            further = (self.indices[step:] - self.indices[:-step])[same]
            distances = numpy.union1d(distances, further)
        for period in range(longest, min(2 * longest, most) + 1):
            if (distances % period).all():
                return period
        return None

    @property
    def step(self) -> int:
        """How much further the columns of a row are than those of the one before it, mostly."""
        if self._symmetric:
            return 1
        starts = numpy.flatnonzero(numpy.diff(self.indptr))
        further, rows = numpy.diff(self.indices[self.indptr[starts]]), numpy.diff(starts)
        steps, counts = numpy.unique(further[rows == 1], return_counts=True)
        return int(steps[numpy.argmax(counts)]) if len(steps) else 0


def load_scipy() -> None:
    """Import SciPy, if it is installed, where a derivative is made: so no call waits for it."""
    with suppress(ImportError):
        import_module("scipy.sparse")


def from_parts(data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> Any:
    """A matrix from its compressed rows: a ``scipy.sparse.csr_array``, or SparseNodes of a trace.

    Raises:
        ImportError: if SciPy is not installed.
    """
    if max(len(indices), *shape) < 2**31:  # else SciPy looks whether they are small
        indices, indptr = (x.astype(numpy.int32, copy=False) for x in (indices, indptr))
    is_recorded = isinstance(data, Operands)
    if is_recorded or (data.dtype == object and any(isinstance(x, Node) for x in data)):
        return SparseNodes(data, indices, indptr, shape)
    try:
        from scipy.sparse import csr_array
    except ImportError:
        raise ImportError(
            "sparse derivatives are SciPy arrays: pip install 'chainrule[sparse]'"
        ) from None
    return csr_array((data.astype(numpy.float64, copy=False), indices, indptr), shape=shape)


class _Pattern:
    """Where the entries are, as the static part of a tree."""

    def __init__(self, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.indices, self.indptr, self.shape = indices.copy(), indptr.copy(), shape
        self._key = (indices.tobytes(), indptr.tobytes(), shape)
        self._matrix: Any = None  # of SciPy's, which looks at what it is made of for long

    def filled(self, data: Any) -> Any:
        """The matrix with these entries, whose arrays are its own."""
        if self._matrix is None or data.dtype != numpy.float64:
            # Copies here and below: a matrix may change its own.
            matrix = from_parts(data, self.indices.copy(), self.indptr.copy(), self.shape)
            if isinstance(matrix, SparseNodes):
                return matrix
            self._matrix = copy(matrix)
            self._matrix.data = numpy.empty(0)
            self.indices, self.indptr = matrix.indices.copy(), matrix.indptr.copy()
            return matrix
        matrix = copy(self._matrix)
        matrix.data = data
        matrix.indices, matrix.indptr = self.indices.copy(), self.indptr.copy()
        return matrix

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pattern) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _flatten(matrix: SparseNodes) -> tuple[tuple[Any], _Pattern]:
    return (matrix.data,), _Pattern(matrix.indices, matrix.indptr, matrix.shape)


def _unflatten(pattern: _Pattern, children: Any) -> Any:
    (data,) = children
    if not isinstance(data, numpy.ndarray) or data.ndim != 1:  # not of one number each
        return SparseNodes(data, pattern.indices.copy(), pattern.indptr.copy(), pattern.shape)
    return pattern.filled(data)


optree.register_pytree_node(
    SparseNodes,  # type: ignore[arg-type]
    _flatten,  # type: ignore[arg-type]
    _unflatten,  # type: ignore[arg-type]
    namespace="chainrule",
)


def taken_apart(tree: Any) -> Any:
    """A result with SparseNodes for its ``csr_array``, which is no tree of numbers."""

    def apart(leaf: Any) -> Any:
        if type(leaf).__name__ != "csr_array" or not _is_scipys(leaf):
            return leaf
        return SparseNodes(leaf.data, leaf.indices, leaf.indptr, leaf.shape)

    return map_leaves(apart, tree)


def _is_scipys(leaf: Any) -> bool:
    return type(leaf).__module__.startswith("scipy.sparse")


def refuse_stacking(result: Any) -> None:
    """Say what to write instead of lanes of sparse matrices.

    Raises:
        TypeError: if the result of a lane has one in it.
    """
    if _holds_sparse(result):
        raise TypeError(
            "vmap can't stack the sparse matrices of its lanes; return their entries, .data: there"
            " is one pattern for all lanes, that of the matrix at one point"
        )


def _holds_sparse(tree: Any) -> bool:
    """Whether a result has a sparse matrix in it, of nodes or SciPy's."""
    leaves = optree.tree_leaves(tree, is_leaf=lambda x: isinstance(x, SparseNodes))
    return any(isinstance(leaf, SparseNodes) or _is_scipys(leaf) for leaf in leaves)
