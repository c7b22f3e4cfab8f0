"""Random graphs on both engines: every number, order and error must be the same, to the last bit.

``python tests/fuzz_twins.py 10000`` runs so many in two processes, one with ``CHAINRULE_PURE=1``,
and compares what they write: floats as hexadecimal digits. ``python tests/fuzz_twins.py 1 SEED``
runs one.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import math
import operator
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import math as cm
from chainrule.rules import OPERATIONS, Operation

Step = tuple[str, tuple[Any, ...]]
"""A name, and operands: ("at", place) is an earlier value, anything else a constant."""

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, math.inf, -math.inf, math.nan, 5e-324, 1e300, 1e-160)
"""Numbers at which rules are difficult."""

OPERATORS: dict[str, Callable[..., Any]] = {
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv},
    **{"**": operator.pow, "%": operator.mod, "//": operator.floordiv, "divmod": divmod},
}
COMPARISONS: dict[str, Callable[..., Any]] = {
    **{"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    **{"==": operator.eq, "!=": operator.ne},
}
METHODS: dict[str, Callable[..., Any]] = {
    **{"-x": operator.neg, "+x": operator.pos, "abs": abs, "round": round, "floor": math.floor},
    **{"ceil": math.ceil, "trunc": math.trunc},
    **{
        name: operator.methodcaller(name)
        for name in (
            *("relu", "tanh", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt"),
            *("cbrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh"),
            *("arcsinh", "arccosh", "arctanh", "sign", "floor", "ceil", "trunc", "sigmoid"),
            *("softplus", "fabs", "rint", "degrees", "radians", "conjugate"),
        )
    },
}
SLOW = ("gamma", "lgamma", "polygamma")


class Cubed(cr.Node):
    """A user's node, of a class of its own."""

    def __init__(self, x: Any) -> None:
        super().__init__(x.data * x.data * x.data, (x,))

    def _local_grad(self, parent: cr.Node) -> float:
        return float(3.0 * parent.data * parent.data)


def own(a: float, b: float) -> float:
    """The value of a user's operation."""
    return a * b + a


def own_by_a(y: Any, a: Any, b: Any) -> Any:
    """Its local gradient by the first operand."""
    return b + 1.0


def own_by_b(y: Any, a: Any, b: Any) -> Any:
    """Its local gradient by the second."""
    return a * 1.0


OWN = Operation("own", own, [own_by_a, own_by_b], symbol="@")


@cr.custom_gradient
def halved(x: Any) -> Any:
    """Half of a number, with a derivative that is not its own."""
    return x * 0.5, lambda cotangent: cotangent * 0.25


def drawn(seed: int) -> tuple[list[float], list[Step]]:
    """The inputs of a random graph, and its steps."""
    rng = Random(seed)
    special = rng.choice((0.0, 0.0, 0.03, 0.3))

    def number() -> float:
        if rng.random() < special:
            return rng.choice(SPECIAL)
        return float(rng.choice((-1.0, 1.0)) * 2.0 ** rng.uniform(-3.0, 2.0))

    inputs = [number() for _ in range(rng.randint(1, 4))]
    steps: list[Step] = []
    users = rng.random() < 0.2

    def node() -> tuple[str, int]:
        count = len(inputs) + len(steps)
        return "at", max(rng.randrange(count), rng.randrange(count))

    def operand() -> Any:
        kind = rng.random()
        if kind < 0.75:
            return node()
        if kind < 0.92:
            return number()
        whole = rng.randint(-3, 3)
        return rng.choice((whole, float(whole), np.float64(whole), np.int64(whole), whole > 0))

    for _ in range(rng.randint(1, 25)):
        kind = rng.random()
        if users and kind < 0.15:
            name = rng.choice(("own", "cubed", "halved"))
            steps.append((name, (node(), operand()) if name == "own" else (node(),)))
        elif kind < 0.5:
            pair = [node(), operand()]
            rng.shuffle(pair)
            common = rng.random() < 0.7
            steps.append((rng.choice("+-*/" if common else list(OPERATORS)), tuple(pair)))
        elif kind < 0.55:
            steps.append((rng.choice(list(COMPARISONS)), (node(), operand(), operand())))
        elif kind < 0.65:
            steps.append((rng.choice(list(METHODS)), (node(),)))
        else:
            name = rng.choice([*OPERATIONS, "where"])
            if name in SLOW and rng.random() < 0.8:
                continue
            steps.append((name, called(rng, name, node, operand)))
    places = range(len(inputs) + len(steps))
    if rng.random() < 0.7:
        some = rng.sample(places, min(len(places), 6))
        steps.append(("fsum", (("at", places[-1]), *[("at", i) for i in some])))
    else:
        steps.append(("tanh", (("at", places[-1]),)))
    return inputs, steps


