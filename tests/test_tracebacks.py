"""Tracebacks and warnings show the user's lines, and none of the package's."""

from __future__ import annotations

import builtins
import inspect
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import chainrule
from chainrule import Node, Operation, math, nn
from chainrule.tracebacks import SWITCH

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python 3.10 keeps the frames of what is raised again"
)

HERE = Path(__file__).name
X, Y = np.linspace(-1.0, 1.0, 8).reshape(4, 2), np.zeros(4)


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the other tests set."""
    monkeypatch.delenv(SWITCH, raising=False)


def modules_of(traceback_: TracebackType | None) -> list[str]:
    """The modules whose frames are in a traceback."""
    found = []
    while traceback_ is not None:
        found.append(traceback_.tb_frame.f_globals["__name__"])
        traceback_ = traceback_.tb_next
    return found


def own(names: list[str]) -> list[str]:
    """Those of the package."""
    return [name for name in names if name.split(".")[0] == "chainrule"]


def error_of(call: Callable[[], Any]) -> BaseException:
    """The exception that a call raises."""
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it should have raised")


# Each public function with something it refuses: the name, and the call.
REFUSED: dict[str, Callable[[], Any]] = {
    "Explorer": lambda: chainrule.explore(Node(1.0)).save("page.txt"),
    "Node": lambda: Node("a"),  # type: ignore[arg-type]
    "Operation": lambda: Operation("", lambda x: x, []),
    "Recording": lambda: chainrule.Recording([1.0]),  # type: ignore[list-item]
    "TrainingSet": lambda: chainrule.TrainingSet([], Node(1.0), []),
    "array": lambda: chainrule.array("a"),
    "check_grads": lambda: chainrule.check_grads(lambda x: x, (1.0,), order=0),
    "compile": lambda: chainrule.compile(1),  # type: ignore[call-overload]
    "custom_gradient": lambda: chainrule.custom_gradient(1),  # type: ignore[arg-type]
    "debug_print": lambda: chainrule.debug_print(1),  # type: ignore[arg-type]
    "backward_frames": lambda: chainrule.backward_frames(1),  # type: ignore[arg-type]
    "draw_graph": lambda: chainrule.draw_graph(1),  # type: ignore[arg-type]
    "explore": lambda: chainrule.explore(1),  # type: ignore[arg-type]
    "fixed_point": lambda: chainrule.fixed_point(abs, "a"),
    "group": lambda: chainrule.group(""),
    "grad": lambda: chainrule.grad(1),  # type: ignore[arg-type]
    "hessian": lambda: chainrule.hessian(1),  # type: ignore[arg-type]
    "hvp": lambda: chainrule.hvp(abs, 1.0, (1.0,)),  # type: ignore[arg-type]
    "jacfwd": lambda: chainrule.jacfwd(1),  # type: ignore[arg-type]
    "jacobian": lambda: chainrule.jacobian(1),  # type: ignore[arg-type]
    "jacrev": lambda: chainrule.jacrev(1),  # type: ignore[arg-type]
    "jvp": lambda: chainrule.jvp(abs, 1.0, (1.0,)),  # type: ignore[arg-type]
    "minimize_scalar": lambda: chainrule.minimize_scalar(abs),
    "root": lambda: chainrule.root(abs, bracket=(1.0, 2.0)),
    "segment_sum": lambda: chainrule.segment_sum([1.0], []),
    "stop_gradient": lambda: chainrule.stop_gradient("a"),
    "take": lambda: chainrule.take([1.0], "a"),
    "trace": lambda: chainrule.trace(1),  # type: ignore[arg-type]
    "value_and_grad": lambda: chainrule.value_and_grad(1),  # type: ignore[arg-type]
    "vjp": lambda: chainrule.vjp(abs, "a"),
    "vmap": lambda: chainrule.vmap(1),  # type: ignore[arg-type]
    "zero_grad": lambda: chainrule.zero_grad([1.0]),
    "Program": lambda: chainrule.Program.load("missing.json"),
    "nn.Adam": lambda: nn.Adam(-1.0),
    "nn.AdamW": lambda: nn.AdamW(-1.0),
    "nn.Constant": lambda: nn.Constant(-1.0),
    "nn.Cosine": lambda: nn.Cosine(-1.0, 2),
    "nn.Layer": lambda: nn.Layer(0, 1),
    "nn.MLP": lambda: nn.MLP(1, []),
    "nn.Neuron": lambda: nn.Neuron([]),
    "nn.Predictor": lambda: nn.Predictor(1),  # type: ignore[arg-type]
    "nn.SGD": lambda: nn.SGD(-1.0),
    "nn.Step": lambda: nn.Step(-1.0, 2),
    "nn.WarmUp": lambda: nn.WarmUp(0, 1.0),
    "nn.binary_cross_entropy": lambda: nn.binary_cross_entropy([1.0], [1.0, 2.0]),
    "nn.cross_entropy": lambda: nn.cross_entropy([1.0, 2.0], 5),
    "nn.fit": lambda: nn.fit(1, X, Y),  # type: ignore[arg-type]
    "nn.hinge": lambda: nn.hinge([1.0], [1.0, 2.0]),
    "nn.huber": lambda: nn.huber(-1.0),
    "nn.load": lambda: nn.load("missing.safetensors"),
    "nn.load_weights": lambda: nn.load_weights(nn.MLP(1, [1]), "missing.safetensors"),
    "nn.mean_squared_error": lambda: nn.mean_squared_error([1.0], [1.0, 2.0]),
    "nn.plot_fit": lambda: nn.plot_fit(nn.MLP(2, [1]), X, Y),
    "nn.plot_loss": lambda: nn.plot_loss(1),  # type: ignore[arg-type]
    "nn.plot_network": lambda: nn.plot_network(1),  # type: ignore[arg-type]
    "nn.plot_regions": lambda: nn.plot_regions(nn.MLP(1, [1]), X[:, :1], Y),
    "nn.poisson": lambda: nn.poisson([1.0], [1.0, 2.0]),
    "nn.predict": lambda: nn.predict(1, X),  # type: ignore[arg-type]
    "nn.save": lambda: nn.save(1, "x.safetensors"),  # type: ignore[arg-type]
}
METHODS: dict[str, Callable[[], Any]] = {
    "BinaryOpNode": lambda: chainrule.BinaryOpNode(Node(1.0), Node(1.0), "@"),
    "PowOp": lambda: chainrule.PowOp(Node(1.0), "a"),  # type: ignore[arg-type]
    "ReLUNode": lambda: chainrule.ReLUNode(1.0),  # type: ignore[arg-type]
    "TanhNode": lambda: chainrule.TanhNode(1.0),  # type: ignore[arg-type]
    "angle": lambda: Node(1.0).arctan2("a"),
    "backward": lambda: Node(1.0).backward("a"),  # type: ignore[arg-type]
    "comparison": lambda: Node(1.0) < np.ma.array([1.0]),
    "compiled": lambda: chainrule.compile(lambda x: x)(object()),
    "data": lambda: setattr(Node(1.0), "data", "a"),
    "data of an operation": lambda: setattr(Node(1.0) * 2.0, "data", 1.0),
    "float": lambda: float(Node(1.0)),
    "function of NumPy": lambda: np.exp(Node(1.0), 2),  # type: ignore[call-overload]
    "grad": lambda: setattr(Node(1.0), "grad", "a"),
    "gradient": lambda: chainrule.grad(lambda x: (x, x))(1.0),
    "lanes": lambda: chainrule.vmap(lambda x: x)(1.0),
    "matrix": lambda: chainrule.jacobian(lambda x: "a")(1.0),
    "local gradient": lambda: Node(1.0)._local_grad(Node(2.0)),
    "model": lambda: nn.MLP(2, [1])([1.0]),
    "name": lambda: setattr(Node(1.0), "name", 1),
    "neuron": lambda: nn.Neuron([1.0])([]),
    "node of a traced value": lambda: chainrule.grad(float)(1.0),
    "operation": lambda: odd("a"),
    "operator": lambda: Node(1.0) + "a",
    "operator, swapped": lambda: "a" - Node(1.0),
    "parents": lambda: setattr(Node(1.0), "_parents", 1.0),
    "programs": lambda: chainrule.compile(lambda x: x).programs(),
    "pull back": lambda: chainrule.vjp(lambda x: x, 1.0)[1]([1.0]),
    "record": lambda: chainrule.Recording().record(1.0),
    "rounding": lambda: round(Node(1.0), "a"),  # type: ignore[call-overload]
    "save": lambda: chainrule.draw_graph(Node(1.0)).save("no/picture.svg"),
    "step": lambda: nn.SGD(0.1).update(np.zeros(2), np.zeros(3)),
    "subclass of an operation": lambda: type("Mine", (chainrule.PowOp,), {}),
    "tape": lambda: chainrule.compile(lambda x: x).tape(),
    "whole number": lambda: round(Node(1.0)) % 0,
}
SILENT = {
    *("BinaryOpNode", "CompileError", "OperationNode", "PowOp", "ReLUNode", "TanhNode"),
    *("TracedValueError", "build_info", "detect_anomaly", "domain_errors", "record_lines"),
    *("BranchWarning", "NodeArray"),
    *("nn.DivergenceError", "nn.History", "nn.Module", "nn.Optimizer", "nn.SavedFileError"),
    "nn.ungrouped",
}


def test_every_public_function_is_in_the_table() -> None:
    """But those that refuse nothing, and the classes of what others make."""
    public = [name for name in chainrule.__all__ if callable(getattr(chainrule, name))]
    public += [f"nn.{name}" for name in nn.__all__ if callable(getattr(nn, name))]
    assert set(public) == SILENT | set(REFUSED)


@pytest.mark.parametrize("name", [n for n in math.__all__ if callable(getattr(math, n))])
def test_functions_of_chainrule_math(name: str) -> None:
    """Whatever they refuse."""
    function = getattr(math, name)
    count = len(inspect.signature(function).parameters) if inspect.isfunction(function) else 1
    error = error_of(lambda: function(*["a"] * (min(count, 2) if name != "clip" else 3)))
    assert not own(modules_of(error.__traceback__))
    assert traceback.extract_tb(error.__traceback__)[-1].name == "<lambda>"


@pytest.mark.parametrize("name", [*REFUSED, *METHODS])
def test_refusals_end_at_the_users_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line is that of the call; what is above it is the test's as well."""
    monkeypatch.chdir(tmp_path)
    error = error_of((REFUSED | METHODS)[name])
    assert not own(modules_of(error.__traceback__))
    if name not in ("nn.plot_loss", "nn.plot_fit", "nn.load", "nn.load_weights"):
        assert traceback.extract_tb(error.__traceback__)[-1].name == "<lambda>"


