"""Random sequences of what Python can do to nodes, names and files, none of which may crash.

Each sequence runs in a process of its own, so that one that dies says so by its signal.
``python tests/fuzz_nodes.py 20000`` runs so many; ``python tests/fuzz_nodes.py replay SEED`` shows
the steps of one as it takes them.
"""

from __future__ import annotations

import collections
import copy
import decimal
import fractions
import functools
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import math as crmath
from chainrule import rules

ALLOWED = (
    *(AttributeError, TypeError, ValueError, OSError, ArithmeticError, LookupError),
    *(NotImplementedError, RecursionError, MemoryError, ImportError, pickle.PickleError),
    cr.CompileError,
)
"""What misuse may raise."""
SECONDS = 20
"""After so long a sequence counts as hanging."""

PUBLIC = ("data", "grad", "name", "groups", "line", "operation", "operands", "n")
INTERNAL = (
    *("_number", "_grad", "_pending", "_operation", "_a", "_b", "_rest", "_serial", "_level"),
    *("_annotation", "_parents", "_op", "_replace", "_keep", "_extra"),
)
SPECIAL = (
    *("__class__", "__dict__", "__doc__", "__module__", "__weakref__", "__slots__", "__init__"),
    *("__array_priority__", "__hash__", "__reduce__", "__del__", "backward", "_apply"),
)
METHODS = ("relu", "tanh", "exp", "log", "sqrt", "sin", "local_grads", "sorted_nodes", "zero")
DUNDERS = (
    *("__str__", "__repr__", "__hash__", "__bool__", "__float__", "__int__", "__index__"),
    *("__neg__", "__abs__", "__reduce__", "__sizeof__", "__dir__", "__copy__", "__round__"),
    *("__trunc__", "__floor__", "__getstate__", "__iter__", "__len__"),
)

TEXTS = (
    *("", " ", "x", "a" * 5000, "\0", "a\0b", "\ud800", "\\", "a\\", '"', "'", "<b>", "<<b>>"),
    *("<lambda>", "</svg>", "&amp;", "|", "{}", "{0}", "%s", "\n", "\r\n", "\t", "\x1b[31m"),
    *("\u202e", "ü", "Δ", "😀", "a/b", "../x", "javascript:1", "]]>", "-->", "$", "\x7f", "\u2028"),
)
PATHS = (
    *("g.svg", "g.dot", "g.gv", "page.html", "", ".", "..", "/", "a\0b.dot", "x" * 300 + ".dot"),
    *("\ud800.dot", "ü.dot", "no/such/g.dot", "folder", "folder.dot", "link.dot", "loop.dot"),
    *("readonly/g.dot", "file.dot/g.dot", "g.", "g", ".dot", "~/g.dot", "g.exe", "dangling.dot"),
    *(" .dot", "a\nb.dot", "-.dot", "net.safetensors", "old.dot"),
)


class Doubled(cr.Node):
    """A user's node with its own local gradient."""

    def __init__(self, x: Any) -> None:
        super().__init__(2 * x.data, (x,))
        self.note = "mine"

    def _local_grad(self, parent: cr.Node) -> float:
        return 2.0


class Bare(cr.Node):
    """A user's node that does nothing of what it should."""

    def __init__(self) -> None:
        pass


class Slotted(cr.Node):
    """A user's node with slots, and a bad local gradient."""

    __slots__ = ("extra",)

    def _local_grad(self, parent: cr.Node) -> Any:
        return "no number"


class Odd:
    """An object whose every conversion fails or surprises."""

    def __float__(self) -> float:
        raise ValueError("no float")

    def __eq__(self, other: object) -> Any:
        raise KeyError("no comparison")

    def __hash__(self) -> int:
        return 0

    def __fspath__(self) -> Any:
        return 3.5


def cyclic(x: Any) -> Any:
    """A node that refers to what is computed from it."""
    node: Any = Doubled(x)
    node.cache = node * x + 1.0
    return node


def _backward(x: Any) -> None:
    x.backward()


def _order(x: Any) -> None:
    x.sorted_nodes()


def _pull(y: Any, x: Any) -> Any:
    return x * 3.0


