"""Parameters and attributes of the estimators: scikit-learn's, all checked, none ignored."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from chainrule import nn
from chainrule.nn import estimator_base
from chainrule.nn.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RANDOM.normal(size=60)
CLASSES = (Y > 0.8).astype(int) + (Y > -0.8)
LABELS = np.column_stack([X[:, 0] > 0, X[:, 1] > 0, Y > 0]).astype(int)
KINDS = [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)]


def regressor(**given: Any) -> Any:
    """A small one."""
    return MLPRegressor(**{"hidden_layer_sizes": (3,), "max_iter": 5, "random_state": 0, **given})


def classifier(**given: Any) -> Any:
    """A small one."""
    return MLPClassifier(**{"hidden_layer_sizes": (3,), "max_iter": 5, "random_state": 0, **given})


def weights(model: Any) -> Any:
    """All weights and biases."""
    return np.concatenate([a.ravel() for a in (*model.coefs_, *model.intercepts_)])


@pytest.mark.parametrize(("mine", "theirs"), KINDS)
def test_constructor(mine: Any, theirs: Any) -> None:
    """The same parameters, defaults and order; methods too."""
    own, their = (inspect.signature(kind.__init__).parameters for kind in (mine, theirs))
    assert [(p.name, p.default, p.kind) for p in own.values()] == [
        (p.name, p.default, p.kind) for p in their.values()
    ]
    for name in ("fit", "partial_fit", "predict"):
        methods = [getattr(kind(), name) for kind in (mine, theirs)]
        first, second = (list(inspect.signature(method).parameters) for method in methods)
        assert first == second


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
@pytest.mark.parametrize(("mine", "theirs"), KINDS)
def test_attributes(mine: Any, theirs: Any, options: dict[str, Any]) -> None:
    """All of scikit-learn's, with its values; those of stochastic solvers not after "lbfgs"."""
    y = CLASSES if mine is MLPClassifier else Y
    own, their = (kind(random_state=0, max_iter=5, **options).fit(X, y) for kind in (mine, theirs))
    names = [name for name in vars(their) if name.endswith("_") and name[0] != "_"]
    assert len(names) > 8
    for name in names:
        value, expected = getattr(own, name), getattr(their, name)
        if name in ("coefs_", "intercepts_"):
            assert [a.shape for a in value] == [a.shape for a in expected]
        elif isinstance(expected, str):
            assert value == expected
        else:
            assert value is expected or np.allclose(value, expected, rtol=1e-6), name
    assert hasattr(own, "loss_curve_") == (options.get("solver") != "lbfgs")
    own.set_params(solver="lbfgs", early_stopping=False).fit(X, y)
    assert not hasattr(own, "loss_curve_")
    assert not hasattr(own, "partial_fit")


def test_no_limit_on_epochs_without_progress() -> None:
    """They are all gone through; with a limit of n the epoch after the n-th is the last."""
    options: dict[str, Any] = {"tol": 1e9, "max_iter": 30}
    assert regressor(n_iter_no_change=math.inf, **options).fit(X, Y).n_iter_ == 30
    assert regressor(n_iter_no_change=4, **options).fit(X, Y).n_iter_ == 6