def called(
    rng: Random, name: str, node: Callable[[], Any], operand: Callable[[], Any]
) -> tuple[Any, ...]:
    """Operands for an operation of the table, numbers where it takes only these."""
    operation = OPERATIONS[name]
    if name == "gather":
        width = rng.randint(2, 4)
        index = rng.choice([node(), float(rng.randrange(width))])
        return index, node(), *[operand() for _ in range(width - 1)]
    many = rng.choice((2, 3, 3, 4, 5, 12))
    count = many if operation.variadic else len(operation.local_grads)
    operands = [operand() for _ in range(count)]
    operands[rng.randrange(count)] = node()
    if not operation.variadic:
        for i, local_grad in enumerate(operation.local_grads):
            if local_grad is None:
                operands[i] = float(rng.randint(0, 3))
    if name in ("polygamma", "ldexp", "round"):
        operands[1 if name == "polygamma" else 0] = node()
    return tuple(operands)


def run(steps: Sequence[Step], inputs: Sequence[Any]) -> list[Any]:
    """The values of a graph, those of the inputs first."""
    values = list(inputs)
    for name, operands in steps:
        found = [values[x[1]] if isinstance(x, tuple) else x for x in operands]
        if name in OPERATORS:
            value = OPERATORS[name](*found)
        elif name in COMPARISONS:
            value = found[0] * 1.0 if COMPARISONS[name](*found[:2]) else found[2] - found[0]
        elif name in METHODS:
            value = METHODS[name](*found) if hasattr(type(found[0]), "relu") else found[0]
        elif name == "own":
            value = OWN(*found)
        elif name == "cubed":
            value = Cubed(found[0]) if is_plain(found[0]) else found[0] ** 3
        elif name == "halved":
            value = halved(found[0])
        elif name == "where" and len(found) == 3 and isinstance(found[1], cr.Node):
            value = cm.where(found[0] > found[1], found[1], found[2])
        elif name == "gather":
            beyond = float(len(found) - 1)
            inside = cm.where(found[0] >= 0.0, cm.where(found[0] < beyond, found[0], 0.0), 0.0)
            value = OPERATIONS[name](inside, *found[1:])
        else:
            value = OPERATIONS[name](*found)
        if isinstance(value, tuple):
            value = value[0] + value[1]
        values.append(value)
    return values


def is_plain(x: Any) -> bool:
    """Whether a value is a node that no transformation follows."""
    try:
        return isinstance(x.data, float)
    except (AttributeError, cr.TracedValueError):
        return False


# What a graph gives, as text


def shown(x: Any) -> str:
    """A number, or a structure of numbers, so that nothing is rounded."""
    if isinstance(x, np.ndarray):
        x = x.tolist()
    if isinstance(x, (list, tuple)):
        return f"({' '.join(map(shown, x))})"
    if isinstance(x, cr.Node):
        return f"{type(x).__name__}:{float.hex(x.data)}"
    if isinstance(x, bool) or x is None:
        return str(x)
    return f"{type(x).__name__}:{float.hex(float(x))}"


def attempted(what: str, action: Callable[[], Any]) -> str:
    """The text of a result, or of an error."""
    try:
        return f"{what} {shown(action())}"
    except (ArithmeticError, TypeError, ValueError, NotImplementedError) as error:
        text = "".join(c for c in str(error) if c.isprintable())
        return f"{what} {type(error).__name__}: {text}"


def graph_lines(seed: int) -> Iterator[str]:
    """Values, gradients, orders, copies of a random graph."""
    numbers, steps = drawn(seed)
    rng = Random(f"{seed} graph")
    leaves = [cr.Node(x) for x in numbers]
    try:
        values = run(steps, leaves)
    except (ArithmeticError, TypeError, ValueError) as error:
        yield f"run {type(error).__name__}: {error}"
        return
    nodes = [x for x in values if isinstance(x, cr.Node)]
    place = {id(x): i for i, x in reversed(list(enumerate(nodes)))}

    def grads() -> list[float]:
        return [x.grad for x in nodes]

    def order(root: cr.Node) -> list[int]:
        return [place.get(id(x), -1) for x in root.sorted_nodes()]

    yield "values " + " ".join(map(shown, values))
    yield "texts " + " ".join(f"{x} {x!r}" for x in values)
    for x in nodes:
        yield attempted("local", x.local_grads)
    root, other = nodes[-1], rng.choice(nodes)
    yield f"order {order(root)} {order(other)}"
    for start, seed_ in ((root, 1.0), (other, rng.choice((*SPECIAL, -0.1))), (root, -3.0)):
        yield attempted("backward", functools.partial(start.backward, seed_))
        yield "grads " + shown(grads())
    with cr.detect_anomaly():
        yield attempted("anomaly", root.backward).split(" at ")[0]
    yield "grads " + shown(grads())
    twin = copy.deepcopy(nodes)
    again = pickled(nodes)
    cr.zero_grad([nodes, twin, again])
    leaf = rng.choice(leaves)
    leaf.data = rng.choice((leaf.data, 0.25))
    again[place[id(leaf)]].data = leaf.data
    for copied in (nodes, twin, again, copy.deepcopy(nodes), pickled(again)):
        yield attempted("stale", copied[-1].backward)
        yield "grads " + shown([x.grad for x in copied])