def fails(x: Any) -> Any:
    """A user's function that raises below another one."""
    return inner(x * 2.0)


def inner(x: Any) -> Any:
    """Where it does."""
    raise LookupError("the user's")


odd: Any = Operation("odd", lambda x: x, [lambda y, x: inner(x)])


picky = Operation("picky", lambda x: x if x > 0 else inner(x), [lambda y, x: 1.0])


class Model(nn.Module):
    """A model that raises."""

    def __init__(self) -> None:
        self.weight = Node(1.0)

    def __call__(self, *x: Any) -> Any:
        """Raise."""
        return inner(x)


RAISING: dict[str, Callable[[], Any]] = {
    "grad": lambda: chainrule.grad(fails)(1.0),
    "value_and_grad": lambda: chainrule.value_and_grad(fails)(1.0),
    "jvp": lambda: chainrule.jvp(fails, (1.0,), (1.0,)),
    "vjp": lambda: chainrule.vjp(fails, 1.0),
    "hvp": lambda: chainrule.hvp(fails, (1.0,), (1.0,)),
    "hessian": lambda: chainrule.hessian(fails)(1.0),
    "jacfwd": lambda: chainrule.jacfwd(fails)(1.0),
    "jacrev": lambda: chainrule.jacrev(fails)(1.0),
    "jacobian, sparse": lambda: chainrule.jacobian(fails, sparse=True)(np.ones(2)),
    "vmap": lambda: chainrule.vmap(fails)(np.ones(2)),
    "compile": lambda: chainrule.compile(fails)(1.0),
    "compile a vmap": lambda: chainrule.compile(chainrule.vmap(chainrule.grad(fails)))(np.ones(2)),
    "compile a mean": lambda: chainrule.compile(chainrule.vmap(fails, reduce="mean"))(np.ones(2)),
    "custom_gradient": lambda: chainrule.custom_gradient(fails)(Node(1.0)),
    "check_grads": lambda: chainrule.check_grads(fails, (1.0,)),
    "backward": lambda: odd(Node(1.0)).backward(),
    "detecting": lambda: detecting(lambda: odd(Node(1.0)).backward()),
    "detecting, compiled": lambda: detecting(lambda: chainrule.compile(fails)(1.0)),
    "derivative of an operation": lambda: chainrule.grad(odd)(1.0),
    "compiled operation": lambda: chainrule.compile(chainrule.vmap(picky))(np.array([1.0, -1.0])),
    "compiled derivative of one": lambda: chainrule.compile(chainrule.grad(odd))(1.0),
    "local gradients": lambda: chainrule.draw_graph(odd(Node(1.0)), local_grads=True),
    "explore": lambda: chainrule.explore(odd(Node(1.0))),
    "fit": lambda: nn.fit(Model(), X, Y),
    "fit, not compiled": lambda: nn.fit(Model(), X, Y, compile=False),
    "callback": lambda: nn.fit(nn.MLP(2, [1]), X, Y, callbacks=[lambda h, m: inner(h)]),
    "predict": lambda: nn.predict(Model(), X),
    "predict, not compiled": lambda: nn.predict(fails, X, compile=False),
}


