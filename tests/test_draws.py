"""Random numbers drawn while a function is traced: one warning, as they are frozen."""

import random
import warnings
from typing import Any

import numpy as np
import pytest

from chainrule import compile, grad, nn, vmap

GENERATOR = np.random.default_rng(0)
LEGACY = np.random.RandomState(0)
PYTHONS = random.Random(0)


class Noise:
    """A generator in an attribute."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(1)

    def __call__(self, x: Any) -> Any:
        """Draw."""
        return x + self.generator.normal()


class Dropout(nn.Module):
    """A model that draws."""

    def __init__(self) -> None:
        self.inner = nn.MLP(2, [3, 1], seed=0)

    def __call__(self, x: Any) -> Any:
        """Draw."""
        return self.inner(x) if random.random() < 0.9 else 0.0 * self.inner(x)


def in_a_closure() -> Any:
    """A generator that a function has closed over."""
    own = np.random.default_rng(2)
    return lambda x: x + own.uniform()


DRAWS: dict[str, tuple[Any, str]] = {
    "random": (lambda x: x * random.random(), "random"),
    "random.gauss": (lambda x: x + random.gauss(0.0, 1.0), "random"),
    "random.choice": (lambda x: x * random.choice([1.0, 2.0]), "random"),
    "np.random": (lambda x: x * np.random.rand(), r"np\.random"),
    "np.random.normal": (lambda x: x + np.random.normal(), r"np\.random"),
    "a generator": (lambda x: x + GENERATOR.normal(), "a Generator"),
    "a legacy generator": (lambda x: x + LEGACY.normal(), "a RandomState"),
    "Python's": (lambda x: x + PYTHONS.random(), "a Random"),
    "in an attribute": (Noise(), "a Generator"),
    "in a closure": (in_a_closure(), "a Generator"),
    "in a gradient": (grad(lambda x: x * x * random.random()), "random"),
    "in a branch": (lambda x: x * random.random() if x > 1 else x, "random"),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_is_warned_of_once(name: str) -> None:
    """With the generator, and the line of the call."""
    function, generator = DRAWS[name]
    compiled = compile(function)
    if name == "in a branch":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled(0.5)
    with pytest.warns(RuntimeWarning, match=rf"drew random numbers \({generator}\)") as caught:
        first = compiled(2.0)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(2.0) == first  # frozen, as was said


def test_lanes() -> None:
    """All of them have the same draw."""
    with pytest.warns(RuntimeWarning, match="drew random numbers"):
        found = compile(vmap(lambda x: x * random.random()))(np.ones(3))
    assert len(set(found.tolist())) == 1


def test_another_kind_of_argument_does_not_warn_again() -> None:
    """One warning for each compiled function."""
    compiled = compile(lambda x: random.random() * (x[0] if isinstance(x, tuple) else x))
    with pytest.warns(RuntimeWarning, match="drew"):
        compiled(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled((1.0, 2.0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2.0,
        lambda x: x + len(repr(GENERATOR)),
        lambda x: x + len(repr(PYTHONS)),
    ],
)
def test_no_draw_no_warning(function: Any) -> None:
    """Having a generator is not drawing from it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(function)(1.0)
        grad(lambda x: x * random.random())(1.0)  # drawn at each call


def test_models() -> None:
    """Training and prediction say that compile=False draws for each sample."""
    X, y = np.random.default_rng(0).normal(size=(8, 2)), np.zeros(8)
    with pytest.warns(RuntimeWarning, match=r"the model drew .*compile=False") as caught:
        nn.fit(Dropout(), X, y, epochs=2)
    assert caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match=r"the model drew .*compile=False"):
        nn.predict(Dropout(), X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.fit(Dropout(), X, y, epochs=2, compile=False)
        nn.fit(nn.MLP(2, [1]), X, y, epochs=2)
