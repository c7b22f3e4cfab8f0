"""The line of each node is that of the user's code that made it, exactly."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import Node, detect_anomaly, group, nn, record_lines
from chainrule import math as cm
from chainrule.annotations import line_of

MOST_KEPT = 2048
"""The places in code that the engine keeps at most."""


class Spy:
    """Does nothing but note from which line each operation is called: what a node should say."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, *operands: Any) -> Spy:
        """Stands for the operators and methods of a node."""
        self.lines.append(line_of(sys._getframe(1)))
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __pow__ = note
    __neg__ = __abs__ = exp = tanh = sin = note


PROGRAMS = {
    "a function": """
def f(x):

    y = x * x
    return y + 1.0
""",
    "lines of an expression": """
def f(x):
    return (
        x * 2.0
        + x.exp(
        ) - (3.0
             / 1.0) * -x
        + abs(
            x ** 2
        )
    )
""",
    "a chain of methods": """
def f(x):
    return (
        x
        .exp()
        .tanh(
        )
        .sin()
    ) * 2
""",
    "lambdas": """
f = lambda x: (
    lambda y:
        y * x
        + 1
)(x
  * 3)
""",
    "comprehensions": """
def f(x):
    table = {
        i: x
        * i
        for i in range(3)
    }
    return [
        w for made in [
            [y + z
             for y in table.values()]
            for z in (x.exp(), x.sin())]
        for w in made
    ]
""",
    "generators": """
def g(x):
    y = x * 2
    while True:
        sent = yield (
            y +
            1)
        y = sent * y

def f(x):
    running = g(x)
    y = next(running) + running.send(x)
    total = sum(
        z.exp()
        for z in (x, y)
    )
    return [*(
        z + total for z in (x, y))]
""",
    "calls": """
import functools, operator

def h(a, *rest, key):
    for b in rest:
        a = a * b
    return key(a)

def f(x):
    y = h(
        x,
        x + 1,
        *(x - i for i in range(2)),
        key=lambda y:
            y.exp(),
    )
    z = functools.reduce(
        operator.add,
        [x, y, x],
    )
    return list(map(operator.mul, [x, y],
                    [z, z])) + list(map(lambda a: a.sin() *
                                        2, [x, y]))
""",
    "branches and handlers": """
def f(x):
    y = (x.exp() if x is not None
         else x.sin())
    try:
        y = y * 2; z = y + 1; y = z
        raise ValueError(y)
    except ValueError as error:
        y = error.args[0] * 3
    finally:
        y += (
            x)
    for i in range(3): y = y * i
    while (y := y
           + 1) is None:
        pass
    match [y, y]:
        case [a, b] if (c :=
                        a - 1) is not None:
            return [b
                    * 2, c]
""",
    "classes and decorators": """
class C:
    def __init__(self, x):
        self.y = x * 2
    @property
    def twice(self):
        return (self.y +
                self.y)
    def __enter__(self):
        return self.y.exp()
    def __exit__(self, *error):
        self.y = self.y * 2

def decorated(function):
    def inner(x):
        return function(
            x + 1
        ) * 2
    return inner

@decorated
def f(x):
    c = C(x)
    with c as y, \\
         c as z:
        class D:
            w = (y
                 + z)
    return D.w * c.twice
""",
    "coroutines": """
import asyncio

async def values(x):
    for i in range(2):
        yield (x
               * i)

async def run(x):
    y = x + 1
    async for z in values(x):
        y = y + z
        await asyncio.sleep(0)
    return [z * 2 async for z in values(y)]

def f(x):
    return asyncio.run(run(x))
""",
    "a loop of many lines": "def f(x):\n"
    + "    x = x * 2\n    x = x + 1;    x = x.sin()\n" * 400
    + "    return x\n",
    "a far line": "\n" * 70_000 + "def f(x):\n    y = x * 2" + "\n" * 300 + "    return y + 1\n",
}


