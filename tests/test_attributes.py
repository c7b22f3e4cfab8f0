"""No attribute of any class of the engine can crash the process: read, set or deleted.

Classes are tried in processes of their own, which say what they are about to do; if one dies, that
is the message. Whatever touches a class, and not an instance, is done in a fork.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainrule import Node, rules
from chainrule import math as cm
from chainrule.annotations import Annotation
from chainrule.comparing import ConditionNode, InvertedNode
from chainrule.differentiation import Linearization, fresh_input
from chainrule.engine import ENGINE
from chainrule.jit.indices import IndexNode
from chainrule.jit.recorded import Recorded
from chainrule.node import BinaryOpNode, OperationNode, PowOp, ReLUNode, TanhNode
from chainrule.rules import Operation, less
from chainrule.whole import WholeNode

MODULES = (
    *("annotations", "comparing", "copying", "differentiation", "node", "rules", "whole"),
    *("jit.indices", "jit.outcomes", "jit.recorded"),
)

PARTS = 4


class Odd:
    """Fails at everything."""

    def __float__(self) -> float:
        raise RuntimeError("odd")

    def __hash__(self) -> int:
        raise RuntimeError("odd")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("odd")


def x() -> Node:
    """A leaf with everything that a leaf can have."""
    return Node(2.0, name="x")


MAKERS: dict[type, Callable[[], Any]] = {
    Node: x,
    OperationNode: lambda: x().exp(),
    BinaryOpNode: lambda: x() * x(),
    ReLUNode: lambda: ReLUNode(x()),
    TanhNode: lambda: TanhNode(x()),
    PowOp: lambda: x() ** 2,
    WholeNode: lambda: round(x()),
    IndexNode: lambda: IndexNode.of(x(), 7),
    InvertedNode: lambda: ~ConditionNode(less, 1.0, x(), None, 3.0),
    ConditionNode: lambda: ConditionNode(less, 1.0, x(), None, 3.0),
    Annotation: lambda: Annotation("a", ("b",), None),
    Operation: lambda: Operation("f", lambda x: x, [lambda y, x: 1.0]),
    Linearization: lambda: Linearization([fresh_input(2.0, 1)], [1.0], 1),
    Recorded: lambda: Recorded([x()], 1),
}


def classes() -> list[type]:
    """All classes of nodes, and of what works on them."""
    found: dict[type, None] = {}
    modules = [importlib.import_module(f"chainrule.{name}") for name in MODULES]
    for module in modules if ENGINE is None else [*modules, ENGINE]:
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__.startswith("chainrule."):
                found[value] = None
    return list(found)


def made(kind: type) -> Any:
    """An instance; where nothing says how to make one, without its __init__, or None."""
    return MAKERS[kind]() if kind in MAKERS else bare(kind)


def bare(kind: type) -> Any:
    """An instance without its __init__, or None where there is no such thing."""
    new: Any = kind.__new__
    try:
        return new(kind)
    except TypeError:
        return None


def use(thing: Any) -> None:
    """Do with an instance what looks at its attributes; with one of a class."""
    if isinstance(thing, type):
        try:
            thing = made(thing)
        except Exception:
            return
    for look in (
        repr,
        str,
        hash,
        format,
        lambda t: t.backward(),
        lambda t: t.sorted_nodes(),
        lambda t: t.local_grads(),
        lambda t: t.operands,
        lambda t: (t + 1) * t,
        lambda t: t < t,
        lambda t: cm.fsum([t, t, t]).backward(),
        lambda t: t.__reduce_ex__(4),
        lambda t: t.pull_back([1.0]),
        lambda t: len(t),
        lambda t: t.evaluate([1.0]),
    ):
        try:
            look(thing)
        except Exception:
            continue


def assigned(thing: Any, name: str) -> None:
    """Set an attribute to all kinds of values, and use the instance with each."""
    values: list[Any] = [None, 1, 1.5, -1, 2**70, "x", "\ud800", (), [], {}, float("nan"), True]
    values += [object(), lambda: 0, Odd(), Node, x(), (x(),), (1, 2), b"", [None], (None, None)]
    if isinstance(thing, Node):  # a cycle; an operation that is its own value has no end
        values.append(thing)
    for value in values:
        try:
            setattr(thing, name, value)
        except Exception:
            continue
        use(thing)


def deleted(thing: Any, name: str) -> None:
    """Delete an attribute: AttributeError where the engine keeps it, and it is still there."""
    before = type(thing), hasattr(thing, name)
    try:
        delattr(thing, name)
    except (AttributeError, TypeError):
        assert (type(thing), hasattr(thing, name)) == before
    use(thing)


def read(thing: Any, name: str) -> None:
    """Read an attribute of an instance that was never initialized."""
    try:
        repr(getattr(thing, name))
    except Exception:
        return


def try_part(part: int) -> None:
    """Everything for the classes of a part; run in a process of its own."""
    for kind in classes()[part::PARTS]:
        tried(kind)


def tried(kind: type) -> None:
    """Everything for one class."""
    for name in dir(kind):
        for make in (made, bare):
            for do in (read, assigned, deleted):
                print(do.__name__, make.__name__, kind.__name__, name, flush=True)
                do(make(kind), name)
    for name in vars(kind):
        for do in (assigned, deleted):
            print(do.__name__, "of the class", kind.__name__, name, flush=True)
            pid = os.fork()
            if pid == 0:
                try:
                    do(kind, name)
                finally:
                    os._exit(0)
            status = os.waitpid(pid, 0)[1]
            assert status == 0, f"{do.__name__} {kind.__name__}.{name}: status {status}"


def run(code: str) -> None:
    """Run code of this module in a process, which must end well."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", f"import test_attributes as t; t.{code}"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]} {done.stderr[-800:]}"