def detecting(call: Callable[[], Any]) -> None:
    """A call where anomalies are looked for."""
    with chainrule.detect_anomaly():
        call()


@pytest.mark.parametrize("name", RAISING)
def test_what_a_users_function_raises(name: str) -> None:
    """The traceback goes from the user's call to the user's function, and shows nothing else."""
    error = error_of(RAISING[name])
    assert isinstance(error, LookupError)
    frames = traceback.extract_tb(error.__traceback__)
    assert {Path(frame.filename).name for frame in frames} == {HERE}
    assert [frame.name for frame in frames[:2]] == ["error_of", "<lambda>"]
    assert frames[-1].name == "inner"


def test_nested_transformations() -> None:
    """Each level shows the user's line that called the next, once."""

    def middle(x: Any) -> Any:
        return chainrule.compile(chainrule.grad(fails))(x)

    error = error_of(lambda: chainrule.compile(chainrule.vmap(chainrule.grad(middle)))(np.ones(2)))
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names == ["error_of", "<lambda>", "middle", "fails", "inner"]


def test_causes_and_contexts() -> None:
    """The exceptions behind an exception have no frames of the package either."""

    def caused(x: Any) -> Any:
        try:
            return chainrule.grad(fails)(x)
        except LookupError as error:
            raise RuntimeError("caused") from error

    def while_handled(x: Any) -> Any:
        try:
            return caused(x)
        except RuntimeError:
            return float(x)

    with ThreadPoolExecutor(1) as fresh:  # where nothing is being handled
        found = fresh.submit(error_of, lambda: chainrule.jacfwd(while_handled)(1.0))
    error: BaseException | None = found.result()
    kinds = []
    while error is not None:
        kinds.append(type(error).__name__)
        assert not own(modules_of(error.__traceback__))
        error = error.__context__
    assert kinds == ["TracedValueError", "RuntimeError", "LookupError"]


