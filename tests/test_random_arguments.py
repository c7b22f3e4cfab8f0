"""Random trees of arguments, changed between the calls of a compiled function."""

from __future__ import annotations

import array
import random
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from argument_objects import Changing, Frozen, OwnList, Plain, code_of, weighted

import chainrule as cr
from chainrule import Node
from chainrule import math as cm


class Tree:
    """Random trees of arguments, and random changes of them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def make(self, depth: int = 3) -> Any:
        """A tree."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.3:
            return self.leaf()
        parts = [self.make(depth - 1) for _ in range(rng.randint(1, 3))]
        kind = rng.choice(["list", "tuple", "dict", "ordered", "deque", "plain", "changing"])
        if kind in ("list", "tuple", "deque"):
            return {"list": list, "tuple": tuple, "deque": deque}[kind](parts)
        if kind in ("dict", "ordered"):
            keys = rng.sample(["a", "b", "c", "d"], len(parts))
            return {"dict": dict, "ordered": OrderedDict}[kind](zip(keys, parts, strict=True))
        return rng.choice([Plain, Changing, Frozen])(self.inert(parts[0]))

    def inert(self, tree: Any) -> Any:
        """A tree for an object to hold."""
        return tree if isinstance(tree, (int, str, set, bytearray, list)) else 0.5

    def leaf(self) -> Any:
        """A leaf."""
        rng = self.rng
        makers: list[Callable[[], Any]] = [
            lambda: rng.choice([0.5, -0.0, 0.0, 2.5]),
            lambda: rng.choice([0, 1, 2, True, False]),
            lambda: rng.choice(["a", "bb"]),
            lambda: {rng.choice([1, True]), rng.choice([2, 2.0])},
            lambda: frozenset([rng.choice([1, True])]),
            lambda: bytearray([rng.randint(0, 3)]),
            lambda: array.array("d", [rng.choice([1.0, 2.0])]),
            lambda: np.array([rng.choice([0.5, 1.5]), 2.0]),
            lambda: np.array(rng.choice([0.5, 1.5])),
            lambda: np.array([rng.choice([True, False]), True]),
            lambda: OwnList([rng.choice([1, True, 1.0])]),
            lambda: Decimal(rng.choice(["1.0", "1.00"])),
            lambda: None,
        ]
        return rng.choice(makers)()

    def change(self, tree: Any) -> Any:
        """The tree with one thing changed, in place where that is possible."""
        rng = self.rng
        if isinstance(tree, (list, deque, tuple)) and len(tree):
            i = rng.randrange(len(tree))
            if isinstance(tree, tuple):
                return (*tree[:i], self.change(tree[i]), *tree[i + 1 :])
            tree[i] = self.change(tree[i])
        elif isinstance(tree, dict) and tree:
            key = rng.choice(list(tree))
            if rng.random() < 0.5:
                tree[key] = tree.pop(key)  # the order
            else:
                tree[key] = self.change(tree[key])
        elif isinstance(tree, (Plain, Changing)):
            tree.value = self.change(tree.value)
        elif isinstance(tree, set):
            tree ^= {rng.choice([1, 2, 3])}
        elif isinstance(tree, bytearray):
            tree[0] = (tree[0] + 1) % 4
        elif isinstance(tree, array.array):
            tree[0] += 1.0
        elif isinstance(tree, np.ndarray) and tree.ndim:
            tree[0] = not tree[0] if tree.dtype == bool else tree[0] + 1.0
        else:
            return self.leaf()
        return tree


def digest(tree: Any) -> Any:
    """A number for all that a function sees of a tree: types, order, signs and values."""
    if isinstance(tree, (float, Node)):
        return tree * 1.5 + cm.copysign(0.25, tree)
    if isinstance(tree, np.ndarray):
        if tree.dtype == bool:
            return weighted([float(v) for v in tree])
        return digest(float(tree)) if tree.ndim == 0 else weighted([digest(v) for v in tree])
    if type(tree) in (list, tuple, deque):
        return weighted([digest(part) for part in tree]) + len(tree)
    if isinstance(tree, dict):
        return weighted([digest(part) for item in tree.items() for part in item])
    if isinstance(tree, (Plain, Changing, Frozen)):
        return digest(tree.value) - 3.0
    return (code_of(tree) % 1009.0) / 64.0


@pytest.mark.parametrize("seed", range(60))
def test_random_trees_changed_between_calls(seed: int) -> None:
    """A compiled function is the function itself, at each call."""
    trees = Tree(seed)

    def f(x: Any, *args: Any, **named: Any) -> Any:
        y = x * digest(args)
        return y * x + digest(named) if y > 0 else y - digest(named)

    compiled, gradient = cr.compile(f), cr.compile(cr.value_and_grad(f))
    args = [trees.make() for _ in range(2)]
    named = {key: trees.make(2) for key in ("p", "q")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(8):
            for x in (0.75, -0.75):
                assert compiled(x, *args, **named) == pytest.approx(f(x, *args, **named), rel=1e-12)
                found = gradient(x, *args, **named)
                assert found == pytest.approx(cr.value_and_grad(f)(x, *args, **named), rel=1e-12)
            args = [trees.change(arg) for arg in args]
            if trees.rng.random() < 0.5:
                named = trees.change(named)
    assert not compiled.stats().eager
