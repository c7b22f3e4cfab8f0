"""Where the boxes of a group stand: columns from operands to results, with few crossings.

The method is Sugiyama's: boxes in columns by longest path, an edge that spans columns bent where it
passes one, the order in a column by barycenters, and heights that keep edges short.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

ROW_GAP = 24.0  # a message stands in it
BEND = 12.0  # the height an edge takes where it passes a column
SWEEPS = 8
MAX_BENDS = 400  # edges that span columns are drawn straight if there would be more bends

Edge = tuple[int, int]
OUTSIDE = -1


@dataclass
class Layout:
    """Columns, upper ends and bends (column and height) of the boxes of one group.

    Edges from outside have OUTSIDE for their operand, those to outside for their result.
    """

    column: list[int]
    y: list[float]
    bends: dict[Edge, list[tuple[int, float]]] = field(default_factory=dict)


@functools.lru_cache(maxsize=1000)
def lay_out(
    sizes: tuple[float, ...], edges: tuple[Edge, ...], crossing: tuple[Edge, ...] = ()
) -> Layout:
    """Lay out boxes of some heights with edges from operands to results.

    The trips of a loop are alike: their layout is found once.

    Args:
        sizes: the heights.
        edges: between boxes, by their places.
        crossing: edges that come from outside, or go there.
    """
    forward = _without_cycles(len(sizes), edges)
    column = _columns(len(sizes), forward)
    heights = list(sizes)
    place = list(column)  # of boxes, then bends
    chains: dict[Edge, list[int]] = {}
    last = max(column, default=0)
    spans = {(a, b): (column[a] + 1, column[b]) for a, b in forward}
    for a, b in crossing:
        spans[a, b] = (0, column[b]) if a == OUTSIDE else (column[a] + 1, last + 1)
    total = sum(end - begin for begin, end in spans.values())
    links: list[Edge] = []
    for edge, (begin, end) in spans.items():
        chain = list(range(len(place), len(place) + max(end - begin, 0)))
        if total > MAX_BENDS:
            chain = []
        place += range(begin, begin + len(chain))
        heights += [BEND] * len(chain)
        chains[edge] = chain
        stops = [stop for stop in (edge[0], *chain, edge[1]) if stop != OUTSIDE]
        links += itertools.pairwise(stops)
    count = 1 + max(place, default=-1)
    columns: list[list[int]] = [[] for _ in range(count)]
    for item, at in enumerate(place):
        columns[at].append(item)
    before: list[list[int]] = [[] for _ in place]
    after: list[list[int]] = [[] for _ in place]
    for a, b in links:
        before[b].append(a)
        after[a].append(b)
    columns = _ordered(columns, before, after)
    centres = _centres(columns, heights, before, after)
    top = min((c - h / 2 for c, h in zip(centres, heights, strict=True)), default=0.0)
    return Layout(
        column,
        [centre - size / 2 - top for centre, size in zip(centres, sizes, strict=False)],
        {edge: [(place[i], centres[i] - top) for i in c] for edge, c in chains.items() if c},
    )


def _without_cycles(count: int, edges: Sequence[Edge]) -> list[Edge]:
    """The edges, those turned round that close a cycle (groups may depend on each other)."""
    waiting = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        after[a].append(b)
        waiting[b] += 1
    rank = [-1] * count
    ready = [i for i in range(count) if waiting[i] == 0]
    for step in range(count):
        if ready:
            box = ready.pop(0)
        else:
            box = min((i for i in range(count) if rank[i] < 0), key=lambda i: (waiting[i], i))
        rank[box] = step
        for other in after[box]:
            waiting[other] -= 1
            if waiting[other] == 0 and rank[other] < 0:
                ready.append(other)
    found = {(a, b) if rank[a] < rank[b] else (b, a): None for a, b in edges}
    return sorted(found, key=lambda edge: (rank[edge[0]], rank[edge[1]]))


def _columns(count: int, edges: Sequence[Edge]) -> list[int]:
    """By the longest path to each box, as near to what uses it as that leaves room."""
    column = [0] * count
    for a, b in edges:  # sorted so that all edges into a box come before those out of it
        column[b] = max(column[b], column[a] + 1)
    last = [count] * count
    for a, b in reversed(edges):
        column[a] = last[a] = min(last[a], column[b] - 1)
    return column


def _ordered(
    columns: list[list[int]], before: list[list[int]], after: list[list[int]]
) -> list[list[int]]:
    """The order in each column with the fewest crossings that some sweeps find."""
    best, least = [list(items) for items in columns], _crossings(columns, after)
    current = [list(items) for items in columns]
    for sweep in range(SWEEPS):
        if least == 0:
            break
        onwards = sweep % 2 == 0
        beside = before if onwards else after
        at = {item: i for items in current for i, item in enumerate(items)}
        for items in current if onwards else reversed(current):
            centre = {
                item: sum(at[other] for other in beside[item]) / len(beside[item])
                if beside[item]
                else float(at[item])
                for item in items
            }
            items.sort(key=lambda item: centre[item])
            at.update({item: i for i, item in enumerate(items)})
        crossings = _crossings(current, after)
        if crossings < least:
            best, least = [list(items) for items in current], crossings
    return best


def _crossings(columns: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """How many pairs of edges between neighbouring columns cross."""
    at = {item: i for items in columns for i, item in enumerate(items)}
    count = 0
    for items in columns:
        ends: list[int] = []
        for item in items:
            found = sorted(at[other] for other in after[item])
            count += sum(1 for end in found for other in ends if other > end)
            ends += found
    return count


def _centres(
    columns: Sequence[Sequence[int]],
    heights: Sequence[float],
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
) -> list[float]:
    """Heights of the centres: near those of the neighbours, without overlap."""
    centre = [0.0] * len(heights)
    for items in columns:
        _stack(items, heights, dict.fromkeys(items, 0.0), centre)
    for sweep in range(SWEEPS):
        for items in columns if sweep % 2 == 0 else reversed(columns):
            wish = {}
            for item in items:
                near = before[item] if sweep % 2 == 0 else after[item]
                if sweep >= SWEEPS - 2:
                    near = [*before[item], *after[item]]
                wish[item] = (
                    sum(centre[other] for other in near) / len(near) if near else centre[item]
                )
            _stack(items, heights, wish, centre)
    return centre


def _stack(
    items: Sequence[int], heights: Sequence[float], wish: dict[int, float], centre: list[float]
) -> None:
    """Place a column's boxes in order, as near to their wishes as there is room.

    Boxes that would overlap form a block that stands at the mean of their wishes (the algorithm of
    pool adjacent violators, which finds the least squares).
    """
    offset = 0.0
    blocks: list[tuple[float, int]] = []  # sum of wishes, less the offsets, and count
    offsets = []
    for i, item in enumerate(items):
        if i:
            offset += (heights[items[i - 1]] + heights[item]) / 2 + ROW_GAP
        offsets.append(offset)
        blocks.append((wish[item] - offset, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last, more = blocks.pop(), blocks.pop()
            blocks.append((last[0] + more[0], last[1] + more[1]))
    i = 0
    for total, count in blocks:
        for _ in range(count):
            centre[items[i]] = total / count + offsets[i]
            i += 1
