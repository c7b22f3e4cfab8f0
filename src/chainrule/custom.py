"""Functions with a derivative of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from chainrule import rules, trees
from chainrule.differentiation import fresh_input
from chainrule.handover import called
from chainrule.node import Node, apply
from chainrule.operation import Operation, result_of
from chainrule.rules import described
from chainrule.tracebacks import boundary
from chainrule.tracing import PROGRESS, has_ended
from chainrule.transforms import Transformed, check_current
from chainrule.trees import Layout


class CustomGradient(Transformed):
    """What :func:`custom_gradient` returns."""

    name = "custom_gradient"

    @boundary
    def __call__(self, *args: Any) -> Any:
        """The value, a node with the user's derivative if an argument is one."""
        arguments, layout = trees.flatten(args, f"an argument of {self!r}")
        if not any(isinstance(x, Node) for x in arguments):
            return self._pair(_with_nodes(args, arguments))[0]
        check_current(arguments, self.name)
        run = _Run(self, args, arguments, layout)
        values = run.values()
        whole = run.operation()
        if PROGRESS.recorder is not None:
            PROGRESS.recorder.pulls = True
        if len(values) == 1:
            return run.result_layout.unflatten([apply(whole, (values[0], *arguments))])
        parts = []
        if values:
            together = apply(whole, (values[0], *arguments))
            for place, value in enumerate(values):
                parts.append(apply(result_of(whole.name, place), (value, together)))
        return run.result_layout.unflatten(parts)

    def _pair(self, args: Sequence[Any]) -> tuple[Any, Callable[[Any], Any]]:
        """What the user's function returns: its result, and the function that pulls back."""
        pair = called(self.function, args, {}, repr(self))
        if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[1]):
            raise TypeError(
                f"{self!r} takes a function that returns a pair: the result and a function from"
                f" its cotangent to those of the arguments, not {described(pair)}"
            )
        return pair

    def _check_closed(self, values: Sequence[Any], known: Sequence[Any]) -> None:
        """Raise TypeError if values depend on nodes other than known ones."""
        seen = {id(x) for x in known}
        waiting = [value for value in values if isinstance(value, Node)]
        while waiting:
            node = waiting.pop()
            if id(node) in seen or node._operation is rules.stop_gradient:
                continue
            seen.add(id(node))
            parents = [operand for operand in node.operands if isinstance(operand, Node)]
            if not parents:
                raise TypeError(
                    f"{self!r} uses a node that is not one of its arguments, whose gradient would"
                    " be lost; pass it as an argument"
                )
            waiting.extend(parents)

    def _cotangents(self, given: Any, layout: Layout) -> list[Any]:
        """The numbers that the user's derivative returned, in order.

        Raises:
            TypeError: if they are no numbers.
            ValueError: if they are not like the arguments.
        """
        what = f"what the derivative of {self!r} returns"
        found, shape = trees.flatten(given, what)
        if shape.structure != layout.structure:
            found, shape = trees.flatten((given,), what)
        if shape.structure != layout.structure or [*map(trees.size_of, shape.shapes)] != [
            *map(trees.size_of, layout.shapes)
        ]:
            found, shape = trees.flatten(given, what)
            raise ValueError(f"{what} must be like the arguments, {layout}, not {shape}")
        return found


