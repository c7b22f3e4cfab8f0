"""Which box is in which: the groups of a graph, its loops, parts of what is too large to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import TypeGuard

from chainrule.explorer.graph import LEAF, Graph
from chainrule.explorer.variables import SUBSCRIPTS, subscript

WHOLE = 300
"""Up to so many nodes there are only the user's groups."""
FEW = 24
"""The most boxes in a group, where it is cut into parts."""
MOST_LEAVES = 8  # that stand beside groups
FEWEST_TRIPS = 3
SHORTEST = 12  # operations of a loop


@dataclass
class Group:
    """A named set of boxes: nodes by their numbers, and groups."""

    name: str
    boxes: list[int | Group] = field(default_factory=list)
    size: int = 0  # nodes inside, at any depth
    part: bool = False  # found here, not one of the user's
    loop: bool = False  # its boxes are trips, of which the page shows one
    trip: bool = False

    def __hash__(self) -> int:
        return id(self)

    @property
    def trips(self) -> list[Group]:
        """The boxes of a loop."""
        return [box for box in self.boxes if isinstance(box, Group)] if self.loop else []

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


def places(graph: Graph) -> dict[str, list[int]]:
    """Leaves in no group whose results are in groups that end alike: layer 1 › neuron 2.

    Weights that all samples of a batch use are told by the layer and neuron.
    """
    found: dict[str, list[int]] = {}
    for leaf, nodes in _users(graph).items():
        paths = {graph.nodes[node].groups[::-1] for node in nodes}
        alike = takewhile(lambda names: len({*names}) == 1, zip(*paths, strict=False))
        common = [names[0] for names in alike][::-1]
        if common and not graph.nodes[leaf].groups and len(paths) > 1:
            found.setdefault(" › ".join(common), []).append(leaf)
    return found


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
    boxes = _loops(others, graph)
    loops = [box for box in boxes if isinstance(box, Group) and box.loop]
    for loop in loops:  # those inside follow
        loops += [box for trip in loop.trips for box in trip.boxes if _is_loop(box)]
    if len(leaves) > MOST_LEAVES:
        leaves = _settle(leaves, loops, users)
    group.boxes = [*leaves, *boxes]
    for part in (group, *(trip for loop in loops for trip in loop.trips)):
        part.boxes = _gathered(part.boxes, graph, names)
        _cut(part, _titles(graph, names))
    for loop in loops:
        _call(loop, names)


def _is_loop(box: int | Group) -> TypeGuard[Group]:
    return isinstance(box, Group) and box.loop


def _call(loop: Group, names: dict[int, str]) -> None:
    """Name a loop after its result, and the result of each of its trips: price, price₇."""
    results = [max(trip.nodes()) for trip in loop.trips]
    name = names.get(results[-1], "").rstrip(SUBSCRIPTS)
    loop.name = name
    for i, node in enumerate(results if name else ()):
        names.setdefault(node, name + subscript(i + 1))


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


def _settle(
    leaves: Sequence[int], loops: Sequence[Group], users: dict[int, list[int]]
) -> list[int]:
    """Put leaves that one trip alone uses into it; what is left."""
    home = {box: trip for loop in loops for trip in loop.trips for box in trip.boxes}
    left = []
    for leaf in leaves:
        trips = {home.get(node) for node in users.get(leaf, ())}
        trip = trips.pop() if len(trips) == 1 else None
        if trip is None:
            left.append(leaf)
        else:
            trip.boxes.insert(0, leaf)
    return left


def _loops(boxes: Sequence[int | Group], graph: Graph) -> list[int | Group]:
    """The boxes in the order in which they were made, what repeats put in loops of trips.

    The loops are those that :mod:`chainrule.passes.roll` finds in the recording of a run.
    """
    import numpy  # which pictures do without

    from chainrule.passes.grammar import Grammar

    last = [box if isinstance(box, int) else max(box.nodes()) for box in boxes]
    order = sorted(range(len(boxes)), key=lambda i: graph.nodes[last[i]]._serial)
    boxes = [boxes[i] for i in order]
    place = {last[old]: new for new, old in enumerate(order)}
    read = numpy.full((2, len(boxes)), -1, dtype=numpy.int32)
    for i, box in enumerate(boxes):
        if isinstance(box, int):
            for k, operand in enumerate(graph.operands(box)[:2]):
                read[k, i] = place.get(operand, -1)
    shapes = [graph.shape(box) if isinstance(box, int) else (i,) for i, box in enumerate(boxes)]
    known = {shape: token for token, shape in enumerate(dict.fromkeys(shapes))}
    tokens = numpy.array([known[shape] for shape in shapes], dtype=numpy.int32)
    loose = numpy.arange(len(known), dtype=numpy.int32)
    grammar = Grammar(tokens, loose, (-1, -1), list(read))
    firsts, lengths, children = (column.tolist() for column in grammar.contents())

    def spread(token: int, item: int) -> list[int | Group]:
        """An item as boxes: a loop is one, unless it is read as easily without."""
        body = grammar.bodies.get(token)
        if body is None:
            return [boxes[item]]
        number = item - grammar.length
        inner = children[firsts[number] : firsts[number] + lengths[number]]
        step = len(body)
        trips = []
        for k in range(0, len(inner), step):
            trip = [
                box for pair in zip(body, inner[k : k + step], strict=True) for box in spread(*pair)
            ]
            trips.append(_unrolled(trip))
        flat = list(chain.from_iterable(trips))
        if len(trips) < FEWEST_TRIPS or len(flat) < SHORTEST:
            return flat
        found = [Group("", trip, part=True, trip=True) for trip in trips]
        return [Group("", list(found), part=True, loop=True)]

    return [
        box
        for pair in zip(grammar.tokens.tolist(), grammar.items.tolist(), strict=True)
        for box in spread(*pair)
    ]


def _unrolled(boxes: list[int | Group]) -> list[int | Group]:
    """Boxes without loops, if there are few then."""
    flat = [
        inner
        for box in boxes
        for inner in ([x for trip in box.trips for x in trip.boxes] if _is_loop(box) else [box])
    ]
    return flat if len(flat) <= FEW else boxes


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