class ValidationError(Exception):
    """A user's error that calls something else of its own ``exceptions``."""

    exceptions: Any = 3


class Expanding(Exception):
    """One that makes what it calls ``exceptions`` when it is asked."""

    @property
    def exceptions(self) -> list[Expanding]:
        """Another one, each time."""
        return [Expanding()]


@pytest.mark.parametrize("kind", [ValidationError, Expanding])
def test_errors_with_an_attribute_called_exceptions(kind: type[Exception]) -> None:
    """They come as they are: these are no parts of a group."""

    def failing(x: Any) -> Any:
        raise kind("mine")

    error = error_of(lambda: chainrule.grad(failing)(1.0))
    assert type(error) is kind
    assert not own(modules_of(error.__traceback__))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups of exceptions")
def test_groups_of_exceptions() -> None:
    """The exceptions in a group have no frames of the package either."""
    group = getattr(builtins, "ExceptionGroup")  # noqa: B009

    def grouped(x: Any) -> Any:
        try:
            return chainrule.grad(fails)(x)
        except LookupError as error:
            raise group("several", [error, group("more", [error])]) from None

    error: Any = error_of(lambda: chainrule.grad(grouped)(1.0))
    parts = [error, *error.exceptions, *error.exceptions[1].exceptions]
    assert [type(part).__name__ for part in parts] == [
        "ExceptionGroup", "LookupError", "ExceptionGroup", "LookupError",
    ]  # fmt: skip
    assert not any(own(modules_of(part.__traceback__)) for part in parts)


