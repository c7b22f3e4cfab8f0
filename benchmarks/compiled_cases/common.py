"""What a case is: a problem, its right results, and the peers that compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


def leaves(tree: Any) -> Iterator[Any]:
    """The numbers and arrays in nested tuples and lists, in their order."""
    if isinstance(tree, (tuple, list)):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree


def flat(results: Any) -> list[Array]:
    """Nested results as arrays of NumPy, one for each leaf."""
    return [np.asarray(leaf, dtype=np.float64).ravel() for leaf in leaves(results)]


@dataclass(frozen=True)
class Program:
    """A problem in a library's words, traced and compiled as far as the library does that at once.

    Args:
        run: one evaluation; its results are the library's own arrays.
        arrays: the results as arrays of NumPy, in the order of the case's expected ones.
        stats: gives what the library tells about its compilation, as a dataclass.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], list[Array]] = flat
    stats: Callable[[], Any] | None = None


class Setting(NamedTuple):
    """What a peer is asked for: the size of the problem, and threads to use."""

    size: int
    threads: int


Build: TypeAlias = Callable[[], Program]


@dataclass(frozen=True)
class Peer:
    """A library, or code by hand.

    Args:
        label: its name in tables.
        distribution: the package to install; None if the peer is part of this benchmark.
        load: imports the library and prepares the inputs; gives the function that builds.
        largest: sizes above this are left out.
        slow: one round only, and none with ``--skip-slow``.
        not_measured: why it is listed but can't be measured, if so.
    """

    label: str
    distribution: str | None
    load: Callable[[Setting], Build]
    largest: int | None = None
    slow: bool = False
    not_measured: str = ""


@dataclass(frozen=True)
class Case:
    """A problem in one or several sizes.

    Args:
        title: what is computed.
        expected: the right results for a size.
        peers: by a short name; ratios are to ``chainrule``.
        size_name: what the size counts.
        sizes: those measured.
        unit: what the run time is also given per, in the singular.
        units: how many of them a run of a size has.
        threads: the numbers of threads to measure with.
        nodes: operations of one lane, if the time to compile is also given per operation.
        shows_memory: whether its tables show memory.
    """

    title: str
    expected: Callable[[int], list[Array]]
    peers: dict[str, Peer]
    size_name: str
    sizes: tuple[int, ...]
    unit: str
    units: Callable[[int], int]
    threads: tuple[int, ...] = (1,)
    nodes: Callable[[int], int] | None = None
    shows_memory: bool = False


def difference(got: list[Array], expected: list[Array]) -> float:
    """The largest relative difference of results from the expected ones; inf if they don't compare.

    Numbers below a millionth of their array's largest are compared as if they were that large:
    they are what is left of larger ones that cancel.
    """
    if [array.shape for array in got] != [array.shape for array in expected]:
        return np.inf
    worst = 0.0
    for one, other in zip(got, expected, strict=True):
        floor = 1e-6 * np.max(np.abs(other), initial=0.0) or 1.0
        relative = np.abs(one - other) / np.maximum(np.abs(other), floor)
        worst = max(worst, float(np.max(np.where(np.isnan(relative), np.inf, relative))))
    return worst