def function_of(source: str, file: str) -> Callable[[Any], Any]:
    """The function f of a program."""
    values: dict[str, Any] = {}
    exec(compile(source, file, "exec"), values)
    function: Callable[[Any], Any] = values["f"]
    return function


def lines_of(function: Callable[[Any], Any]) -> list[str | None]:
    """The lines of the nodes below a function's results, in the order in which they were made."""
    with record_lines():
        result = function(Node(1.25))
    made: dict[int, Node] = {}
    for root in result if isinstance(result, list) else [result]:
        made.update({id(node): node for node in root.sorted_nodes() if node.operation is not None})
    return [node.line for node in sorted(made.values(), key=lambda node: node._serial)]


@pytest.mark.parametrize("source", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_lines_are_those_of_running_code(source: str) -> None:
    """Of every node of a program: as a frame says it where a Python function is called instead."""
    function = function_of(source, "/somewhere/program.py")
    spy = Spy()
    function(spy)
    assert len(spy.lines) > 1
    for _ in range(2):  # the second time they are known
        assert lines_of(function) == spy.lines
    assert all(line.startswith("/somewhere/program.py:") for line in spy.lines)


def test_instructions_of_no_line() -> None:
    """Say so, as a frame does."""

    def f(x: Any) -> Any:
        y = x * 2
        return y + 1

    f.__code__ = f.__code__.replace(co_linetable=b"\xff" * len(f.__code__.co_code))
    spy = Spy()
    f(spy)
    assert lines_of(f) == spy.lines


def here(below: int = 0) -> str:
    """The line of the caller, or so many below it."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno + below}"


def test_operations_of_the_package_are_of_the_users_line() -> None:
    """Functions, arrays and layers are called from there; their own lines are not said."""
    model = nn.MLP(2, [3, 1], seed=0)
    named = Node(1.0, name="x")
    with record_lines():
        x, line = Node(2.0), here()
        made = [(x, line)]
        made.append((Node(2, name="x"), here()))
        made.append((cm.log(x), here()))
        made.append((cm.hypot(x, named, 3), here()))
        made.append((cm.fsum([x, named, x]), here()))
        made.append((np.exp(np.array([x, x]))[1], here()))
        made.append((np.float64(2.0) * x, here()))
        made.append((round(x), here()))
        made.append((cm.where(x > 1, x, named), here()))
        y, line = model([x, 1.0]), here()
        made += [(node, line) for node in y.sorted_nodes() if node.operation is not None]
    named.name = "other"
    for node, line in made:
        assert node.line == line, node
    assert y.groups == ("output", "neuron 0")
    assert named.line is None
    assert made[1][0].name == "x"


def test_a_node_in_a_trace_says_its_line() -> None:
    """Its text does, inside a transformation."""
    texts = []

    def f(x: Any) -> Any:
        y = x * 2
        texts.append((str(y), here(-1)))
        return y

    with record_lines():
        cr.grad(f)(1.0)
    ((text, line),) = texts
    assert text == f"<traced multiply, line {line.rpartition(':')[2]}>"


def test_code_of_equal_addresses() -> None:
    """Code comes and goes, and new code may be where old code was: each has its own line."""
    x = Node(1.0)
    numbers = random.Random(0)
    with record_lines():
        for i in range(5000):
            below = numbers.randrange(50)
            values = {"x": x}
            exec(compile("\n" * below + "y = x * 2.0", f"file {i % 7}", "exec"), values)
            assert values["y"].line == f"file {i % 7}:{below + 1}"


def test_few_places_are_kept() -> None:
    """Of code that has gone: so many, however many there were."""
    x = Node(1.0)
    alive: set[weakref.ref[CodeType]] = set()
    most = 0
    with record_lines():
        for i in range(3 * MOST_KEPT):
            code = compile("y = x * 2.0", f"file {i}", "exec")
            exec(code, {"x": x})
            alive.add(weakref.ref(code, alive.remove))
            most = max(most, len(alive))
    assert most <= MOST_KEPT + 1  # and the one that runs


def test_no_reference_is_lost_or_left() -> None:
    """Of the objects that all nodes of a place share."""
    x = Node(1.0)

    def f() -> Any:
        return x * x

    def counts() -> list[int]:
        return [sys.getrefcount(thing) for thing in (x, f.__code__, cr.Node, None, True, False, ())]

    with record_lines(), group("a"):
        assert f().line is not None
        annotation = f()._annotation
        before = [*counts(), sys.getrefcount(annotation)]
        for _ in range(1000):
            assert f().line is not None
        after = [*counts(), sys.getrefcount(annotation)]
    assert all(abs(a - b) < 100 for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_keep_line_and_groups(way: Callable[[Any], Any]) -> None:
    """Told before it is copied or not."""
    with record_lines(), group("a"), group("b"):
        y, line = Node(1.0, name="x") * 2.0, here()
    twin = way(y)
    assert (twin.line, twin.groups) == (line, ("a", "b"))
    assert (twin.operands[0].line, twin.operands[0].name) == (line, "x")
    assert (y.line, way(y).line, way(twin).line) == (line, line, line)


def test_a_pickle_is_read_in_another_process() -> None:
    """Which does not have the code."""
    values: dict[str, Any] = {"x": Node(1.0)}
    with record_lines():
        exec(compile("\n\ny = x.exp()", "gone.py", "exec"), values)
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).line)"
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(values["y"]), stdout=subprocess.PIPE
    )
    assert done.stdout == b"gone.py:3\n"


def test_names_and_lines_are_kept_apart() -> None:
    """A new name leaves the line, and the other nodes of that line alone."""
    with record_lines(), group("g"):
        made = [Node(1.0) * 2.0 for _ in range(2)]
        line = here(-1)
    made[0].name = "a"
    assert [(node.name, node.line, node.groups) for node in made] == [
        ("a", line, ("g",)),
        (None, line, ("g",)),
    ]
    made[0].name = None
    assert (made[0].name, made[0].line) == (None, line)


def test_groups_at_one_place() -> None:
    """One line of code makes nodes in several groups, one after the other."""
    x = Node(1.0)
    made = []
    with record_lines():
        for i in range(20):
            with group(f"layer {i % 3}"):
                made.append(x * 2.0)
            made.append(x * 3.0)
    for i, node in enumerate(made[::2]):
        assert node.groups == (f"layer {i % 3}",)
    assert all(node.groups == () for node in made[1::2])
    assert len({node.line for node in made}) == 2


def test_a_group_is_named_by_any_text() -> None:
    """Of a subclass of str too, whatever that does."""

    class Unhashable(str):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

    with group(Unhashable("a")):
        assert Node(1.0).groups == ("a",)


def test_an_error_leaves_nothing_of_the_node() -> None:
    """What is found as it is made is not kept alive."""
    x = Node(0.0)

    class Own(Node):
        def __init__(self, parent: Node) -> None:
            super().__init__(float("inf"), (parent,))

    for make, context in (
        (lambda: cm.log(x), detect_anomaly),
        (lambda: 1 / x, detect_anomaly),
        (lambda: Own(x), detect_anomaly),
        (lambda: 1 / x, cr.domain_errors),
    ):
        for count in (1, 100):
            before = sys.getrefcount(x)
            for _ in range(count):
                with record_lines(), context(), pytest.raises(ArithmeticError):
                    make()
            gc.collect()
            assert abs(sys.getrefcount(x) - before) < 5


def test_both_engines_tell_the_same() -> None:
    """The lines of programs that the reference, in plain Python, makes."""
    script = (
        "import test_lines as t\n"
        "for source in t.PROGRAMS.values():\n"
        "    print(t.lines_of(t.function_of(source, 'program.py')))"
    )
    said = [
        subprocess.check_output(
            [sys.executable, "-c", script], cwd=Path(__file__).parent, env=environment
        )
        for environment in ({**os.environ, "CHAINRULE_PURE": pure} for pure in ("", "1"))
    ]
    assert said[0] == said[1]
    assert said[0].count(b"program.py:") > 800
