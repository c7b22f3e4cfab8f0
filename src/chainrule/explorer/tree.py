"""Which box is in which: the groups of a graph, its loops, parts of what is too large to read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chainrule.explorer.graph import LEAF, Graph

WHOLE = 300
"""Up to so many nodes there are only the user's groups."""
FEW = 24
"""The most boxes in a group, where it is cut into parts."""
MOST_LEAVES = 8  # that stand beside groups
WINDOW = 4  # operations by which a repetition is recognised
TRIES = 40  # periods that are tried at an operation


@dataclass
class Group:
    """A named set of boxes: nodes by their numbers, and groups."""

    name: str
    boxes: list[int | Group] = field(default_factory=list)
    size: int = 0  # nodes inside, at any depth
    part: bool = False  # found here, not one of the user's

    def __hash__(self) -> int:
        return id(self)

    def nodes(self) -> Iterator[int]:
        """The nodes inside, at any depth."""
        waiting: list[int | Group] = [self]
        while waiting:
            box = waiting.pop()
            if isinstance(box, int):
                yield box
            else:
                waiting += reversed(box.boxes)


def tree_of(graph: Graph, names: dict[int, str]) -> Group:
    """The groups of a graph; the outermost one is the graph itself.

    A leaf that is used in one group only stands in it. A graph too large to read is put in loops
    where its operations repeat, and in parts where they don't.
    """
    whole = Group("")
    by_path: dict[tuple[str, ...], Group] = {(): whole}
    users = _users(graph)
    for i, path in enumerate(_paths(graph, users)):
        for depth in range(1, len(path) + 1):
            if path[:depth] not in by_path:
                by_path[path[:depth]] = Group(path[depth - 1])
                by_path[path[: depth - 1]].boxes.append(by_path[path[:depth]])
        by_path[path].boxes.append(i)
    if len(graph.nodes) > WHOLE:
        for group in by_path.values():
            if len(group.boxes) > FEW:
                _structure(group, graph, users, names)
    elif len(by_path) > 1:
        whole.boxes = _gathered(whole.boxes, graph, names)
    _count(whole)
    return whole


def _users(graph: Graph) -> dict[int, list[int]]:
    """The nodes computed from each leaf."""
    found: dict[int, list[int]] = {}
    for i in range(len(graph.nodes)):
        for operand in graph.operand[graph.start[i] : graph.start[i + 1]]:
            if operand >= 0 and graph.kind[operand] == LEAF:
                found.setdefault(operand, []).append(i)
    return found


def _paths(graph: Graph, users: dict[int, list[int]]) -> list[tuple[str, ...]]:
    """The groups of every node, those of a leaf that one group alone uses being that group's."""
    found = [node.groups for node in graph.nodes]
    for leaf, nodes in users.items():
        paths = {found[node] for node in nodes}
        path = paths.pop()
        if not paths and path[: len(found[leaf])] == found[leaf]:
            found[leaf] = path
    return found


def _count(whole: Group) -> None:
    """Note the sizes of all groups."""
    groups = [whole]
    for group in groups:
        groups += [box for box in group.boxes if isinstance(box, Group)]
    for group in reversed(groups):
        group.size = sum(1 if isinstance(box, int) else box.size for box in group.boxes)


def _structure(
    group: Group, graph: Graph, users: dict[int, list[int]], names: dict[int, str]
) -> None:
    """Put the boxes of a group into loops, and into parts so that none has more than FEW."""
    leaves = [box for box in group.boxes if isinstance(box, int) and graph.kind[box] == LEAF]
    others = [box for box in group.boxes if not (isinstance(box, int) and graph.kind[box] == LEAF)]
    title = _titles(graph, names)
    boxes = _loops(others, graph, names)
    at_home: dict[int, Group] = {}
    for box in boxes:
        if isinstance(box, Group) and box.part:
            at_home |= _homes(box)
    shared = leaves if len(leaves) <= MOST_LEAVES else _settle(leaves, at_home, users)
    boxes = _gathered([*shared, *boxes], graph, names)
    group.boxes = boxes
    for box in boxes:
        if isinstance(box, Group) and box.part and box.name != "leaves":
            for trip in box.boxes:
                if isinstance(trip, Group) and len(trip.boxes) > FEW:
                    _structure(trip, graph, users, names)
            _cut(box, title)
    _cut(group, title)