class Sequence:
    """A sequence of steps on a pool of objects.

    Args:
        seed: of the steps.
        folder: for files.
        show: called with each step before it is taken.
    """

    def __init__(self, seed: int, folder: Path, show: Callable[[str], object]) -> None:
        self.random = Random(f"sequence {seed}")
        self.folder = folder
        self.show = show
        self.corrupting = self.random.random() < 0.5
        self.pool: list[Any] = []
        self.raised: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self.prepare()

    def prepare(self) -> None:
        """Nodes of every kind, and other objects of the package."""
        x, y, z = cr.Node(2.0, name="x"), cr.Node(-0.5), cr.Node(0.0, name="z")
        user = cr.Operation("triple", lambda a: 3.0 * a, [lambda y, a: 3.0])
        self.pool = [x, y, z, x * y, x + 1.0, 2.0 / y, y.relu(), x.tanh(), x**2.0, x**y, z.exp()]
        self.pool += [crmath.fma(x, y, z), crmath.fsum([x, y, z, x]), crmath.log(z), x % 3.0]
        self.pool += [Doubled(x), Bare(), user(x), user, np.array([x, y, x * z])]
        slotted = Slotted(1.0, (x,))
        self.pool += [slotted, cr.Node.__new__(cr.Node), cr.Node(1.0, (x, y))]
        with cr.group("layer"), cr.record_lines():
            self.pool.append(x * x + y)
        if self.random.random() < 0.1:
            self.pool.append(cr.compile(lambda a: a * a if a > 1 else a))
        if self.random.random() < 0.2:
            self.pool += [rules.add, rules.tanh, rules.fsum]

    def run(self) -> None:
        """Take some steps."""
        steps = [self.get, self.set, self.set, self.delete, self.delete, self.operate, self.call]
        steps += [self.backward, self.duplicate, self.make, self.draw, self.save, self.again]
        steps += [self.close, self.collect, self.meanwhile, self.inside]
        for _ in range(self.random.randint(4, 14)):
            self.attempt(self.random.choice(steps))
        for x in list(self.pool):
            self.show(f"repr and backward of {type(x).__name__}")
            for use in (repr, str, _backward, _order):
                self.guarded(functools.partial(use, x))
        self.show("free everything")
        self.pool.clear()
        gc.collect()

    def attempt(self, step: Callable[[], tuple[str, Callable[[], Any]]]) -> None:
        """Show a step, take it, and keep what it gives."""
        text, action = step()
        self.show(text)
        found = self.guarded(action)
        if found is not None and len(self.pool) < 60 and not isinstance(found, (str, float, int)):
            self.pool.append(found)

    def guarded(self, action: Callable[[], Any]) -> Any:
        """The result, or None if it raised what it may."""
        try:
            return action()
        except ALLOWED as error:
            self.raised[type(error).__name__] += 1
        except BaseException as error:
            if not (isinstance(error, AssertionError) and self.corrupting):
                self.problems.append("".join(traceback.format_exception(error)[-3:]))
        return None

    # Things

    def node(self) -> Any:
        """Any object of the pool."""
        return self.random.choice(self.pool)

    def attribute(self) -> str:
        """A name; the engine's own ones only in some sequences."""
        kind = self.random.random()
        if kind < 0.5:
            return self.random.choice(PUBLIC)
        if kind < 0.75 and self.corrupting:
            return self.random.choice(INTERNAL)
        if kind < 0.85:
            return self.random.choice(SPECIAL)
        if kind < 0.95:
            return self.random.choice((*PUBLIC, *METHODS, "value", "local_grads", "symbol", "code"))
        return self.random.choice(TEXTS) or "x"

    def value(self) -> Any:
        """Anything at all."""
        random = self.random
        plain: list[Any] = [None, True, 0, -1, 2**70, 10**400, 0.0, -0.0, 1.5, float("nan")]
        plain += [float("inf"), 1j, b"x", [], (), {}, set(), object, len, Odd(), Ellipsis]
        plain += [
            np.float64(2.0),
            np.float32(0.5),
            np.int64(3),
            np.array([1.0, 2.0]),
            np.array(2.0),
        ]
        plain += [decimal.Decimal("1.5"), fractions.Fraction(1, 3), lambda *_: 1.0, _pull, type]
        kind = random.random()
        if kind < 0.5:
            return random.choice(plain)
        if kind < 0.65:
            return random.choice(TEXTS)
        if kind < 0.85:
            return self.node()
        if kind < 0.95:
            return tuple(self.node() for _ in range(random.randint(0, 4)))
        return [self.node(), random.choice(plain)]

    # Steps

    def get(self) -> tuple[str, Callable[[], Any]]:
        """Read an attribute."""
        x, name = self.node(), self.attribute()
        return f"{type(x).__name__}.{name!r}", lambda: getattr(x, name)

    def set(self) -> tuple[str, Callable[[], Any]]:
        """Assign to one."""
        x, name, value = self.node(), self.attribute(), self.value()
        return (
            f"{type(x).__name__}.{name!r} = {type(value).__name__}",
            lambda: setattr(x, name, value),
        )

    def delete(self) -> tuple[str, Callable[[], Any]]:
        """Delete one."""
        x, name = self.node(), self.attribute()
        return f"del {type(x).__name__}.{name!r}", lambda: delattr(x, name)

    def operate(self) -> tuple[str, Callable[[], Any]]:
        """An operator or a comparison."""
        x, y = self.node(), self.value()
        if self.random.random() < 0.5:
            x, y = y, x
        name = self.random.choice(("+", "-", "*", "/", "**", "%", "//", "<", "==", "!=", ">=", "&"))
        return (
            f"{type(x).__name__} {name} {type(y).__name__}",
            lambda: eval(f"x {name} y", {"x": x, "y": y}),
        )

    def call(self) -> tuple[str, Callable[[], Any]]:
        """A method, a function, a format, a transformation."""
        x = self.node()
        kind = self.random.random()
        if kind < 0.4:
            name = self.random.choice((*METHODS, *DUNDERS))
            return f"{type(x).__name__}.{name}()", lambda: getattr(x, name)()
        if kind < 0.6:
            function = self.random.choice(crmath.__all__)
            args = [self.value() for _ in range(self.random.choice((1, 1, 2, 3)))]
            return (
                f"math.{function}({', '.join(type(a).__name__ for a in [x, *args[1:]])})",
                lambda: getattr(crmath, function)(x, *args[1:]),
            )
        if kind < 0.7:
            y = self.value()
            return f"_local_grad({type(y).__name__})", lambda: x._local_grad(y)
        if kind < 0.8:
            text = self.random.choice((".3f", "", "x", "{}", ">10", "\0", "d", ".99999f", "🙂"))
            return f"format({type(x).__name__}, {text!r})", lambda: format(x, text)
        if kind < 0.9:
            value = self.value()
            return f"{type(x).__name__}({type(value).__name__})", lambda: x(value)
        f = self.random.choice((cr.grad, cr.hessian, cr.jacfwd, cr.jacrev))
        return f"{f.__name__} over {type(x).__name__}", lambda: f(lambda a: a * x)(2.0)

    def backward(self) -> tuple[str, Callable[[], Any]]:
        """Backpropagate, perhaps from an odd seed."""
        x, seed = self.node(), self.value()
        if self.random.random() < 0.5:
            return f"{type(x).__name__}.backward()", lambda: x.backward()
        return f"{type(x).__name__}.backward({type(seed).__name__})", lambda: x.backward(seed)

    def duplicate(self) -> tuple[str, Callable[[], Any]]:
        """Copy or pickle."""
        x = self.node()
        kind = self.random.randrange(4)
        if kind == 0:
            return f"copy of {type(x).__name__}", lambda: copy.copy(x)
        if kind == 1:
            return f"deepcopy of {type(x).__name__}", lambda: copy.deepcopy(x)
        protocol = self.random.randrange(6)
        if kind == 2:
            return (
                f"pickle of {type(x).__name__} by protocol {protocol}",
                lambda: pickle.loads(pickle.dumps(x, protocol)),
            )
        cut = self.random.random()
        return f"pickle of {type(x).__name__}, cut", lambda: self.broken_pickle(x, cut)

    def broken_pickle(self, x: Any, cut: float) -> Any:
        """A pickle that ends too early."""
        data = pickle.dumps(x)
        try:
            return pickle.loads(data[: int(cut * len(data))])
        except (EOFError, IndexError):
            return None

    def make(self) -> tuple[str, Callable[[], Any]]:
        """Make a node of anything."""
        kinds = (cr.Node, cr.Node, Doubled, Slotted, cr.BinaryOpNode, cr.ReLUNode, cr.TanhNode)
        kind = self.random.choice((*kinds, cr.PowOp, cr.OperationNode, cr.Operation))
        args = [self.value() for _ in range(self.random.choice((0, 1, 2, 3, 3, 4)))]
        text = ", ".join(type(a).__name__ for a in args)
        if self.random.random() < 0.2:
            return f"{kind.__name__}.__new__({kind.__name__})", lambda: kind.__new__(kind)
        return f"{kind.__name__}({text})", lambda: kind(*args)

    def again(self) -> tuple[str, Callable[[], Any]]:
        """Initialize something once more."""
        x, args = self.node(), [self.value() for _ in range(self.random.randint(0, 3))]
        if self.random.random() < 0.5:
            other = self.node()
            return (
                f"{type(other).__name__}.__init__ on {type(x).__name__}",
                lambda: type(other).__init__(x, *args),
            )
        return f"{type(x).__name__}.__init__ again", lambda: x.__init__(*args)

    def close(self) -> tuple[str, Callable[[], Any]]:
        """Make a cycle: of a user's node, or of an operation's function."""
        x = self.node()
        if self.random.random() < 0.5:
            return f"a cycle of {type(x).__name__}", lambda: cyclic(x)
        kept: list[Any] = []
        own = cr.Operation("own", lambda a: a + 1.0, [lambda y, a: 1.0 + len(kept)])
        return f"a cycle of an operation of {type(x).__name__}", lambda: kept.append(own(x))

    def collect(self) -> tuple[str, Callable[[], Any]]:
        """Collect cycles, after some objects are dropped."""
        for _ in range(self.random.randint(0, 3)):
            if len(self.pool) > 5:
                del self.pool[self.random.randrange(len(self.pool))]
        return "collect", lambda: gc.collect(self.random.randrange(3)) and None

    def meanwhile(self) -> tuple[str, Callable[[], Any]]:
        """Two threads on the same objects."""
        first, second = self.random.sample([self.operate, self.call, self.backward, self.set], 2)
        (text, action), (other_text, other) = first(), second()

        def both() -> None:
            thread = threading.Thread(target=lambda: self.guarded(other))
            thread.start()
            self.guarded(action)
            thread.join()

        return f"{text} meanwhile {other_text}", both

    def inside(self) -> tuple[str, Callable[[], Any]]:
        """Something in a context, or in a local gradient in the middle of a pass."""
        step = self.random.choice(
            [self.operate, self.call, self.backward, self.set, self.duplicate]
        )
        text, action = step()
        contexts: list[Any] = [
            cr.detect_anomaly,
            cr.record_lines,
            cr.domain_errors,
            lambda: cr.group("g"),
        ]
        if self.random.random() < 0.5:
            context = self.random.choice(contexts)

            def run() -> Any:
                with context():
                    return action()

            return f"{text} in a context", run
        x = self.node()
        own = cr.Operation("own", lambda a: a, [lambda y, a: 1.0 if self.guarded(action) else 2.0])
        return f"{text} in a pass over {type(x).__name__}", lambda: (own(x) * x).backward()

    def draw(self) -> tuple[str, Callable[[], Any]]:
        """Draw, with odd options, names and groups."""
        x, text = self.node(), self.random.choice(TEXTS)
        kind = self.random.randrange(4)
        if kind == 0:
            return f"draw_graph of {type(x).__name__}", lambda: cr.draw_graph(x).source
        if kind == 1:
            options = {
                self.random.choice(
                    ("format", "direction", "data_format", "fold", "max_depth", "max_nodes")
                ): self.value()
            }
            return (
                f"draw_graph of {type(x).__name__}, {list(options)}",
                lambda: cr.draw_graph(x, local_grads=True, **options).source,
            )
        if kind == 2:
            return f"trace of {type(x).__name__}", lambda: cr.trace(x)
        return f"a group named {text!r}", lambda: self.in_group(x, text)

    def in_group(self, x: Any, text: str) -> Any:
        """A node in a group and with a name of this text, drawn."""
        with cr.group(text):
            y = cr.Node(1.0, name=text) * x
        self.guarded(lambda: cr.draw_graph(y, color=True).source)
        if self.random.random() < 0.03:
            self.guarded(lambda: cr.draw_graph(y).pipe("svg"))
        return y

    def save(self) -> tuple[str, Callable[[], Any]]:
        """Write to, or read from, an odd path."""
        x = self.random.choice([x for x in self.pool if isinstance(x, cr.Node)] or [self.node()])
        name: Any = self.random.choice(PATHS)
        path: Any = name if os.path.isabs(name) or not name else str(self.folder / name)
        kind = self.random.random()
        if kind < 0.1:
            path = self.value()
        elif kind < 0.2:
            path = os.fsencode(path.replace("\ud800", ""))
        elif kind < 0.3:
            path = Path(path)
        shown = repr(path) if isinstance(path, (str, bytes, Path)) else type(path).__name__
        if kind < 0.7 and not (isinstance(path, str) and path.endswith((".svg", ".png", ".pdf"))):
            return f"save a picture to {shown}", lambda: cr.draw_graph(x).save(path)
        if kind < 0.8:
            return f"explore to {shown}", lambda: cr.explore(x, path)
        if kind < 0.9:
            model = cr.nn.MLP(1, [1], seed=0)
            return f"save a network to {shown}", lambda: cr.nn.save(model, path)
        return f"load a network from {shown}", lambda: cr.nn.load(path)