class _Run:
    """One run of a user's function: its values, and its pull-back, which holds nodes of the run.

    Args:
        owner: the function.
        args: its arguments, of which only the layout and the plain numbers count.
        operands: the nodes and numbers of the arguments.
        layout: of the arguments.
    """

    def __init__(
        self, owner: CustomGradient, args: Sequence[Any], operands: Sequence[Any], layout: Layout
    ) -> None:
        self._owner = owner
        self._layout = layout
        self._args = _with_nodes(args, operands)
        self._operands = list(operands)
        self._inputs = [fresh_input(x, x._level) if isinstance(x, Node) else x for x in operands]
        result, self._pull_back = owner._pair(_with_nodes(args, self._inputs))
        self._values, self.result_layout = trees.flatten(result, f"the result of {owner!r}")
        owner._check_closed(self._values, self._inputs)

    def values(self) -> list[Any]:
        """The values of the result, as nodes that depend on the arguments themselves."""
        stood_for = {
            id(x): operand
            for x, operand in zip(self._inputs, self._operands, strict=True)
            if isinstance(x, Node)
        }
        return _without(stood_for, self._values)

    def operation(self) -> Operation:
        """The function as an operation on its first result and the arguments."""

        def local_grads(y: Any, *operands: Any) -> list[Any]:
            """What is pulled back of 1, for pictures."""
            ones = self.pulled([1.0] * self.result_layout.size, operands[1:])
            return [0.0, *[x._number if isinstance(x, Node) else x for x in ones]]

        name = getattr(self._owner.function, "__name__", self._owner.name)
        operation = Operation(name, lambda y, *xs: y, local_grads)
        operation.passes = True
        operation.pull_back = self.pulled
        operation.n_results = self.result_layout.size
        return operation

    def pulled(self, cotangents: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """What the pull-back makes of cotangents: one for each operand.

        Where the transformation that the run belongs to has ended, another run follows the nodes,
        or the numbers, that have taken the place of its arguments.
        """
        if not self._is_followed(operands):
            again = _Run(self._owner, self._args, operands, self._layout)
            return again._pulled(cotangents)
        return self._pulled(cotangents)

    def _is_followed(self, operands: Sequence[Any]) -> bool:
        for x, before, now in zip(self._inputs, self._operands, operands, strict=True):
            if isinstance(x, Node):
                if isinstance(now, Node) and (now is not before or now._level != x._level):
                    return False
                if has_ended(x._level):
                    return False
        return True

    def _pulled(self, cotangents: Sequence[Any]) -> list[Any]:
        given = self._pull_back(
            self.result_layout.unflatten([0.0 if x is None else x for x in cotangents])
        )
        found = self._owner._cotangents(given, self._layout)
        self._owner._check_closed(found, (*self._inputs, *self._operands, *cotangents))
        return found


def _with_nodes(args: Sequence[Any], values: Sequence[Any]) -> Any:
    """Copies of arguments with some nodes in the place of theirs; numbers stay as they are."""
    remaining = iter(values)

    def put(leaf: Any) -> Any:
        if not isinstance(leaf, numpy.ndarray):
            value = next(remaining)
            return value if isinstance(leaf, Node) else leaf
        elements = [next(remaining) for _ in range(leaf.size)]
        return trees.array_of(elements, leaf.shape) if leaf.dtype == object else leaf.copy()

    return trees.map_leaves(put, tuple(args))


def _without(stood_for: dict[int, Node], values: Sequence[Any]) -> list[Any]:
    """Values whose graph holds the arguments themselves in the place of what stood for them."""
    seen: set[int] = set()
    waiting = [value for value in values if isinstance(value, Node) and id(value) not in stood_for]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or node._operation is rules.stop_gradient:
            continue
        seen.add(id(node))
        operands = []
        for operand in node.operands:
            if isinstance(operand, Node) and id(operand) not in stood_for:
                waiting.append(operand)
            operands.append(stood_for.get(id(operand), operand))
        node._replace(operands)
    return [stood_for.get(id(value), value) for value in values]


@boundary
def custom_gradient(f: Callable[..., Any]) -> CustomGradient:
    """A function with a derivative of your own, as a decorator.

    Args:
        f: takes trees of numbers, nodes and arrays, and returns a pair: the result (a number, node,
            or tree of them), and a function that takes the cotangent of the result and returns
            those of the arguments (a tuple of them; for one argument itself). That function is
            called once in a backward pass that reaches the result; a part of the result that is
            not reached has the cotangent 0.0. f depends on nothing but its arguments. If second
            derivatives are wanted, write both with :mod:`chainrule.math`. They are computed by
            reverse mode; ``jvp`` and ``jacfwd`` of the function raise.

    Raises:
        TypeError: when called, if f does not return such a pair, or uses a node from outside.
        ValueError: in differentiation, if the cotangents are not like the arguments.

    Example::

        @custom_gradient
        def log1pexp(x):
            e = exp(x)
            return log(1 + e), lambda g: g * (1 - 1 / (1 + e))
    """
    return CustomGradient(f)
