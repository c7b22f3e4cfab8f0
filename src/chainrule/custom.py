"""Functions with a derivative of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from chainrule import rules, trees
from chainrule.differentiation import fresh_input, release, topological
from chainrule.node import Node, apply
from chainrule.rules import Operation, described
from chainrule.tracing import has_ended, transformation
from chainrule.transforms import Transformed, check_current
from chainrule.trees import Layout


class CustomGradient(Transformed):
    """What :func:`custom_gradient` returns."""

    name = "custom_gradient"

    def __call__(self, *args: Any) -> Any:
        """The value, a node with the user's derivative if an argument is one."""
        arguments, layout = trees.flatten(args, f"an argument of {self!r}")
        if not any(isinstance(x, Node) for x in arguments):
            return self._pair(args)[0]
        with transformation(self.name) as level:
            check_current(arguments, self.name)
            inputs = [fresh_input(x, level) if isinstance(x, Node) else x for x in arguments]
            values, result_layout = trees.flatten(
                self._pair(_with_values(args, inputs))[0], f"the result of {self!r}"
            )
            nodes = [x for x in inputs if isinstance(x, Node)]
            self._check_closed(nodes, values, level)
            values = release(nodes, values, level)
        kept = trees.map_leaves(lambda x: x.copy() if isinstance(x, numpy.ndarray) else x, args)
        attached = [
            apply(self._operation(k, kept, layout, result_layout), (y, *arguments))
            for k, y in enumerate(values)
        ]
        return result_layout.unflatten(attached)

    def _pair(self, args: Sequence[Any]) -> tuple[Any, Callable[[Any], Any]]:
        """What the user's function returns: its result, and the function that pulls back."""
        pair = self.function(*args)
        if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[1]):
            raise TypeError(
                f"{self!r} takes a function that returns a pair: the result and a function from"
                f" its cotangent to those of the arguments, not {described(pair)}"
            )
        return pair

    def _check_closed(self, inputs: list[Node], values: list[Any], level: int) -> None:
        """Raise TypeError if values depend on nodes other than the inputs."""
        nodes = [value for value in values if isinstance(value, Node)]
        known = {id(x) for x in inputs}
        used: list[Any] = [*nodes]
        for node in topological(nodes, level):
            if id(node) not in known:
                used.extend(node.operands)
                if not node.operands or node._level > level:  # of another transformation
                    raise TypeError(self._open())
        for x in used:
            outside = isinstance(x, Node) and x._level < level
            if outside and (x._operation is not rules.stop_gradient or has_ended(x._level)):
                raise TypeError(self._open())

    def _open(self) -> str:
        return (
            f"{self!r} uses a node that is not one of its arguments, whose gradient would be lost;"
            " pass it as an argument"
        )

    def _operation(self, k: int, args: Any, layout: Layout, result_layout: Layout) -> Operation:
        """The k-th number of the result, as an operation on it and the arguments.

        Its local gradients come from running the function again on the operands at hand: numbers
        for a number, nodes for a graph that can be differentiated again.
        """
        unit = [float(i == k) for i in range(result_layout.size)]

        def local_grads(y: Any, inner: Any, *xs: Any) -> list[Any]:
            pull_back = self._pair(_with_values(args, xs))[1]
            found = self._cotangents(pull_back(result_layout.unflatten(unit)), layout)
            if not any(isinstance(x, Node) for x in xs):
                for grad in found:
                    if isinstance(grad, Node):
                        raise TypeError(self._open())
            return [0.0, *found]

        name = getattr(self.function, "__name__", self.name)
        operation = Operation(name, lambda y, *xs: y, local_grads)
        operation.passes = True
        return operation

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


def _with_values(args: Sequence[Any], values: Sequence[Any]) -> Any:
    """Arguments with others in the place of their nodes; numbers stay as they were given."""
    remaining = iter(values)

    def put(leaf: Any) -> Any:
        if not isinstance(leaf, numpy.ndarray):
            value = next(remaining)
            return value if isinstance(leaf, Node) else leaf
        elements = [next(remaining) for _ in range(leaf.size)]
        return trees.array_of(elements, leaf.shape) if leaf.dtype == object else leaf

    return trees.map_leaves(put, tuple(args))


def custom_gradient(f: Callable[..., Any]) -> CustomGradient:
    """A function with a derivative of your own, as a decorator.

    Args:
        f: takes trees of numbers, nodes and arrays, and returns a pair: the result (a number, node,
            or tree of them), and a function that takes the cotangent of the result and returns
            those of the arguments (a tuple of them; for one argument itself). It depends on nothing
            but its arguments, and is run again for its derivative. If second derivatives are
            wanted, write it with :mod:`chainrule.math`.

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
