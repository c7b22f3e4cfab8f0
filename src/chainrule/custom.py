"""Functions with a derivative of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule import trees
from chainrule.node import Node, OperationNode, apply
from chainrule.rules import Operation, described
from chainrule.transforms import Transformed


class CustomGradient(Transformed):
    """What :func:`custom_gradient` returns."""

    name = "custom_gradient"

    def __call__(self, *args: Any) -> Any:
        """The value, a node with the user's derivative if an argument is one."""
        pair = self.function(*args)
        if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[1]):
            raise TypeError(
                f"{self!r} takes a function that returns a pair: the result and a function from"
                f" its cotangent to those of the arguments, not {described(pair)}"
            )
        result, pull_back = pair
        arguments, layout = trees.flatten(args, f"an argument of {self!r}")
        values, result_layout = trees.flatten(result, f"the result of {self!r}")
        if not any(isinstance(x, Node) for x in arguments):
            return result
        pulled = [
            self._pulled(pull_back, result_layout, layout, k, len(values))
            for k in range(len(values))
        ]
        attached = [self._attached(y, arguments, pulled[k]) for k, y in enumerate(values)]
        return result_layout.unflatten(attached)

    def _pulled(
        self, pull_back: Callable[..., Any], result: Any, layout: Any, k: int, n: int
    ) -> Callable[[], list[Any]]:
        """The gradient of the k-th number of the result by each of the arguments, on demand."""

        def grads() -> list[Any]:
            cotangents = result.unflatten([1.0 if i == k else 0.0 for i in range(n)])
            given = pull_back(cotangents)
            wanted = layout.structure
            if wanted.num_children == 1 and not isinstance(given, tuple):
                given = (given,)
            found, shape = trees.flatten(given, f"what the derivative of {self!r} returns")
            if shape.size != layout.size:
                raise ValueError(
                    f"the derivative of {self!r} returned {shape.size} numbers for"
                    f" {layout.size} in the arguments"
                )
            return found

        return grads

    def _attached(self, y: Any, arguments: list[Any], grads: Callable[[], list[Any]]) -> Any:
        """A node of a value whose local gradients are the user's."""
        name = getattr(self.function, "__name__", "custom_gradient")
        operation = Operation(
            name, lambda y, *xs: y, lambda y, inner, *xs: [0.0, *grads()], symbol=name
        )
        operation.passes = True
        node = apply(operation, (y, *arguments))
        assert isinstance(node, OperationNode)
        return node


def custom_gradient(f: Callable[..., Any]) -> CustomGradient:
    """A function with a derivative of your own, as a decorator.

    Args:
        f: returns a pair: the result (a number, node, or tree of them), and a function that takes
            the cotangent of the result and returns those of the arguments (a tuple of them; for one
            argument itself). If second derivatives are wanted, write it with
            :mod:`chainrule.math`.

    Example::

        @custom_gradient
        def log1pexp(x):
            e = exp(x)
            return log(1 + e), lambda g: g * (1 - 1 / (1 + e))
    """
    return CustomGradient(f)
