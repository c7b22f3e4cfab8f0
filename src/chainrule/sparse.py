"""A sparse matrix whose entries may be nodes: what a sparse derivative is before it has numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import optree

from chainrule.node import Node
from chainrule.trees import array_of, map_leaves


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


def sparse_matrix(rows: Sequence[dict[int, Any]], columns: int) -> Any:
    """A matrix of rows given by column: a ``scipy.sparse.csr_array``, or SparseNodes of nodes."""
    indptr = numpy.cumsum([0, *[len(row) for row in rows]])
    indices = numpy.array([column for row in rows for column in sorted(row)], dtype=numpy.int64)
    entries = [row[column] for row in rows for column in sorted(row)]
    return from_parts(array_of(entries, (len(entries),)), indices, indptr, (len(rows), columns))


def from_parts(data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> Any:
    """A matrix from its compressed rows; see :func:`sparse_matrix`.

    Raises:
        ImportError: if SciPy is not installed.
    """
    if data.dtype == object and any(isinstance(x, Node) for x in data):
        return SparseNodes(data, indices, indptr, shape)
    try:
        from scipy.sparse import csr_array
    except ImportError:
        raise ImportError(
            "sparse derivatives are SciPy arrays: pip install 'chainrule[sparse]'"
        ) from None
    return csr_array((data.astype(numpy.float64), indices, indptr), shape=shape)


class _Pattern:
    """Where the entries are, as the static part of a tree."""

    def __init__(self, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.indices, self.indptr, self.shape = indices.copy(), indptr.copy(), shape
        self._key = (indices.tobytes(), indptr.tobytes(), shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pattern) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _flatten(matrix: SparseNodes) -> tuple[tuple[Any], _Pattern]:
    return (matrix.data,), _Pattern(matrix.indices, matrix.indptr, matrix.shape)


def _unflatten(pattern: _Pattern, children: Any) -> Any:
    (data,) = children
    indices, indptr = pattern.indices.copy(), pattern.indptr.copy()  # the matrix may change its own
    if not isinstance(data, numpy.ndarray) or data.ndim != 1:  # not of one number each
        return SparseNodes(data, indices, indptr, pattern.shape)
    return from_parts(data, indices, indptr, pattern.shape)


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


def holds_sparse(tree: Any) -> bool:
    """Whether a result has a sparse matrix in it, of nodes or SciPy's."""
    leaves = optree.tree_leaves(tree, is_leaf=lambda x: isinstance(x, SparseNodes))
    return any(isinstance(leaf, SparseNodes) or _is_scipys(leaf) for leaf in leaves)