def _gathered(
    boxes: Sequence[int | Group], graph: Graph, names: dict[int, str]
) -> list[int | Group]:
    """Boxes, many leaves among them put in a group of their own."""
    leaves = [box for box in boxes if isinstance(box, int) and graph.kind[box] == LEAF]
    if len(leaves) <= MOST_LEAVES:
        return list(boxes)
    mine = set(leaves)
    inner = Group("leaves", list(leaves), part=True)
    _cut(inner, _titles(graph, names))
    return [inner, *[box for box in boxes if not isinstance(box, int) or box not in mine]]


def _homes(loop: Group) -> dict[int, Group]:
    """Which trip of a loop each of its operations is in."""
    return {node: trip for trip in loop.boxes if isinstance(trip, Group) for node in trip.nodes()}


def _settle(
    leaves: Sequence[int], home: dict[int, Group], users: dict[int, list[int]]
) -> list[int]:
    """Put leaves that one trip alone uses into it; what is left."""
    left = []
    for leaf in leaves:
        trips = {home.get(node) for node in users.get(leaf, ())}
        trip = trips.pop() if len(trips) == 1 else None
        if trip is None:
            left.append(leaf)
        else:
            trip.boxes.insert(0, leaf)
    return left


def _loops(boxes: Sequence[int | Group], graph: Graph, names: dict[int, str]) -> list[int | Group]:
    """The boxes in order of evaluation, what repeats put in loops of trips."""
    kinds = [graph.shape(box) if isinstance(box, int) else -1 - i for i, box in enumerate(boxes)]
    places: dict[tuple[int, ...], list[int]] = {}
    for i in range(len(kinds)):
        places.setdefault(tuple(kinds[i : i + WINDOW]), []).append(i)
    found: list[int | Group] = []
    i = 0
    while i < len(boxes):
        period, trips = _repetition(kinds, i, places)
        if trips < 3 or period * trips < 12:
            found.append(boxes[i])
            i += 1
            continue
        inner = [
            Group(f"trip {k + 1}", list(boxes[i + k * period : i + (k + 1) * period]), part=True)
            for k in range(trips)
        ]
        last = inner[-1].boxes[-1]
        name = names.get(last, "") if isinstance(last, int) else ""
        name = name.rstrip("₀₁₂₃₄₅₆₇₈₉") or "loop"
        found.append(Group(f"{name} × {trips}", list(inner), part=True))
        i += period * trips
    return found


def _repetition(
    kinds: Sequence[int], i: int, places: dict[tuple[int, ...], list[int]]
) -> tuple[int, int]:
    """The period of what repeats from here on and covers most, and how often it is run."""
    best = (1, 1)
    alike = places[tuple(kinds[i : i + WINDOW])]
    at = bisect_right(alike, i)
    for j in alike[at : at + TRIES]:
        period, end = j - i, j
        while end < len(kinds) and kinds[end] == kinds[end - period]:
            end += 1
        trips = (end - i) // period
        if trips > 1 and trips * period > best[0] * best[1]:
            best = (period, trips)
        if end == len(kinds):
            break
    return best


def _titles(graph: Graph, names: dict[int, str]) -> Callable[[int | Group], str]:
    def title(box: int | Group) -> str:
        return box.name if isinstance(box, Group) else names.get(box, "")

    return title


def _cut(group: Group, title: Callable[[int | Group], str]) -> None:
    """Put the boxes of a group that is too large into parts, so that none has more than FEW.

    Parts are stretches of the order of evaluation: no part depends on a later one, unless the
    user's groups do.
    """
    count = len(group.boxes)
    if count <= FEW:
        return
    size = 1  # of a part: the least power of FEW that leaves FEW of them
    while size * FEW < count:
        size *= FEW
    parts = -(-count // size)
    cuts = [round(i * count / parts) for i in range(parts + 1)]
    boxes = group.boxes
    group.boxes = []
    for i in range(parts):
        inner = boxes[cuts[i] : cuts[i + 1]]
        first, last = title(inner[0]), title(inner[-1])
        name = f"{first} … {last}" if first and last else f"part {i + 1} of {parts}"
        part = Group(name, inner, part=True)
        _cut(part, title)
        group.boxes.append(part)
