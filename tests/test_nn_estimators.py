"""The estimators keep scikit-learn's conventions: its own suite, pipelines, searches, copies."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_classification, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from chainrule.nn.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = make_classification(120, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 0}


@pytest.mark.whole
@pytest.mark.parametrize(
    ("mine", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)]
)
def test_scikit_learns_own_suite(mine: Any, theirs: Any) -> None:
    """Every check that scikit-learn's own network passes is passed."""
    passed = []
    for kind in (mine, theirs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(kind(max_iter=100), on_skip=None, on_fail=None)
        passed.append({r["check_name"] for r in results if r["status"] == "passed"})
        assert kind is not mine or not [
            r for r in results if r["status"] not in ("passed", "skipped")
        ]
    assert passed[0] >= passed[1]
    assert len(passed[0]) > 50


def test_classes_of_any_kind() -> None:
    """Two classes or more, named as one likes."""
    names = np.array(["ant", "bee", "cat"])[Y]
    model = MLPClassifier((16,), learning_rate_init=0.01, random_state=0).fit(X, names)
    assert model.classes_.tolist() == ["ant", "bee", "cat"]
    assert model.score(X, names) > 0.85
    shares = model.predict_proba(X)
    assert shares.shape == (120, 3)
    assert np.allclose(shares.sum(axis=1), 1.0)
    assert (model.classes_[shares.argmax(axis=1)] == model.predict(X)).all()
    assert np.allclose(np.exp(model.predict_log_proba(X)), shares)
    two = MLPClassifier(**SMALL).fit(X, Y > 0)
    assert two.predict_proba(X).shape == (120, 2)
    assert two.predict(X).dtype == bool
    assert two.out_activation_ == "logistic"


def test_several_labels() -> None:
    """Each output is a question of its own."""
    inputs, labels = make_multilabel_classification(80, 5, n_classes=4, random_state=0)
    inputs = StandardScaler().fit_transform(inputs)
    model = MLPClassifier((16,), learning_rate_init=0.02, random_state=0).fit(inputs, labels)
    assert model.predict(inputs).shape == labels.shape
    assert (model.predict(inputs) == labels).mean() > 0.8


def test_regression_of_one_and_of_several_targets() -> None:
    """The shape of the predictions is that of the targets."""
    one = MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.01, random_state=0).fit(
        X, X[:, 0] ** 2
    )
    assert one.score(X, X[:, 0] ** 2) > 0.8
    two = MLPRegressor(**SMALL).fit(X, X[:, :2])
    assert two.predict(X).shape == (120, 2)


def test_attributes() -> None:
    """The loss of each epoch, and how many there were."""
    model = MLPClassifier(**SMALL).fit(X, Y)
    assert len(model.loss_curve_) == model.n_iter_ == 60
    assert model.loss_ == model.loss_curve_[-1] < model.loss_curve_[0]
    assert (model.n_features_in_, model.n_outputs_, model.n_layers_) == (4, 3, 3)
    with pytest.warns(ConvergenceWarning, match="60 epochs"):
        MLPClassifier(**SMALL).fit(X, Y)


def test_one_seed_one_result() -> None:
    """And a pickled or cloned estimator is the same."""
    first, second = (MLPClassifier(**SMALL).fit(X, Y) for _ in range(2))
    other = MLPClassifier(**{**SMALL, "random_state": 1}).fit(X, Y)
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))
    assert np.array_equal(
        pickle.loads(pickle.dumps(first)).predict_proba(X), first.predict_proba(X)
    )
    assert np.array_equal(clone(first).fit(X, Y).predict_proba(X), first.predict_proba(X))


def test_partial_fit_and_warm_start() -> None:
    """They go on from where the network is."""
    model = MLPClassifier(**SMALL)
    for start in (0, 40, 80):
        model.partial_fit(X[start : start + 40], Y[start : start + 40], classes=[0, 1, 2])
    assert (model.n_iter_, len(model.loss_curve_)) == (1, 3)
    regressor = MLPRegressor(**{**SMALL, "learning_rate_init": 0.01})
    for _ in range(100):
        regressor.partial_fit(X, X[:, 0])
    assert regressor.loss_curve_[-1] < 0.5 * regressor.loss_curve_[0]
    warm = MLPClassifier(**SMALL, warm_start=True).fit(X, Y)
    before = warm.loss_
    warm.fit(X, Y)
    assert warm.loss_curve_[60] < before * 1.05


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "lbfgs"])
def test_solvers(solver: str) -> None:
    """Each of them learns."""
    rate = 0.2 if solver == "sgd" else 0.02
    model = MLPClassifier(**{**SMALL, "solver": solver, "learning_rate_init": rate}).fit(X, Y)
    assert model.score(X, Y) > 0.75


def test_pipelines_and_searches() -> None:
    """An estimator like any other."""
    inputs, targets = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), MLPRegressor(**{**SMALL, "learning_rate_init": 0.05}))
    assert cross_val_score(model, inputs, targets, cv=3).mean() > 0.3
    quick = MLPClassifier(**{**SMALL, "learning_rate_init": 0.05})
    search = GridSearchCV(quick, {"alpha": [1e-4, 1e3]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"alpha": 1e-4}


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: MLPClassifier(solver="adma").fit(X, Y), ValueError, "did you mean adam or adamw"),
    (lambda: MLPClassifier(activation="tahn").fit(X, Y), ValueError, "did you mean tanh?"),
    (lambda: MLPClassifier((0,)).fit(X, Y), ValueError, "_layer_sizes is a whole number from 1 up"),
    (lambda: MLPClassifier().partial_fit(X, Y), ValueError, "classes must be passed on the first"),
    (lambda: MLPClassifier().predict(X), NotFittedError, "not fitted"),
    (lambda: MLPRegressor().fit(X, np.full(120, np.nan)), ValueError, "contains NaN"),
    (
        lambda: MLPClassifier(**SMALL).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y + 5),
        ValueError,
        r"y has classes \[5 6 7\] that are not in classes_",
    ),
    (
        lambda: (
            MLPClassifier(**SMALL)
            .partial_fit(X, Y, classes=[0, 1, 2])
            .partial_fit(X, Y, classes=[0, 1])
        ),
        ValueError,
        "not the same as on last call",
    ),
    (
        lambda: MLPClassifier(**SMALL, warm_start=True).fit(X, Y).fit(X, Y + 1),
        ValueError,
        "warm_start needs the classes of the fit before",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    """An error that says what was given and what is accepted."""
    with pytest.raises(kind, match=message):
        call()