def prepare(folder: Path) -> None:
    """Folders, links and files of all kinds to write to."""
    for name in ("folder", "folder.dot", "readonly"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "file.dot").write_text("digraph {}")
    (folder / "old.dot").write_text("old")
    (folder / "net.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (folder / "readonly").chmod(0o500)
    for link, target in (("link.dot", "old.dot"), ("loop.dot", "loop.dot"), ("dangling.dot", "no")):
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(target)


def leftovers(folder: Path) -> list[str]:
    """Temporary files that a failed write left behind."""
    kept = {"folder", "folder.dot", "readonly", "file.dot", "old.dot", "net.safetensors", "~"}
    kept |= {"graph.svg", "link.dot", "loop.dot", "dangling.dot", "no", *PATHS}
    return sorted(x.name for x in folder.iterdir() if x.name not in kept)


def one(seed: int, show: Callable[[str], object]) -> tuple[dict[str, int], list[str]]:
    """Run a sequence in this process: what was raised, and what was wrong."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        os.chdir(folder)
        sequence = Sequence(seed, folder, show)
        sequence.run()
        problems = sequence.problems
        left = leftovers(folder)
        if left:
            problems.append(f"left behind: {left}")
        (folder / "readonly").chmod(0o700)
        os.chdir("/")
    return dict(sequence.raised), problems


def in_child(seed: int, out: int) -> str:
    """Run a sequence in a child process; "" or how it died.

    Where there are no forks it runs in this one.
    """
    if not hasattr(os, "fork"):
        return "wrong exception" if one(seed, lambda _: None)[1] else ""
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        code = 1
        try:
            _, problems = one(seed, lambda _: None)
            code = 0
            if problems:
                os.write(out, f"seed {seed}:\n{problems[0]}\n".encode(errors="replace"))
                code = 3
        except BaseException:
            os.write(out, f"seed {seed}:\n{traceback.format_exc()}\n".encode(errors="replace"))
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return "hangs" if name == "SIGALRM" else name
    code = os.waitstatus_to_exitcode(status)
    return "" if code == 0 else "wrong exception" if code == 3 else "the fuzzer itself fails"


def steps_of(seed: int) -> list[str]:
    """The steps of a sequence up to its end, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "replay", str(seed)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout.splitlines()


def main() -> None:
    """See the module."""
    if sys.argv[1] == "replay":
        raised, problems = one(
            int(sys.argv[2]), lambda text: print(ascii(text), file=sys.stdout, flush=True)
        )
        print(raised, *problems, sep="\n")
        return
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    deaths = collections.Counter[str]()
    cr.draw_graph(cr.Node(1.0) * 2.0)  # loaded once, before the forks
    cr.explore(cr.Node(1.0) * 2.0)
    cr.nn.MLP(1, [1], seed=0)
    cr.grad(lambda x: x)(1.0)
    cr.compile  # noqa: B018
    for seed in range(first, first + count):
        how = in_child(seed, 1)
        if how:
            deaths[how] += 1
            print(f"seed {seed}: {how}", flush=True)
            if deaths[how] <= 5 and how != "wrong exception":
                for line in steps_of(seed)[-4:]:
                    print("   ", line, flush=True)
    print(f"{count} sequences:", dict(deaths) or "no crash")
    raise SystemExit(bool(deaths))


if __name__ == "__main__":
    main()
