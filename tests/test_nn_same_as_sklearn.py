"""The estimators give the numbers of scikit-learn's networks, with random settings of all kinds.

One ``random_state`` gives both the same first weights, validation samples and order of samples.
``python tests/test_nn_same_as_sklearn.py 200`` compares that many settings.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.neural_network._base import LOSS_FUNCTIONS

from chainrule.nn.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 20
NEAR = 1e-8
NEAR_OF_LBFGS = 1e-6
IN_SUITE = 20

Call = tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]
"""A method, its arguments, its keywords, and what parameters are changed before."""


class Setting:
    """What both networks are given.

    Args:
        seed: of all choices.
    """

    def __init__(self, seed: int) -> None:
        self.random = random = np.random.default_rng(seed)
        self.target = self.one_of(
            "number", "numbers", "count", "counts", "two", "three", "names", "labels"
        )
        self.way = self.one_of("fit", "fit", "partial_fit", "warm_start", "early_stopping")
        by_steps = self.way in ("partial_fit", "early_stopping")
        self.solver = self.one_of(*["sgd", "adam", "lbfgs"][: 2 if by_steps else 3])
        self.samples = int(random.integers(30, 90))
        self.width = int(random.integers(1, 6))
        self.regression = self.target in ("number", "numbers", "count", "counts")
        # In 1.7 some kinds of classes are an error with early_stopping.
        self.sparse_labels = self.one_of(True, False) and self.way != "early_stopping"
        self.goes_on_drawing = self.one_of(True, False, False)
        self.parameters = self.new_parameters(seed)
        self.calls = self.new_calls()
        self.test = random.normal(size=(25, self.width))

    def one_of(self, *choices: Any) -> Any:
        """One of some choices."""
        return choices[self.random.integers(len(choices))]

    def new_parameters(self, seed: int) -> dict[str, Any]:
        """The constructor's keywords."""
        random = self.random
        given: dict[str, Any] = {
            "hidden_layer_sizes": tuple(int(n) for n in random.integers(1, 7, random.integers(3))),
            "activation": self.one_of("relu", "tanh", "logistic", "identity"),
            "solver": self.solver,
            "alpha": self.one_of(0.0, 1e-4, 0.1, 3.0),
            "random_state": seed,
            "shuffle": self.one_of(True, True, False),
            "batch_size": self.one_of("auto", int(random.integers(5, 30))),
            "learning_rate_init": float(10.0 ** random.uniform(-3, -1.7)),
            "learning_rate": self.one_of("constant", "invscaling", "adaptive"),
            "power_t": float(random.uniform(0.1, 0.6)),
            "momentum": self.one_of(0.0, 0.5, 0.9),
            "nesterovs_momentum": self.one_of(True, False),
            "beta_1": float(random.uniform(0.0, 0.95)),
            "beta_2": float(random.uniform(0.5, 0.999)),
            "epsilon": self.one_of(1e-8, 1e-3),
            "n_iter_no_change": self.one_of(1, 3, 10, np.inf),
            "tol": self.one_of(0.0, 1e-4, 1e-2),
            "warm_start": self.way == "warm_start",
            "early_stopping": self.way == "early_stopping",
            "validation_fraction": float(random.uniform(0.1, 0.4)),
        }
        if self.regression:
            given["loss"] = "poisson" if self.target in ("count", "counts") else "squared_error"
        size = self.samples if given["batch_size"] == "auto" else given["batch_size"]
        steps = STEPS if self.solver == "lbfgs" else STEPS // -(-self.samples // size)
        given["max_iter"] = max(2, steps // (2 if self.way == "warm_start" else 1))
        return given

    def data(self, n_samples: int) -> tuple[Any, Any]:
        """Inputs and targets."""
        random = self.random
        X = random.normal(size=(n_samples, self.width))
        outputs = 1 if self.target in ("number", "count", "two") else 3
        score = np.sin(X @ random.normal(size=(self.width, outputs))) + 0.3 * random.normal(
            size=(n_samples, outputs)
        )
        if self.target in ("number", "count"):
            score = score[:, 0]
        y: Any
        if self.target in ("count", "counts"):
            y = random.poisson(np.exp(score)).astype(float)
        elif self.regression:
            y = score
        elif self.target == "two":
            y = np.where(score[:, 0] > 0, 7, -7)
            y[:2] = 7, -7
        elif self.target == "labels":
            y = (score > 0).astype(int)
            y = scipy.sparse.csr_array(y) if self.sparse_labels else y
        else:
            y = score.argmax(axis=1)
            y[:6] = 0, 1, 2, 0, 1, 2  # each of them occurs
            if self.target == "names" and self.way != "early_stopping":
                y = np.array(["ant", "bee", "cat"])[y]
        return (scipy.sparse.csr_array(X) if self.one_of(True, False, False) else X), y

    def weights(self, n_samples: int) -> Any:
        """Weights of samples, or none."""
        kind = self.one_of("none", "some", "zeros")
        if kind == "none":
            return None
        weights = self.random.uniform(0.1, 3.0, n_samples)
        if kind == "zeros":
            weights[self.random.random(n_samples) < 0.1] = 0.0
        return weights

    def new_calls(self) -> list[Call]:
        """What is called in turn."""
        calls: list[Call] = []
        if self.way == "partial_fit":
            for number in range(8):
                n = int(self.random.integers(12, self.samples))
                X, y = self.data(n)
                options = {"sample_weight": self.weights(n)}
                if not self.regression and number == 0:
                    options["classes"] = np.unique(y) if self.target != "labels" else [0, 1, 2]
                calls.append(("partial_fit", (X, y), options, {}))
            return calls
        for number in range(2 if self.way == "warm_start" else 1):
            X, y = self.data(self.samples)
            options = {"sample_weight": self.weights(self.samples)}
            changes = self.changes() if number else {}
            calls.append(("fit", (X, y), options, changes))
        return calls

    def changes(self) -> dict[str, Any]:
        """Other parameters for a second fit."""
        changes = {
            "alpha": self.one_of(0.0, 0.5),
            "learning_rate_init": float(10.0 ** self.random.uniform(-3, -2)),
            "momentum": self.one_of(0.0, 0.9),
            "batch_size": self.one_of("auto", 11),
        }
        if self.solver != "lbfgs":
            changes["solver"] = self.one_of("sgd", "adam")
        return changes

    def __str__(self) -> str:
        return f"{self.target}, {self.way}: {self.parameters}"


class Documented:
    """scikit-learn's losses without what the documentation says is different.

    They add up the squared errors of several outputs where "lbfgs" minimises them, as the gradient
    does; and whether a probability was cut off near 0 or 1, which changes the loss, is noted.
    """

    def __init__(self, setting: Setting) -> None:
        self.added = setting.solver == "lbfgs" and setting.target == "numbers"
        self.cut = False

    def __enter__(self) -> Documented:
        self.kept = dict(LOSS_FUNCTIONS)
        for name in ("log_loss", "binary_log_loss"):
            LOSS_FUNCTIONS[name] = self.noting(self.kept[name])
        if self.added:
            LOSS_FUNCTIONS["squared_error"] = added_up
        return self

    def __exit__(self, *_: object) -> None:
        LOSS_FUNCTIONS.update(self.kept)

    def noting(self, loss: Any) -> Any:
        """A loss that notes whether it cuts off."""

        def noted(y: Any, probability: Any, weights: Any) -> Any:
            eps = np.finfo(np.float64).eps
            self.cut |= bool((probability < eps).any() or (probability > 1 - eps).any())
            return loss(y, probability, weights)

        return noted


def added_up(y: Any, prediction: Any, weights: Any) -> Any:
    """Half the squared error, the sum over the outputs."""
    return 0.5 * np.average((y - prediction) ** 2, weights=weights, axis=0).sum()


def trained(kind: Any, setting: Setting) -> tuple[Any, list[float]]:
    """A network after all calls, and the loss after each."""
    network = kind(**setting.parameters)
    if setting.goes_on_drawing:  # one generator for all calls; else each begins with the seed
        network.set_params(random_state=np.random.RandomState(network.random_state))
    losses = []
    for method, arguments, options, changes in setting.calls:
        network.set_params(**changes)
        getattr(network, method)(*arguments, **options)
        losses.append(network.loss_)
        if setting.solver == "lbfgs" and setting.target == "numbers" and kind is TheirRegressor:
            squares = sum(float((w**2).sum()) for w in network.coefs_)
            whole = options["sample_weight"]
            whole = setting.samples if whole is None else whole.sum()
            penalty = 0.5 * network.alpha * squares / whole
            losses[-1] = (network.loss_ - penalty) / network.n_outputs_ + penalty
    return network, losses


def compared(setting: Setting) -> tuple[str, str | None]:
    """What documented difference there was, or none, and in what else the networks differ."""
    kinds = (
        (MLPRegressor, TheirRegressor) if setting.regression else (MLPClassifier, TheirClassifier)
    )
    mine, losses = trained(kinds[0], setting)
    with Documented(setting) as documented:
        try:
            theirs, expected = trained(kinds[1], setting)
        except ZeroDivisionError:  # a batch of samples of weight 0: left out here
            return "batch of weight 0", None if np.isfinite(losses).all() else "loss_"
    if setting.solver == "lbfgs":
        if documented.cut:  # the line search saw another number
            theirs.coefs_, theirs.intercepts_ = list(mine.coefs_), list(mine.intercepts_)
            own, their = mine.predict_proba(setting.test), theirs.predict_proba(setting.test)
            return "cut off", difference({"probabilities": (own, their)}, NEAR)
        known = "added up" if documented.added else "none"
        return known, difference({"losses": (losses, expected)}, NEAR_OF_LBFGS)
    names = ["n_iter_", "t_", "validation_scores_", "best_validation_score_"]
    if not documented.cut:
        names += ["loss_curve_", "best_loss_"]
    pairs = {name: (getattr(mine, name), getattr(theirs, name)) for name in names}
    for name in ("coefs_", "intercepts_"):
        arrays = zip(getattr(mine, name), getattr(theirs, name), strict=True)
        pairs |= {f"{name}[{layer}]": pair for layer, pair in enumerate(arrays)}
    ways = ["predict"] if setting.regression else ["predict", "predict_proba"]
    for way in ways:
        own, their = (getattr(network, way)(setting.test) for network in (mine, theirs))
        if own.dtype.kind == "U":
            own, their = (own == "bee", own == "cat"), (their == "bee", their == "cat")
        if scipy.sparse.issparse(their):
            assert scipy.sparse.issparse(own)
            own, their = own.toarray(), their.toarray()
        pairs[way] = own, their
    return "cut off" if documented.cut else "none", difference(pairs, NEAR)


def difference(pairs: dict[str, tuple[Any, Any]], near: float) -> str | None:
    """The first pair that is not nearly the same."""
    for name, (own, their) in pairs.items():
        same = own is their is None or (
            own is not None
            and their is not None
            and np.shape(own) == np.shape(their)
            and np.allclose(own, their, rtol=near, atol=near)
        )
        if not same:
            return f"{name}: {own} for {their}"
    return None


@pytest.mark.parametrize("seed", range(IN_SUITE))
def test_random_settings(seed: int) -> None:
    """Losses, weights, predictions and counts."""
    setting = Setting(seed)
    assert compared(setting)[1] is None, str(setting)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    wrong = 0
    kinds: Counter[str] = Counter()
    documented: Counter[str] = Counter()
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else IN_SUITE):
        setting = Setting(seed)
        kinds[f"{setting.solver} {setting.way}"] += 1
        known, found = compared(setting)
        documented[known] += 1
        if found is not None:
            wrong += 1
            print(f"{seed}: {setting}\n    {found}\n")
    print(f"{sum(kinds.values())} settings: {dict(kinds)}")
    print(f"documented differences: {dict(documented)}; others: {wrong}")
    sys.exit(bool(wrong))
