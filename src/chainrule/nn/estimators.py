"""MLPClassifier and MLPRegressor with the conventions of scikit-learn.

Parameters and attributes are called as in scikit-learn's own classes of these names. Networks of
the same sizes share their machine code, so that a grid search compiles once for each.
"""

from __future__ import annotations

from typing import Any

import numpy

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the estimators need scikit-learn: pip install 'chainrule[learn]' ({error})",
        name=error.name,
    ) from None

from chainrule import rules
from chainrule.tracebacks import boundary, warn

from .evaluation import Predictor
from .layers import MLP
from .optimizers import SGD, Adam, AdamW, Optimizer
from .training import fit as train

__all__ = ["MLPClassifier", "MLPRegressor"]


class _Network(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def _start(self, n_outputs: int) -> None:
        """A new network and optimizer."""
        hidden = self.hidden_layer_sizes
        sizes = [int(n) for n in hidden] if numpy.iterable(hidden) else [int(hidden)]
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        activation = "sigmoid" if self.activation == "logistic" else self.activation
        self.model_ = MLP(self.n_features_in_, [*sizes, n_outputs], activation, seed=seed)
        self.n_outputs_ = n_outputs
        self.n_layers_ = len(sizes) + 2
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0
        self._random = numpy.random.default_rng(seed)
        self._optimizer: Optimizer | None = None

    def _batch(self, n_samples: int) -> int:
        if self.batch_size == "auto":
            return min(200, n_samples)
        return min(int(self.batch_size), n_samples)

    def _new_optimizer(self, batch: float) -> Optimizer:
        decay = self.alpha / batch if batch > 0 else 0.0
        if self.solver == "sgd":
            momentum = self.momentum
            return SGD(
                self.learning_rate_init,
                momentum=momentum,
                nesterov=momentum > 0,
                weight_decay=decay,
            )
        if self.solver == "adamw":
            return AdamW(self.learning_rate_init, weight_decay=self.alpha)
        if self.solver == "adam":
            return Adam(self.learning_rate_init, weight_decay=decay)
        raise ValueError(f'solver is "adam", "adamw" or "sgd", not {self.solver!r}')

    def _train(self, X: Any, y: Any, loss: str, sample_weight: Any, partial: bool) -> None:
        """Go on training the network."""
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        batch = self._batch(len(X))
        if self._optimizer is None:
            whole = len(X) if sample_weight is None else float(sample_weight.sum())
            self._optimizer = self._new_optimizer(batch * whole / len(X))
        validation: Any = None
        if self.early_stopping and not partial:
            validation = float(self.validation_fraction)
            batch = self._batch(len(X) - round(len(X) * validation))
        history = train(
            self.model_,
            X,
            y,
            loss=loss,
            optimizer=self._optimizer,
            epochs=1 if partial else self.max_iter,
            batch_size=batch,
            shuffle=self.shuffle,
            seed=self._random,
            validation=validation,
            patience=None if partial else self.n_iter_no_change,
            min_delta=self.tol if numpy.isfinite(self.tol) else 0.0,
            sample_weight=sample_weight,
            progress=bool(self.verbose),
        )
        self.loss_curve_.extend(history.loss)
        self.loss_ = history.loss[-1] if history.loss else numpy.nan
        self.n_iter_ = self.n_iter_ + 1 if partial else len(history.loss)
        self.t_ = len(X) * self.n_iter_
        if validation is not None:
            self.validation_losses_ = history.validation_loss
        if not partial and history.stopped == "epochs":
            warn(
                f"{self.max_iter} epochs (max_iter) were not enough for the loss to settle",
                ConvergenceWarning,
            )

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self)
        X = _dense(validate_data(self, X, accept_sparse=True, dtype=numpy.float64, reset=False))
        return Predictor(self.model_)(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class MLPClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A network that classifies: logistic for two classes and for several labels, else softmax.

    Args:
        hidden_layer_sizes: neurons of each hidden layer.
        activation: of the hidden layers: any name or function that :class:`MLP` takes.
        solver: "adam", "adamw" or "sgd".
        alpha: weight decay; for "adam" and "sgd" it is divided by the size of a batch.
        batch_size: samples a step; "auto" is the least of 200 and all.
        learning_rate_init: the learning rate, or a schedule.
        max_iter: the most epochs.
        shuffle: whether each epoch has another order.
        random_state: for first weights, order, and validation samples.
        tol: the least improvement of the loss that counts.
        verbose: whether to show a progress bar.
        warm_start: whether ``fit`` goes on from where it was.
        momentum: of "sgd", Nesterov's.
        early_stopping: whether to hold out validation samples and judge by the loss on these.
        validation_fraction: which part.
        n_iter_no_change: epochs without improvement after which training stops.

    Attributes:
        classes_: the classes.
        model_: the :class:`MLP`.
        loss_curve_: the loss of each epoch.
    """

    @boundary
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPClassifier:
        """Train on samples and their classes."""
        again = self.warm_start and hasattr(self, "model_")
        X, y = validate_data(
            self, X, y, accept_sparse=True, multi_output=True, dtype=numpy.float64, reset=not again
        )
        check_classification_targets(y)
        if again and set(numpy.unique(y)) != set(self.classes_):
            raise ValueError(
                f"warm_start needs the classes of the fit before, {self.classes_}, and y has"
                f" {numpy.unique(y)}"
            )
        if not again:
            self._take_classes(y)
        self._train(_dense(X), self._targets(y), self._loss, sample_weight, False)
        return self

    @boundary
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> MLPClassifier:
        """Go through some samples once; the first call is told all classes."""
        first = not hasattr(self, "model_")
        X, y = validate_data(
            self, X, y, accept_sparse=True, multi_output=True, dtype=numpy.float64, reset=first
        )
        check_classification_targets(y)
        if first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            labels = type_of_target(y).startswith("multilabel")
            self._take_classes(y if labels else numpy.unique(classes))
        elif classes is not None and not numpy.array_equal(numpy.unique(classes), self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was:"
                f" {self.classes_!r}"
            )
        self._train(_dense(X), self._targets(y), self._loss, sample_weight, True)
        return self

    def _take_classes(self, y: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_
        kind = self._label_binarizer.y_type_
        self._multilabel = kind.startswith("multilabel")
        several = self._multilabel or len(self.classes_) > 2
        self._loss = "cross_entropy" if kind == "multiclass" else "binary_cross_entropy"
        self.out_activation_ = "softmax" if kind == "multiclass" else "logistic"
        self._start(len(self.classes_) if several else 1)

    def _targets(self, y: Any) -> Any:
        if self._multilabel:
            return _dense(y).astype(numpy.float64)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        unknown = numpy.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y has classes {unknown} that are not in classes_, {self.classes_}")
        labels = numpy.searchsorted(self.classes_, y)
        return labels if self._loss == "cross_entropy" else labels.astype(numpy.float64)

    @boundary
    def predict(self, X: Any) -> Any:
        """The most probable class of each sample."""
        logits = self._outputs(X)
        if self._multilabel:
            return (logits.reshape(len(logits), -1) > 0).astype(int)
        if logits.ndim == 1:
            positive = (logits > 0).astype(int)
            return self.classes_[numpy.minimum(positive, len(self.classes_) - 1)]
        return self.classes_[logits.argmax(axis=1)]

    @boundary
    def predict_proba(self, X: Any) -> Any:
        """The probability of each class for each sample."""
        logits = self._outputs(X)
        if self.out_activation_ == "softmax":
            logits = logits - logits.max(axis=1, keepdims=True)
            powers = numpy.exp(logits)
            return powers / powers.sum(axis=1, keepdims=True)
        share = numpy.array([rules.sigmoid(x) for x in logits.ravel().tolist()])
        if self._multilabel:
            return share.reshape(len(logits), -1)
        return numpy.column_stack([1.0 - share, share])

    @boundary
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of each probability."""
        with numpy.errstate(divide="ignore"):
            return numpy.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A network that predicts numbers, one or several, with the least squared error.

    Parameters are those of :class:`MLPClassifier`.

    Attributes:
        model_: the :class:`MLP`.
        loss_curve_: the loss of each epoch.
    """

    @boundary
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train on samples and their targets."""
        self._fit(X, y, sample_weight, not (self.warm_start and hasattr(self, "model_")), False)
        return self

    @boundary
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Go through some samples once."""
        self._fit(X, y, sample_weight, not hasattr(self, "model_"), True)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, first: bool, partial: bool) -> None:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=True,
            multi_output=True,
            y_numeric=True,
            dtype=numpy.float64,
            reset=first,
        )
        y = y.astype(numpy.float64)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if first:
            self.out_activation_ = "identity"
            self._start(1 if y.ndim == 1 else y.shape[1])
        self._train(_dense(X), y, "mean_squared_error", sample_weight, partial)

    @boundary
    def predict(self, X: Any) -> Any:
        """The prediction for each sample."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _dense(X: Any) -> Any:
    return X.toarray() if hasattr(X, "toarray") else X
