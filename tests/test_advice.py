"""Errors say what to write instead, by what was written, and name the user's line."""

import inspect
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule import Node, TracedValueError, compile, explore, grad, jacobian, nn, vmap
from chainrule.math import where

RNG = np.random.default_rng(0)


def put(x: Any) -> Any:
    """The commonest edit of all."""
    out = np.zeros(3)
    out[0] = x
    return out[0]


def put_slice(x: Any) -> Any:
    """Several at once."""
    out = np.zeros(3)
    out[:2] = [x, x]
    return out[0]


def integrated(x: Any) -> Any:
    """With Python frames of a library between."""
    from scipy.integrate import quad

    return quad(lambda u: u * x, 0.0, 1.0)[0]


def under_another_name(x: Any) -> Any:
    """The text does not say what is called."""
    function = math.exp
    return function(x)


HOLDS = r"the array holds floats; make it np\.zeros\(3, dtype=object\), or .* or use a list"
MAKES = r"an array of floats can't hold it; leave the dtype out, or use chainrule\.array"
RANDOM = r"a random draw can't depend on it; draw a standard number"
FLOATS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "out[0] = x": (put, HOLDS),
    "out[:2] = [x, x]": (put_slice, HOLDS),
    "fill": (lambda x: np.zeros(3).fill(x), HOLDS),
    "np.array": (lambda x: np.array([x, x], dtype=float), MAKES),
    "np.asarray": (lambda x: np.asarray([x], np.float64), MAKES),
    "astype": (lambda x: np.array([x]).astype(float), MAKES),
    "np.full": (lambda x: np.full(3, x, dtype=float), MAKES),
    "np.float64": (lambda x: np.float64(x), MAKES),
    "'%f' % x": (lambda x: "%f" % x, r"text can't hold it; write '%f' % x\.data"),  # noqa: UP031
    "np.random.normal": (lambda x: np.random.normal(x), RANDOM),
    "normal of a generator": (lambda x: RNG.normal(0.0, abs(x)), RANDOM),
    "random.choices": (
        lambda x: random.choices([1.0, 2.0], weights=[x, x]),
        r"a random choice can't depend on it; compare one random number",
    ),
    "quad": (integrated, r"scipy integrates floats; write the integral as a sum"),
    "math.exp": (lambda x: math.exp(x), r"use chainrule\.math\.exp in place"),
    "math.exp(math.sin)": (lambda x: math.exp(math.sin(x)), r"use chainrule\.math\.sin in place"),
    "math.nextafter": (lambda x: math.nextafter(x, 1.0), r"chainrule\.math has no nextafter"),
    "float": (lambda x: float(x), r"leave float\(\) out: a node is used like a number"),
    "under another name": (under_another_name, r"use the functions of chainrule\.math"),
}


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("transform", [None, grad, compile])
def test_what_makes_a_float_of_a_node(name: str, transform: Any) -> None:
    """Each place gets its own advice, with the line of this file."""
    if name == "quad":
        pytest.importorskip("scipy.integrate")
    function, advice = FLOATS[name]
    lines, first = inspect.getsourcelines(function)
    error = TypeError if transform is None else TracedValueError
    argument = Node(0.5) if transform is None else 0.5
    called = function if transform is None else transform(function)
    with pytest.raises(error, match=advice) as caught:
        called(argument)
    line = re.search(rf"at {re.escape(__file__)}:(\d+)", str(caught.value))
    assert line is not None
    assert first <= int(line[1]) < first + len(lines)
    assert (name in ("random.choices", "quad", "np.full")) == (" (in " in str(caught.value))


def test_code_without_source() -> None:
    """What was put together from text has general advice, or that of its instruction."""
    space: dict[str, Any] = {"math": math, "np": np}
    exec("def f(x): return math.exp(x)\ndef g(x):\n a = np.zeros(1)\n a[0] = x", space)
    with pytest.raises(TypeError, match=r"use the functions of chainrule\.math"):
        space["f"](Node(1.0))
    with pytest.raises(TypeError, match=HOLDS):
        space["g"](Node(1.0))


@pytest.mark.parametrize("transform", [grad, compile])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if x.data > 0 else -x,
        lambda x, low=0.0: x if low < x.data else -x,
        lambda x: x if x.data > (x * 2).data else -x,
        lambda x: x if x.data else -x,
        lambda x: x if not x.data else -x,
        lambda x: where(x.data > 0.5, x, -x),
    ],
)
def test_comparing_the_data(transform: Any, function: Any) -> None:
    """It is the node that is compared."""
    with pytest.raises(TracedValueError, match=r"reading the data .*: .* compare x itself"):
        transform(function)(1.0)


@pytest.mark.parametrize(
    "function", [lambda x: x * x.data, lambda x: x.data, lambda x: abs(x.data)]
)
def test_other_uses_of_the_data(function: Any) -> None:
    """They are constants."""
    with pytest.raises(TracedValueError, match=r"write stop_gradient\(x\) to treat it as constant"):
        grad(function)(1.0)