def test_weights_as_arrays() -> None:
    """They give the predictions by hand; they are set as a whole and written in no other way."""
    model = regressor(activation="tanh").fit(X, Y)
    (a, b), (c, d) = model.coefs_, model.intercepts_
    assert np.allclose(np.tanh(X @ a + c) @ b[:, 0] + d, model.predict(X), rtol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        model.coefs_[0][0, 0] = 1.0
    with pytest.raises(TypeError):
        model.coefs_[0] = a
    other = regressor(activation="tanh", random_state=7).fit(X, Y)
    other.coefs_, other.intercepts_ = model.coefs_, model.intercepts_
    assert np.array_equal(other.predict(X), model.predict(X))
    model.model_.layers[0].neurons[1].weights[2].data = 9.0
    assert model.coefs_[0][2, 1] == 9.0
    with pytest.raises(ValueError, match=r"arrays of the shapes \[\(3, 3\), \(3, 1\)\], not"):
        model.coefs_ = [a, b, b]
    with pytest.raises(ValueError, match="intercepts_ hold NaN"):
        model.intercepts_ = [c * np.nan, d]
    with pytest.raises(AttributeError, match="no weights before it is fitted"):
        regressor().coefs_  # noqa: B018


RIDGE: dict[str, Any] = {"hidden_layer_sizes": (), "activation": "identity", "random_state": 0}


@pytest.mark.parametrize("alpha", [0.0, 1.0, 50.0])
def test_a_linear_network_is_ridge_regression(alpha: float) -> None:
    """The penalty is α/n, of the weights and not of the bias; the loss is half the square."""
    model = MLPRegressor(**RIDGE, solver="lbfgs", alpha=alpha, tol=1e-10).fit(X, Y)
    inputs, targets = X - X.mean(axis=0), Y - Y.mean()
    solution = np.linalg.solve(inputs.T @ inputs + alpha * np.eye(3), inputs.T @ targets)
    assert np.allclose(model.coefs_[0][:, 0], solution, atol=1e-5)
    error = np.mean((model.predict(X) - Y) ** 2)
    penalty = alpha / 60 * (solution @ solution)
    assert model.loss_ == pytest.approx(0.5 * (error + penalty), rel=1e-6)


@pytest.mark.parametrize("sizes", [(60, 15), (15, 60)])
def test_the_penalty_is_that_of_each_batch(sizes: tuple[int, int]) -> None:
    """Whatever the first chunk was: α divided by the samples of the batch."""
    model = MLPRegressor(**RIDGE, solver="sgd", alpha=6.0, momentum=0.0, learning_rate_init=0.1)
    for size in sizes:
        if size != sizes[0]:
            before, constant = model.coefs_[0][:, 0], model.intercepts_[0]
        model.partial_fit(X[:size], Y[:size])
    inputs, targets = X[: sizes[1]], Y[: sizes[1]]
    slopes = ((inputs @ before + constant - targets) @ inputs + 6.0 * before) / sizes[1]
    assert np.allclose(model.coefs_[0][:, 0], before - 0.1 * slopes, rtol=1e-12)


CHANGES: list[dict[str, Any]] = [
    {"learning_rate_init": 0.5},
    {"solver": "adam"},
    {"alpha": 30.0},
    {"momentum": 0.0},
    {"nesterovs_momentum": False},
    {"learning_rate": "invscaling"},
    {"activation": "relu"},
    {"loss": "poisson"},
]


@pytest.mark.parametrize(
    ("change", "partial"),
    [({"solver": "lbfgs"}, False), *((change, way) for change in CHANGES for way in (False, True))],
)
def test_a_changed_parameter_counts(change: dict[str, Any], partial: bool) -> None:
    """A warm start and ``partial_fit`` go by the parameters as they are."""
    model = regressor(solver="sgd", activation="tanh", warm_start=True, learning_rate_init=0.02)
    results = []
    for changes in ({}, change):
        own = copy.deepcopy(model).fit(X, np.abs(Y)).set_params(**changes)
        for _ in range(3):
            (own.partial_fit if partial else own.fit)(X, np.abs(Y))
        results.append(weights(own))
    assert not np.allclose(results[0], results[1], rtol=1e-3)


def test_other_sizes_need_another_network() -> None:
    """Going on with one of other sizes is an error."""
    model = regressor(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(3,\) and 1 outputs; hidden_layer"):
        model.set_params(hidden_layer_sizes=(4,)).fit(X, Y)
    with pytest.raises(ValueError, match="y has 2 outputs: for a new network"):
        model.set_params(hidden_layer_sizes=(3,)).partial_fit(X, X[:, :2])
    assert model.fit(X, Y).predict(X).shape == (60,)


def explode(call: Callable[[int], Any]) -> None:
    """Call it with 0, 1, … up to a DivergenceError."""
    for i in range(2000):
        try:
            call(i)
        except nn.DivergenceError as error:
            if "a smaller learning_rate_init may help" in str(error):
                return
            raise
    raise AssertionError("no explosion")


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("partial", [False, True])
def test_what_a_divergence_advises_helps(solver: str, partial: bool) -> None:
    """A smaller learning rate, with a warm start and with partial_fit; what was learned stays."""
    model = regressor(solver=solver, warm_start=True, learning_rate_init=0.01).fit(X, Y)
    before = weights(model)
    again = model.partial_fit if partial else model.fit
    model.set_params(learning_rate_init=1e9, max_iter=1)
    explode(lambda i: again(X, Y))
    assert np.array_equal(weights(model), before)
    model.set_params(learning_rate_init=0.01)
    for _ in range(50):
        again(X, Y)
    assert model.loss_ < model.loss_curve_[4]


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
def test_an_explosion_in_chunks_is_noticed(solver: str) -> None:
    """Each call may grow little; from where it was still good, training goes on."""
    rate = {"sgd": 0.6, "adam": 1e3, "adamw": 1e3}[solver]
    model = MLPRegressor(
        **RIDGE, solver=solver, learning_rate_init=0.01, momentum=0.0, alpha=0.0, batch_size=30
    )
    chunks = [(2.0 * X[:30], Y[:30]), (2.0 * X[30:], Y[30:])]
    for chunk in chunks:
        model.partial_fit(*chunk)
    model.set_params(learning_rate_init=rate)
    explode(lambda i: model.partial_fit(*chunks[i % 2]))
    assert np.mean((model.predict(2.0 * X) - Y) ** 2) < 1e6
    assert (len(model.loss_curve_) > 10) == (solver == "sgd")
    model.set_params(learning_rate_init=0.01)
    for i in range(600):
        model.partial_fit(*chunks[i % 2])
    assert model.loss_ < model.loss_curve_[0]


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
def test_a_chunk_that_can_not_be_learned_changes_nothing(solver: str) -> None:
    """Weights and optimizer are as before it."""
    one, two = (regressor(solver=solver).partial_fit(X, Y).partial_fit(X, Y) for _ in range(2))
    with pytest.raises(
        nn.DivergenceError, match=r"the loss is inf in epoch 1; .* first weights is inf"
    ):
        one.partial_fit(X, 1e200 * Y)
    assert np.array_equal(weights(one), weights(two))
    assert np.array_equal(weights(one.partial_fit(X, Y)), weights(two.partial_fit(X, Y)))
    assert one.loss_curve_ == two.loss_curve_


def test_losses_that_are_large_from_the_start_are_no_explosion() -> None:
    """Targets in the millions, also where the first chunk's were small."""
    model = regressor().partial_fit(X, Y)
    model.partial_fit(X, 1e7 * Y)
    assert model.loss_ > 1e12


def test_warm_start_with_several_labels() -> None:
    """Three of them and more; another number of them is an error."""
    model = classifier(warm_start=True).fit(X, LABELS)
    model.fit(X, LABELS)
    assert len(model.loss_curve_) == 10
    with pytest.raises(ValueError, match="goes on with 3 labels, and y has 2"):
        model.fit(X, LABELS[:, :2])
    with pytest.raises(ValueError, match="goes on with 3 labels, and y has 2"):
        model.partial_fit(X, LABELS[:, :2])
    with pytest.raises(ValueError, match="y was a row of 0 and 1 for each label; it can't be a cl"):
        model.partial_fit(X, CLASSES)
    with pytest.raises(ValueError, match="y was a class for each sample; it can't be a row of 0"):
        classifier().fit(X, CLASSES).partial_fit(X, LABELS)


def test_sparse_labels_are_predicted_sparse() -> None:
    """As they were given."""
    inputs, labels = make_multilabel_classification(80, 5, n_classes=4, random_state=0)
    given = scipy.sparse.csr_array(labels)
    one, two = (classifier(max_iter=50).fit(inputs, y) for y in (given, labels))
    assert scipy.sparse.issparse(one.predict(inputs))
    assert np.array_equal(one.predict(inputs).toarray(), two.predict(inputs))
    assert isinstance(two.predict(inputs), np.ndarray)
    assert one.score(inputs, given) == accuracy_score(labels, two.predict(inputs))


def test_early_stopping() -> None:
    """By the score on samples that are held out; the best weights are kept over warm starts."""
    model = classifier(
        early_stopping=True, n_iter_no_change=3, max_iter=500, learning_rate_init=0.05,
        warm_start=True,
    )  # fmt: skip
    best, shares = -math.inf, np.empty(0)
    for rate in (0.05, 0.05, 3.0):
        model.set_params(learning_rate_init=rate).fit(X, CLASSES)
        assert model.n_iter_ < 500
        assert model.best_validation_score_ == max(model.validation_scores_) >= best
        if model.best_validation_score_ == best:
            assert np.array_equal(model.predict_proba(X), shares)
        best, shares = model.best_validation_score_, model.predict_proba(X)
    assert len(model.validation_scores_) == len(model.loss_curve_)
    assert model.best_loss_ is None
    model.set_params(early_stopping=False, max_iter=3).fit(X, CLASSES)
    assert model.best_loss_ == min(model.loss_curve_[-3:])
    assert model.validation_scores_ is None


def test_adamw_is_that_of_fit() -> None:
    """Weight decay apart from the gradient, and no penalty in the loss."""
    model = regressor(solver="adamw", alpha=0.3, shuffle=False, learning_rate_init=0.01, max_iter=1)
    model.fit(X, Y)
    network = copy.deepcopy(model.model_)
    model.set_params(max_iter=4, warm_start=True).fit(X, Y)
    history = nn.fit(
        network, X, Y, optimizer=nn.AdamW(0.02, weight_decay=0.15, epsilon=2e-8), epochs=4,
        batch_size=60, shuffle=False,
    )  # fmt: skip
    assert model.loss_curve_[1] == pytest.approx(0.5 * history.loss[0], rel=1e-12)
    own = nn.AdamW(0.01, weight_decay=0.3)
    again = copy.deepcopy(model)
    nn.fit(again.model_, X, Y, loss=lambda p, t: 0.5 * (p - t) ** 2, optimizer=own, epochs=4,
           batch_size=60, shuffle=False)  # fmt: skip
    assert np.allclose(weights(model.fit(X, Y)), weights(again), rtol=1e-11)


def test_weights_of_samples() -> None:
    """Their scale counts for the penalty alone; samples of weight 0 are none."""
    given = RANDOM.uniform(0.5, 2.0, 60)
    for solver in ("sgd", "lbfgs"):
        one = regressor(solver=solver, alpha=0.0).fit(X, Y, given)
        large = regressor(solver=solver, alpha=0.0).fit(X, Y, 0.5e308 * given)
        assert np.allclose(weights(one), weights(large), rtol=1e-9)
        scaled = regressor(solver=solver, alpha=8.0).fit(X, Y, 8.0 * given)
        assert np.array_equal(weights(regressor(solver=solver, alpha=1.0).fit(X, Y, given)),
                              weights(scaled))  # fmt: skip
    zero = np.ones(60)
    zero[40:] = 0.0
    one, two = (regressor(batch_size=20, shuffle=False) for _ in range(2))
    assert np.array_equal(weights(one.fit(X, Y, zero)), weights(two.fit(X[:40], Y[:40])))
    assert one.loss_ == two.loss_


def test_counts() -> None:
    """The network learns the logarithm; predictions are rates."""
    counts = np.random.default_rng(1).poisson(np.exp(0.3 * Y))
    model = MLPRegressor("poisson", (8,), max_iter=400, learning_rate_init=0.02, random_state=0)
    model.fit(X, counts)
    assert model.out_activation_ == "exp"
    assert model.predict(X).min() > 0
    assert np.corrcoef(model.predict(X), np.exp(0.3 * Y))[0, 1] > 0.6


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    """The loss of each epoch, and the score."""
    model = classifier(verbose=True, early_stopping=True, max_iter=2).fit(X, CLASSES)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert printed[3] == f"Validation score: {model.validation_scores_[1]:f}"
    classifier().fit(X, CLASSES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("early", "kept"), [(False, "the weights of the last step"), (True, "the best weights")]
)
def test_an_interrupt_keeps_what_was_learned(
    monkeypatch: pytest.MonkeyPatch, early: bool, kept: str
) -> None:
    """With a warning."""
    calls: list[int] = []
    step = nn.Adam.update

    def interrupting(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        step(*arguments)

    monkeypatch.setattr(nn.Adam, "update", interrupting)
    model = regressor(early_stopping=early)
    with pytest.warns(UserWarning, match=f"interrupted in epoch 3; the network has {kept}"):
        model.fit(X, Y)
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    assert model.predict(X).shape == (60,)


def test_an_interrupt_before_training_leaves_the_estimator_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was not fitted stays so."""

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    model = regressor()
    before = dict(vars(model))
    monkeypatch.setattr(estimator_base, "Objective", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert vars(model) == before


def test_warnings() -> None:
    """What ends without a minimum, and batches larger than the data, say so."""
    with pytest.warns(ConvergenceWarning, match="5 epochs"):
        regressor().fit(X, Y)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs ended after 5 iterations \(max_iter=5, ma"):
        regressor(solver="lbfgs").fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="max_fun=3"):
        regressor(solver="lbfgs", max_fun=3).fit(X, Y)
    with pytest.warns(UserWarning, match="batch_size is 61, but there are 60 samples"):
        regressor(batch_size=61).fit(X, Y)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"hidden_layer_sizes": (3.5,)}, TypeError, "whole number, not float 3.5"),
    ({"hidden_layer_sizes": 3.0}, TypeError, "a size in hidden_layer_sizes is a whole number"),
    ({"hidden_layer_sizes": (0,)}, ValueError, "from 1 up, not 0"),
    ({"batch_size": 2.7}, TypeError, "batch_size is a whole number, not float 2.7"),
    ({"batch_size": 0}, ValueError, "batch_size is a whole number from 1 up"),
    ({"batch_size": "all"}, ValueError, "batch_size is a whole number or \"auto\", not 'all'"),
    ({"solver": "adagrad"}, ValueError, "there is no solver 'adagrad'"),
    ({"solver": 3}, TypeError, "solver is one of lbfgs, sgd, adam, adamw, not int 3"),
    ({"learning_rate": "adptive"}, ValueError, "did you mean adaptive"),
    ({"learning_rate": 0.1}, TypeError, "learning_rate is one of constant, invscaling, adaptive"),
    ({"learning_rate_init": 0.0}, ValueError, "a learning rate is a number above 0"),
    ({"alpha": -1.0}, ValueError, "alpha is a number from 0, not -1.0"),
    ({"alpha": "1"}, TypeError, "alpha is a number, not str"),
    ({"power_t": -1.0}, ValueError, "power_t is a number from 0"),
    ({"tol": math.nan}, ValueError, "tol is a number from 0, not nan"),
    ({"max_iter": 2.5}, TypeError, "max_iter is a whole number"),
    ({"max_fun": 0}, ValueError, "max_fun is a whole number from 1 up"),
    ({"n_iter_no_change": 2.5}, TypeError, "n_iter_no_change is a whole number"),
    ({"momentum": 1.5}, ValueError, "momentum is a number from 0 to 1, not 1.5"),
    ({"beta_1": 1.0}, ValueError, "beta_1 is a number from 0 up and below 1, not 1.0"),
    ({"beta_2": -0.1}, ValueError, "beta_2 is a number from 0 up and below 1"),
    ({"epsilon": 0.0}, ValueError, "epsilon is a number above 0"),
    ({"validation_fraction": 1.0}, ValueError, "validation_fraction is a number from 0 up and b"),
    ({"shuffle": "False"}, TypeError, "shuffle is True or False, not str 'False'"),
    ({"warm_start": 1}, TypeError, "warm_start is True or False, not int 1"),
    ({"early_stopping": None}, TypeError, "early_stopping is True or False"),
    ({"nesterovs_momentum": "no"}, TypeError, "nesterovs_momentum is True or False"),
    ({"verbose": "no"}, TypeError, "verbose is a whole number, not str 'no'"),
    ({"verbose": -1}, ValueError, "verbose is a whole number from 0 up, not -1"),
    ({"loss": "absolute"}, ValueError, "there is no loss 'absolute'"),
    ({"loss": (16,)}, TypeError, r"write|MLPRegressor\(hidden_layer_sizes=\.\.\.\)"),
]


@pytest.mark.parametrize(("given", "kind", "message"), WRONG)
def test_wrong_parameters(given: dict[str, Any], kind: type[Exception], message: str) -> None:
    """Refused at fit, which leaves the estimator as it was."""
    model = regressor().fit(X, Y)
    before, kept = weights(model), model.get_params()
    with pytest.raises(kind, match=message):
        model.set_params(**given).fit(X, Y)
    assert np.array_equal(weights(model), before)
    assert model.set_params(**kept).predict(X).shape == (60,)


def weighted(part: slice) -> Any:
    """Weights that are 0 but in a part."""
    given = np.zeros(60)
    given[part] = 1.0
    return given


UNFIT: list[tuple[Callable[[], Any], str]] = [
    (lambda: regressor(loss="poisson").fit(X, Y), "poisson takes targets from 0 up"),
    (lambda: regressor(early_stopping=True).partial_fit(X, Y), "not support early_stopping=True"),
    (lambda: regressor(early_stopping=True, validation_fraction=0.01).fit(X, Y), "is 1; early_st"),
    (
        lambda: regressor(early_stopping=True).fit(X, Y, weighted(slice(1))),
        "all validation samples have the weight 0",
    ),
    (
        lambda: regressor(early_stopping=True, validation_fraction=0.9).fit(
            X, Y, weighted(slice(1))
        ),
        "all (training|validation) samples have the weight 0",
    ),
    (lambda: regressor().fit(X, Y, np.zeros(60)), r"non-zero|are all zero"),
    (lambda: regressor().fit(X, Y, -np.ones(60)), "[Nn]egative"),
    (lambda: regressor().fit(X, Y, np.ones(59)), "inconsistent numbers|shape"),
]


@pytest.mark.parametrize(("call", "message"), UNFIT)
def test_data_that_can_not_be_used(call: Any, message: str) -> None:
    """An error that says why."""
    with pytest.raises(ValueError, match=message):
        call()


def test_masked_data() -> None:
    """What is behind a mask is no data."""
    masked = np.ma.array(X, mask=X > 1.0)
    model = regressor().fit(X, Y)
    calls: list[Callable[[], Any]] = [
        lambda: regressor().fit(masked, Y),
        lambda: regressor().fit(X, masked[:, 0]),
        lambda: regressor().fit(X, Y, abs(masked[:, 0])),
        lambda: regressor().partial_fit(X, Y, abs(masked[:, 0])),
        lambda: classifier().partial_fit(masked, CLASSES, classes=[0, 1, 2]),
        lambda: model.predict(masked),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="is a masked array"):
            call()


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_going_on_with_a_pruned_network(options: dict[str, Any]) -> None:
    """A weight that is a number stays what it is, in coefs_ too, and can be set there."""
    model = regressor(warm_start=True, **options).fit(X, Y)
    model.model_.layers[0].neurons[1].weights[2] = 0.0
    model.fit(X, Y)
    if not options:
        model.partial_fit(X, Y)
    assert model.coefs_[0][2, 1] == 0.0
    assert np.count_nonzero(model.coefs_[0]) == 8
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0.0)
    assert np.allclose(hidden @ model.coefs_[1][:, 0] + model.intercepts_[1], model.predict(X))
    model.coefs_ = [np.ones((3, 3)), np.ones((3, 1))]
    assert model.coefs_[0].sum() == 9.0


def test_what_can_not_be_used_leaves_the_estimator_as_it_was() -> None:
    """One that was not fitted stays so; another has its classes and network."""
    model = classifier()
    with pytest.raises(ValueError, match=r"non-zero|are all zero"):
        model.fit(X, CLASSES, np.zeros(60))
    assert not hasattr(model, "classes_")
    model.fit(X, CLASSES)
    with pytest.raises(ValueError, match=r"non-zero|are all zero"):
        model.fit(X[:, :2], CLASSES > 1, np.zeros(60))
    assert model.classes_.tolist() == [0, 1, 2]
    assert set(model.predict(X)) <= {0, 1, 2}