def pickled(nodes: list[cr.Node]) -> list[cr.Node]:
    """What a pickle gives back, or copies where a user's function can't be pickled."""
    try:
        found: list[cr.Node] = pickle.loads(pickle.dumps(nodes))
    except (AttributeError, pickle.PicklingError):
        return copy.deepcopy(nodes)
    return found


def transformed_lines(seed: int) -> Iterator[str]:
    """Derivatives of the same graph as a function of numbers."""
    numbers, steps = drawn(seed)
    rng = Random(f"{seed} transformed")
    count = len(numbers)
    every = tuple(range(count))

    def f(*xs: Any) -> Any:
        last = run(steps, xs)[-1]
        return last * 1.0 if isinstance(last, bool) else last

    def both(*xs: Any) -> Any:
        values = run(steps, xs)
        return [values[-1] * 1.0, values[len(values) // 2] * 1.0]

    tangents = tuple(rng.choice((0.0, 1.0, -0.5, rng.gauss(0.0, 1.0))) for _ in numbers)
    yield attempted("grad", lambda: cr.grad(f, argnums=every)(*numbers))
    yield attempted("value_and_grad", lambda: cr.value_and_grad(f, argnums=every)(*numbers))
    yield attempted("jvp", lambda: cr.jvp(f, tuple(numbers), tangents))
    yield attempted("vjp", lambda: cr.vjp(f, *numbers)[1](rng.choice((1.0, -0.7))))
    yield attempted("jacrev", lambda: cr.jacrev(both, argnums=every)(*numbers))
    yield attempted("jacfwd", lambda: cr.jacfwd(both, argnums=every)(*numbers))
    yield attempted("nested", lambda: cr.grad(lambda x: cr.grad(f)(x, *numbers[1:]))(numbers[0]))
    if len(steps) < 15:
        yield attempted("hvp", lambda: cr.hvp(f, tuple(numbers), tangents))
        yield attempted("hessian", lambda: cr.hessian(f, argnums=every)(*numbers))
    nodes = [cr.Node(x) for x in numbers]
    yield attempted("of nodes", lambda: cr.grad(f, argnums=every)(*nodes))
    if seed % 20 == 0:
        compiled = cr.compile(cr.value_and_grad(f, argnums=every))
        yield attempted("compiled", lambda: compiled(*numbers))
        tape = cr.compile(f)
        yield attempted("compiled value", lambda: tape(*numbers))


def lines(seed: int) -> Iterator[str]:
    """All that both engines must agree in."""
    return itertools.chain(graph_lines(seed), transformed_lines(seed))


def write(count: int, first: int) -> None:
    """Write what this engine gives, after a line that says which it is."""
    warnings.simplefilter("ignore")
    print("C" if cr.build_info()["compiled"] else "Python")
    for seed in range(first, first + count):
        text = "\n".join(f"{seed} {line}" for line in lines(seed))
        if count > 1:
            text = f"{seed} {hashlib.sha256(text.encode()).hexdigest()} {text.count(' nan')}"
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)


def started(pure: str, count: int, first: int) -> subprocess.Popen[str]:
    """A process that writes what an engine gives."""
    return subprocess.Popen(
        [sys.executable, __file__, "write", str(count), str(first)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CHAINRULE_PURE": pure, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def compare(count: int, first: int) -> tuple[list[str], list[str]]:
    """The two engines' names, and what they disagree in."""
    processes = [started("", count, first), started("1", count, first)]
    pipes = [process.stdout for process in processes if process.stdout is not None]
    engines = [pipe.readline().strip() for pipe in pipes]
    different = [
        f"{a.rstrip()}\n{b.rstrip()}"
        for a, b in itertools.zip_longest(pipes[0], pipes[1], fillvalue="nothing")
        if a != b
    ]
    for process, pipe in zip(processes, pipes, strict=True):
        pipe.close()
        if process.wait():
            different.append(f"a process ends with status {process.returncode}")
    return engines, different


def main() -> None:
    """See the module."""
    if sys.argv[1] == "write":
        write(int(sys.argv[2]), int(sys.argv[3]))
        return
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    engines, different = compare(count, first)
    for lines_ in different[:10]:
        seed = lines_.split(" ", 1)[0]
        shown_ = compare(1, int(seed))[1] if count > 1 and seed.isdigit() else [lines_]
        print("\n".join([*shown_[:2], ""]))
    print(f"{count} graphs, engines {engines}: {len(different)} differ")
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