# Arguments

MODEL = nn.MLP(2, [3, 1])
X, Y = np.ones((4, 2)), np.ones(4)
ARGUMENTS: list[tuple[Callable[..., Any], tuple[Any, ...], str, str]] = [
    (Node, (2.0,), "label", r"Node has no argument 'label'; did you mean name\?"),
    (Node, (2.0,), "_children", r"did you mean parents\?"),
    (Node, (2.0,), "zzz", r"'zzz'; there are data, parents, name"),
    (nn.fit, (MODEL, X, Y), "learn_rate", r"fit has no .* did you mean learning_rate\?"),
    (nn.fit, (MODEL, X, Y), "lr", r"did you mean learning_rate\?"),
    (nn.fit, (MODEL, X, Y), "n_epochs", r"did you mean epochs\?"),
    (nn.fit, (MODEL, X, Y), "batchsize", r"did you mean batch_size\?"),
    (nn.MLP, (2, [1]), "activaton", r"MLP has no .* did you mean activation\?"),
    (nn.MLP, (2,), "layers", r"MLP has no .* did you mean sizes\?"),
    (nn.Layer, (2, 1), "activations", r"Layer has no .* did you mean activation\?"),
    (nn.Adam, (), "lr", r"Adam has no .* did you mean learning_rate\?"),
    (nn.SGD, (), "momentun", r"SGD has no .* did you mean momentum\?"),
    (nn.predict, (MODEL, X), "compiled", r"predict has no .* did you mean compile\?"),
    (nn.Predictor, (MODEL,), "thread", r"Predictor has no .* did you mean threads\?"),
    (explore, (Node(1.0),), "titel", r"explore has no .* did you mean title\?"),
    (grad, (abs,), "argnum", r"grad has no .* did you mean argnums\?"),
    (jacobian, (abs,), "sparce", r"jacobian has no .* did you mean sparse\?"),
    (vmap, (abs,), "in_axis", r"vmap has no .* did you mean in_axes\?"),
    (compile, (abs,), "max_trace", r"compile has no .* did you mean max_traces\?"),
]


@pytest.mark.parametrize(("function", "arguments", "keyword", "message"), ARGUMENTS)
def test_unknown_arguments(
    function: Callable[..., Any], arguments: tuple[Any, ...], keyword: str, message: str
) -> None:
    """The message gives the nearest name, also for what other libraries call it."""
    with pytest.raises(TypeError, match=message):
        function(*arguments, **{keyword: 1})


def test_the_name_of_a_node_is_a_keyword() -> None:
    """In second place are the parents."""
    with pytest.raises(TypeError, match=r"by keyword: Node\(2\.0, name='a'\)"):
        Node(2.0, "a")  # type: ignore[arg-type]


def test_signatures_stay_readable() -> None:
    """What checks the names does not hide them from help and editors."""
    assert list(inspect.signature(nn.fit).parameters)[:3] == ["model", "X", "y"]
    assert list(inspect.signature(nn.MLP).parameters)[:2] == ["n_in", "sizes"]
    assert list(inspect.signature(grad).parameters) == ["f", "argnums", "has_aux"]


@pytest.mark.parametrize("compiled", [True, False])
def test_one_sample_for_a_network_of_several_inputs(compiled: bool) -> None:
    """A row of inputs is a list in a list."""
    for call in (
        lambda: nn.predict(MODEL, [1.0, 2.0], compile=compiled),
        lambda: nn.fit(MODEL, [1.0, 2.0], [1.0, 2.0], compile=compiled),
        lambda: MODEL(1.0),
        lambda: MODEL.layers[0](1.0),
    ):
        with pytest.raises(
            TypeError, match=r"2 inputs was given a single number.*\[\[1\.0, 2\.0\]\]"
        ):
            call()
    assert nn.predict(MODEL, [[1.0, 2.0]], compile=compiled).shape == (1,)
    assert nn.predict(nn.MLP(1, [1]), [1.0, 2.0], compile=compiled).shape == (2,)


# Warnings


def test_too_many_paths_mention_where() -> None:
    """There is a way to choose without a path, and the line is the caller's."""
    branching = compile(
        lambda x: x if x > 1 else -x if x > 0 else 2 * x, max_traces=1, rewrite=False
    )
    assert branching(3.0) == 3.0
    with pytest.warns(
        RuntimeWarning, match=r"1 paths \(max_traces\); where\(condition, a, b\)"
    ) as w:
        assert branching(0.5) == -0.5
    assert w[0].filename == __file__


def test_where_chooses_without_a_path() -> None:
    """As the advice says."""
    choosing = compile(lambda x: chainrule.math.where(x > 1, x, -x), max_traces=1)
    assert [choosing(3.0), choosing(0.5)] == [3.0, -0.5]
    assert choosing.stats().traces == 1