def test_endless_recursion_through_transformations() -> None:
    """Where there is no room left to filter at the bottom, it is done further out."""

    def endless(x: Any) -> Any:
        return chainrule.grad(endless)(x)

    error = error_of(lambda: chainrule.grad(endless)(1.0))
    assert isinstance(error, RecursionError)
    assert not own(modules_of(error.__traceback__))


@pytest.mark.parametrize("name", ["jvp", "compile a vmap", "backward", "fit"])
def test_the_switch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CHAINRULE_TRACEBACKS=full keeps every frame, the engine's too, in files that are there."""
    monkeypatch.setenv(SWITCH, "full")
    error = error_of(RAISING[name])
    assert own(modules_of(error.__traceback__))
    for frame in traceback.extract_tb(error.__traceback__):
        assert os.path.exists(frame.filename) or frame.filename.startswith("<"), frame.filename
        assert os.path.isabs(frame.filename) or frame.filename.startswith("<"), frame.filename


def test_signatures_and_docstrings_are_those_of_the_functions() -> None:
    """What stands between the user and a function does not show."""
    assert str(inspect.signature(chainrule.grad)).startswith("(f: ")
    assert (chainrule.vmap.__name__, chainrule.vmap.__module__) == ("vmap", "chainrule.lanes")
    assert nn.fit.__doc__ is not None
    assert nn.fit.__doc__.startswith("Train a model")


def stops(history: nn.History, model: nn.Module) -> None:
    """A callback that interrupts."""
    raise KeyboardInterrupt


def test_warnings_name_the_users_line() -> None:
    """Whatever lies between."""
    far = chainrule.compile(lambda x: 1.0 if x > 0 else -x, max_traces=1, rewrite=False)
    over = chainrule.compile(chainrule.vmap(lambda x: x.sum()))
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones(2), np.ones(3)]
    far(1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        far(-1.0)
        over(ragged)
        nn.fit(nn.MLP(2, [1]), X, Y, callbacks=[stops])
    assert len(caught) == 3
    assert {Path(str(warning.filename)).name for warning in caught} == {HERE}


CELLS = (
    "from chainrule import *\nfrom chainrule.math import log",
    "def f(x):\n    return log(x) + float(x)",
    "grad(f)(1.0)",
    "with record_lines():\n    y = log(Node(1.0))\nprint(y.line)",
    "with detect_anomaly():\n\n    log(Node(0.0))",
    "print('cell In[4], line 2  y = log(Node(1.0))' in explore(y).html)",
)


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore")
def test_a_notebook() -> None:
    """Its traceback shows the cells alone, and messages call them as it does."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute()
    (failed,) = cells[2].outputs
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(failed["traceback"]))
    assert re.findall(r"^(?:Cell|File) \S+", text, re.MULTILINE) == ["Cell In[3],", "Cell In[2],"]
    assert "chainrule/" not in text
    assert "float() of a traced value at cell In[2], line 2: " in text
    assert cells[3].outputs[0]["text"] == "cell In[4], line 2\n"
    assert cells[5].outputs[0]["text"] == "True\n"
    assert "log(0) = -inf at cell In[5], line 3" in cells[4].outputs[0]["evalue"]


def test_code_without_lines() -> None:
    """An interrupt may fall on an instruction that is of no line: it stays what it is."""

    def interrupted(x: Any) -> Any:
        raise KeyboardInterrupt

    code = interrupted.__code__  # 0xff says of eight instructions that they have no line
    interrupted.__code__ = code.replace(co_linetable=b"\xff" * len(code.co_code))
    for call in (
        lambda: chainrule.grad(interrupted)(1.0),
        lambda: chainrule.compile(interrupted)(1.0),
        lambda: chainrule.vmap(interrupted)(np.ones(2)),
    ):
        found: BaseException | None = None
        try:
            call()
        except BaseException as error:
            found = error.with_traceback(None)  # which pytest can't show
        assert type(found) is KeyboardInterrupt