@pytest.mark.parametrize("part", range(PARTS))
def test_no_attribute_crashes(part: int) -> None:
    """Neither read, set or deleted, on instances, uninitialized ones, and classes."""
    run(f"try_part({part})")


def try_operands() -> None:
    """Make nodes of operations with all kinds of operands, and use them; run in a process."""
    node, user = x(), Operation("user", lambda *xs: 1.0, lambda y, *xs: [1.0] * len(xs))
    rests = (None, 2.0, "a", (), (node,), (node, 2.0), (node, node, 2.0), (node, "a", 2.0), [node])
    for operation in (rules.add, rules.exp, rules.tanh, rules.where, rules.fsum, user, "a", None):
        for a, b, rest in itertools.product((None, node, 1.0), (None, node, 1.0), rests):
            print(operation, a, b, rest, flush=True)
            try:
                made = OperationNode(operation, 1.0, a, b, rest)  # type: ignore[arg-type]
            except (TypeError, AttributeError):
                continue
            use(made)
            for others in ((), (1.0,), (node,), (node, 1.0), (node, node, node), (1.0, 1.0), "ab"):
                try:
                    made._replace(others)
                except TypeError:
                    continue
                use(made)


def test_no_operands_crash() -> None:
    """Of operations made, or given others, without those functions that check them."""
    run("try_operands()")


INSIDE = [] if ENGINE is None else ["_a", "_rest", "_annotation", "_number", "_serial"]


@pytest.mark.parametrize("name", ["data", "grad", "name", "_parents", *INSIDE])
def test_deleting_is_an_attribute_error(name: str) -> None:
    """Of a leaf and of an operation, and nothing has changed."""
    script = f"""
from chainrule import Node
x = Node(2.0, name="x")
for node in (x, x * x, x ** 2, x.exp()):
    before = node.data, node.grad, node.name, node._parents
    try:
        del node.{name}
    except AttributeError as error:
        assert "{name}" in str(error), error
    except TypeError as error:  # of a plain number in C
        assert "{name}" in {INSIDE}, error
    else:
        raise SystemExit("no error")
    assert before == (node.data, node.grad, node.name, node._parents)
    node.backward()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or done.returncode
