"""How training and prediction run a network: as machine code, or eagerly with the same results."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy
from numpy.typing import NDArray

from chainrule import forking, trees
from chainrule.handover import form_of
from chainrule.jit.arguments import leaf_of
from chainrule.jit.session import SampleFunction, Session
from chainrule.jit.trace import collector_paused
from chainrule.keywords import with_nearest_names
from chainrule.leaves import data_of, set_data
from chainrule.node import Node
from chainrule.tracebacks import boundary, warn
from chainrule.tracing import NotCompilable

from .architecture import architecture, built
from .grouping import ungrouped
from .losses import LOSSES, Loss
from .module import Module
from .samples import checked_inputs

Array = NDArray[numpy.float64]
KEPT: Final = 32
"""Programs that are kept for networks of the same architecture."""

KEPT_VALUES: Final = 3_000_000
"""How many values these may have all together; the one used last is kept in any case."""


class Steps(Protocol):
    """Value and gradient of the mean loss over batches of some samples."""

    values: Array

    def step(self, index: Any = None, total: float | None = None) -> tuple[float, Array]:
        """The mean loss over samples and its gradient: see :class:`Session`."""


class EagerSteps:
    """The same as a :class:`Session`, computed on nodes."""

    def __init__(
        self, function: Callable[..., Any], samples: Sequence[Any], parameters: Sequence[Node]
    ) -> None:
        self._function = function
        self._samples = [_plain(array) for array in samples]
        self._parameters = list(parameters)
        self._all = range(len(samples[0]))
        self.values = data_of(self._parameters)

    def step(self, index: Any = None, total: float | None = None) -> tuple[float, Array]:
        """The mean loss over samples and its gradient."""
        chosen = self._all if index is None else index.tolist()
        set_data(self._parameters, self.values)
        mean: Any = 0.0
        with ungrouped():
            for i in chosen:
                mean = mean + _number(self._function(*[array[i] for array in self._samples]))
        mean = mean / (len(chosen) if total is None else total)
        if not isinstance(mean, Node):
            return float(mean), numpy.zeros(len(self._parameters))
        mean.backward()
        return mean.data, numpy.array([node.grad for node in self._parameters])


class SafeSteps:
    """Machine code as long as the function can be compiled; from then on eager, with a warning."""

    def __init__(
        self,
        program: SampleFunction,
        function: Callable[..., Any],
        samples: Sequence[Any],
        parameters: Sequence[Node],
        threads: int | None,
    ) -> None:
        self.program = program
        self._eagerly: Callable[[], Steps] = lambda: EagerSteps(function, samples, parameters)
        self._steps: Steps = Session(program, samples, threads)
        self.values = self._steps.values

    def step(self, index: Any = None, total: float | None = None) -> tuple[float, Array]:
        """The mean loss over samples and its gradient."""
        try:
            return self._steps.step(index, total)
        except NotCompilable as error:
            warn(f"training goes on eagerly: {error}")
            self._steps = self._eagerly()
            self._steps.values = self.values
            return self._steps.step(index, total)


def loss_of_sample(model: Callable[[Any], Any], loss: Loss, weighted: bool) -> Callable[..., Any]:
    """The loss of a model on one sample, which has a weight or none."""

    def loss_of(x: Any, y: Any, *weight: Any) -> Any:
        with ungrouped():
            found = form_of(loss)(form_of(model)(x), y)
            return weight[0] * _number(found) if weighted else found

    return loss_of


def steps_of(
    model: Module,
    loss: Loss,
    samples: Sequence[Any],
    parameters: Sequence[Node],
    threads: int | None,
    program: SampleFunction | None = None,
) -> SafeSteps:
    """What computes the loss of a model and its gradient as machine code.

    Args:
        model: the model.
        loss: of prediction and target.
        samples: inputs, targets, and weights if there are any.
        parameters: those of the model.
        threads: how many to use.
        program: the compiled loss, if it was compiled for other samples of the same kind.
    """
    function = loss_of_sample(model, loss, len(samples) > 2)
    with collector_paused():  # many nodes are made, to stay
        if program is None:
            program = _kept_program(model, loss, samples, parameters)
        if program is None:
            program = SampleFunction(function, samples, parameters)
        return SafeSteps(program, function, samples, parameters, threads)


class Predictor:
    """The outputs of a model for many samples, as machine code that is kept.

    The parameters are read at each call. What else the model uses is read when it is compiled, at
    the first call.

    Args:
        model: a function of one sample, usually a :class:`Module`.
        compile: whether to compile.
        threads: how many to use.
    """

    @with_nearest_names
    def __init__(
        self, model: Callable[[Any], Any], compile: bool = True, threads: int | None = None
    ) -> None:
        if not callable(model):
            raise TypeError(f"Predictor takes a model, not {type(model).__name__}")
        self.model = model
        self._compile = compile
        self._threads = threads
        self._programs: dict[Any, SampleFunction] = {}

    @boundary
    def __call__(self, X: Any) -> Array:
        """The outputs: an array (samples,), or (samples, outputs) if there are several.

        Those in nested lists, arrays and dicts come one after the other, of a dict by sorted keys.

        Raises:
            TypeError: if X holds no numbers or is masked, or an output is none, or is not like that
                of another sample.
            ValueError: if X is empty or not finite, or does not fit the model.
        """
        samples = [checked_inputs(X)]
        parameters = self.model.parameters() if isinstance(self.model, Module) else []
        if self._compile:
            key = tuple(leaf_of(array, 0, False) for array in samples)
            try:
                return self._compiled(key, samples, parameters)
            except NotCompilable as error:
                warn(f"the model runs eagerly: {error}")
                self._compile = False
        return self._eagerly(_plain(samples[0]))

    def _eagerly(self, rows: Any) -> Array:
        results: list[list[float]] = []
        layout: trees.Layout | None = None
        with ungrouped():
            for row in rows:
                outputs, found = trees.flatten(self.model(row), "the output", truths=True)
                if layout is None:
                    layout = found
                elif found != layout:
                    raise TypeError(
                        "the output must have one structure and shape for all samples; it was"
                        f" {layout}, and is {found} for another"
                    )
                results.append([x.data if isinstance(x, Node) else x for x in outputs])
        assert layout is not None
        return _joined(numpy.array(results, dtype=numpy.float64), layout)

    def _compiled(self, key: Any, samples: list[Any], parameters: list[Node]) -> Array:
        program = self._programs.get(key)
        if program is None or program.parameters != parameters:
            program = _kept_program(self.model, None, samples, parameters)
            if program is None:
                program = SampleFunction(self.model, samples, parameters, gradient=False)
                self._programs[key] = program
        session = Session(program, samples, self._threads)
        return _evaluated(session, data_of(parameters))


def _evaluated(session: Session, values: Any) -> Array:
    """What a session of a model gives for some values of the parameters."""
    session.values[:] = values
    rows = session.evaluate()
    assert session.program.layout is not None
    return _joined(rows, session.program.layout)


def _joined(rows: Array, layout: trees.Layout) -> Array:
    """The numbers of all samples, without an axis for them where each has but one."""
    single = layout.structure.is_leaf() and not layout.shapes[0]
    return rows[:, 0] if single else rows


@with_nearest_names
def predict(model: Callable[[Any], Any], X: Any, compile: bool = True) -> Array:
    """The outputs of a model for many samples: see :class:`Predictor`, which keeps the code."""
    return Predictor(model, compile)(X)


def outputs_of(model: Module, X: Any, parameters: list[Node]) -> Callable[[Array], Array]:
    """The outputs of a model for some samples: a function of the parameters' values.

    As long as it is in use the model must not be changed but for these values.
    """
    samples = [checked_inputs(X)]
    session: Session | None = None

    def at(values: Array) -> Array:
        nonlocal session
        try:
            if session is None:
                program = _kept_program(model, None, samples, parameters)
                if program is None:
                    program = SampleFunction(model, samples, parameters, gradient=False)
                session = Session(program, samples)
            return _evaluated(session, values)
        except NotCompilable:  # the training has told it
            set_data(parameters, values)
            return Predictor(model, compile=False)(X)

    return at


_programs: OrderedDict[Any, SampleFunction] = OrderedDict()
_lock = forking.lock()


def _kept_program(
    model: Any, loss: Loss | None, samples: Sequence[Any], parameters: Sequence[Node]
) -> SampleFunction | None:
    """The program of all networks of an architecture; None if it is not that kind of model.

    It belongs to a network of its own, so that it neither keeps nor changes the user's.
    """
    described = architecture(model, parameters)
    if described is None or not (loss is None or loss in LOSSES.values()):
        return None
    leaves = tuple(leaf_of(array, 0, False) for array in samples)
    key = (repr(described), loss, leaves)
    with _lock:
        found = _programs.get(key)
        if found is None:
            with ungrouped():
                own = built(described)
            function: Callable[..., Any] = own
            if loss is not None:
                function = loss_of_sample(own, loss, len(samples) > 2)
            found = SampleFunction(function, samples, own.parameters(), loss is not None)
            _programs[key] = found
        _programs.move_to_end(key)
        while len(_programs) > KEPT or (
            len(_programs) > 1 and sum(p.paths.nodes for p in _programs.values()) > KEPT_VALUES
        ):
            _programs.popitem(last=False)
    return found


def _plain(array: Any) -> Any:
    """An array whose elements are Python's numbers: the fastest with nodes."""
    return array.tolist() if array.ndim == 1 else array.astype(object)


def _number(value: Any) -> Any:
    if isinstance(value, (Node, int, float)):
        return value
    if isinstance(value, numpy.ndarray) and value.ndim == 0:
        return value.item()
    if isinstance(value, numpy.generic):
        return value.item()
    raise TypeError(
        f"a loss is one number for each sample; this one gave {type(value).__name__}: add up, or"
        " take the mean"
    )
