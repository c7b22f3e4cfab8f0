"""MLPClassifier and MLPRegressor: scikit-learn's networks, with compiled training.

Parameters and attributes are those of scikit-learn's own classes of these names, and so are the
numbers. Networks of the same sizes share their machine code, so that a grid search compiles once
for each.
"""

from __future__ import annotations

from typing import Any, Final

import numpy

try:
    from sklearn.base import ClassifierMixin, RegressorMixin
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import (
        check_classification_targets,
        type_of_target,
        unique_labels,
    )
    from sklearn.utils.validation import column_or_1d, validate_data
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the estimators need scikit-learn: pip install 'chainrule[learn]' ({error})",
        name=error.name,
    ) from None

from chainrule import rules
from chainrule.tracebacks import boundary

from ._choices import named
from .estimator_base import Network, dense
from .solvers import STOCHASTIC

__all__ = ["MLPClassifier", "MLPRegressor"]

REGRESSION_LOSSES: Final = ("squared_error", "poisson")


def _is_stochastic(estimator: Network) -> bool:
    """Whether there is ``partial_fit``: otherwise say why not."""
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"partial_fit is there for the solvers {', '.join(STOCHASTIC)}, not for"
            f" {estimator.solver!r}, which takes all samples at once"
        )
    return True


class MLPClassifier(ClassifierMixin, Network):  # type: ignore[misc]
    """A network that classifies: logistic for two classes and for several labels, else softmax.

    What is minimised is the mean cross-entropy of a batch, several labels added up, and
    alpha/2 times the sum of the squared weights, without biases, divided by the batch's size.

    Args:
        hidden_layer_sizes: neurons of each hidden layer; none for a linear model.
        activation: of the hidden layers: any name or function that :class:`MLP` takes, and
            "logistic".
        solver: "adam", "sgd", "lbfgs" by SciPy, or "adamw".
        alpha: the strength of the penalty; of "adamw" the weight decay, apart from the gradient
            and also of biases, with no penalty.
        batch_size: samples a step; "auto" is the least of 200 and all. Not for "lbfgs".
        learning_rate: of "sgd": "constant"; "invscaling": learning_rate_init divided by
            (1 + samples seen) to the power power_t; "adaptive": divided by 5 wherever training
            would stop, down to 1e-6.
        learning_rate_init: the learning rate, or a schedule. Not for "lbfgs".
        power_t: the exponent of "invscaling".
        max_iter: the most epochs, or iterations of "lbfgs".
        shuffle: whether each epoch has another order.
        random_state: for first weights, order, and validation samples.
        tol: the least improvement that counts; for "lbfgs" the largest element of the gradient at
            which it ends.
        verbose: whether to print the loss of each epoch.
        warm_start: whether ``fit`` goes on with the weights there are, by a new optimizer of the
            parameters as they are now.
        momentum: of "sgd".
        nesterovs_momentum: whether that is Nesterov's.
        early_stopping: whether to hold out validation samples, judge by the score on these, and go
            back to the best weights. Not for "lbfgs".
        validation_fraction: which part.
        beta_1: what "adam" and "adamw" keep of the mean of gradients.
        beta_2: what they keep of the mean of their squares.
        epsilon: what they add to its root.
        n_iter_no_change: how many epochs in a row may bring no improvement, or infinity.
        max_fun: the most evaluations of "lbfgs".

    Attributes:
        classes_: the classes.
        model_: the :class:`MLP`.
        coefs_: the weights of each layer, an array (inputs, outputs): read-only copies. Set the
            attribute to change them.
        intercepts_: the biases of each layer, in the same way.
        loss_: the loss of the last epoch, penalty included.
        loss_curve_: that of each epoch, also of earlier calls that training went on from. This and
            the next three are not there after "lbfgs".
        best_loss_: the least of them; None with early_stopping.
        validation_scores_: the score on the validation samples after each epoch; None without.
        best_validation_score_: the best of them; None without.
        n_iter_: the epochs or iterations of the last call.
        t_: how many samples were trained on.
        n_layers_: the number of layers with the inputs.
        n_outputs_: the number of outputs.
        out_activation_: "logistic" or "softmax".
    """

    @boundary
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPClassifier:
        """Train on samples and their classes.

        Args:
            X: inputs, an array or sparse array with a row for each sample.
            y: the class of each sample, or a row of 0 and 1 for each with a column for each label.
            sample_weight: how much each sample counts, a number from 0 up.

        Raises:
            TypeError: if a parameter is of the wrong kind.
            ValueError: if a parameter or the data can't be used.
            DivergenceError: if the loss or a weight becomes NaN or infinite, or the loss of an
                epoch is above 1e5 times what it was for the first weights (1e5 below 1).
        """
        self._fit(X, y, sample_weight)
        return self

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    @boundary
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Go through some samples once; the first call is told all classes.

        Raises as :meth:`fit` does.
        """
        if not hasattr(self, "model_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
        elif classes is not None and not numpy.array_equal(numpy.unique(classes), self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was:"
                f" {self.classes_!r}"
            )
        self._fit(X, y, sample_weight, True, classes)
        return self

    def _checked(self, X: Any, y: Any, first: bool, partial: bool, classes: Any) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse=True, multi_output=True, dtype=numpy.float64, reset=first
        )
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        multilabel = type_of_target(y).startswith("multilabel")
        if first:
            of = numpy.unique(classes) if partial and not multilabel else y
            self._label_binarizer = LabelBinarizer().fit(of)
            self.classes_ = self._label_binarizer.classes_
        self._check_known(y, multilabel, first or partial)
        return dense(X), self._label_binarizer.transform(y).astype(bool)

    def _check_known(self, y: Any, multilabel: bool, some: bool) -> None:
        """Raise ValueError if y does not fit the classes: all of them, or some."""
        if multilabel != self._is_multilabel:
            kinds = "a class for each sample", "a row of 0 and 1 for each label"
            raise ValueError(
                f"training goes on, and y was {kinds[self._is_multilabel]}; it can't be"
                f" {kinds[multilabel]} now"
            )
        if multilabel:
            if y.shape[1] != len(self.classes_):
                raise ValueError(
                    f"training goes on with {len(self.classes_)} labels, and y has {y.shape[1]}"
                )
            return
        found = unique_labels(y)
        unknown = numpy.setdiff1d(found, self.classes_)
        if not some and (unknown.size or len(found) < len(self.classes_)):
            raise ValueError(
                f"warm_start needs the classes of the fit before, {self.classes_}, and y has"
                f" {found}"
            )
        if unknown.size:
            raise ValueError(f"y has classes {unknown} that are not in classes_, {self.classes_}")

    @property
    def _is_multilabel(self) -> bool:
        return str(self._label_binarizer.y_type_).startswith("multilabel")

    def _loss_and_output(self) -> tuple[str, str]:
        if self._label_binarizer.y_type_ == "multiclass":
            return "log_loss", "softmax"
        return "binary_log_loss", "logistic"

    def _strata(self, targets: Any) -> Any:
        return targets if targets.shape[1] == 1 else None

    def _score_of_outputs(self, outputs: Any, targets: Any, sample_weight: Any) -> float:
        if not numpy.isfinite(outputs).all():
            return numpy.nan
        truth = self._label_binarizer.inverse_transform(targets)
        return float(accuracy_score(truth, self._decided(outputs), sample_weight=sample_weight))

    @boundary
    def predict(self, X: Any) -> Any:
        """The most probable class of each sample.

        Several labels are rows of 0 and 1, sparse if those of the training were.
        """
        return self._decided(self._outputs(X))

    def _decided(self, logits: Any) -> Any:
        return self._label_binarizer.inverse_transform(self._shares(logits))

    def _shares(self, logits: Any) -> Any:
        """The probability of each class or label; of two classes that of the second."""
        if self.out_activation_ == "softmax":
            powers = numpy.exp(logits - logits.max(axis=1, keepdims=True))
            return powers / powers.sum(axis=1, keepdims=True)
        shares = numpy.array([rules.sigmoid(x) for x in logits.ravel().tolist()])
        return shares.reshape(logits.shape)

    @boundary
    def predict_proba(self, X: Any) -> Any:
        """The probability of each class for each sample."""
        shares = self._shares(self._outputs(X))
        return numpy.column_stack([1.0 - shares, shares]) if shares.ndim == 1 else shares

    @boundary
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of each probability."""
        with numpy.errstate(divide="ignore"):
            return numpy.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Network):  # type: ignore[misc]
    """A network that predicts numbers, one or several.

    What is minimised is the mean of half the squared error of a batch, or of half the Poisson
    deviance, several targets added up, and the penalty of :class:`MLPClassifier`. The squared error
    that ``loss_`` and ``loss_curve_`` show is the mean over the targets.

    Args:
        loss: "squared_error" or "poisson", for counts: targets from 0 up, whose logarithm is what
            the network learns.
        hidden_layer_sizes: this and all others as for :class:`MLPClassifier`.

    Attributes:
        model_: the :class:`MLP`; this and all others are those of :class:`MLPClassifier`.
        out_activation_: "identity", or "exp" for "poisson".
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.loss = loss

    @boundary
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train on samples and their targets; the arguments are those of a classifier's fit."""
        self._fit(X, y, sample_weight)
        return self

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    @boundary
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Go through some samples once."""
        self._fit(X, y, sample_weight, True)
        return self

    def _checked(self, X: Any, y: Any, first: bool, partial: bool, classes: Any) -> tuple[Any, Any]:
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
        y = dense(y).astype(numpy.float64)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return dense(X), y.reshape(len(y), -1)

    def _checked_parameters(self) -> list[int]:
        if not isinstance(self.loss, str):
            raise TypeError(
                f"loss is one of {', '.join(REGRESSION_LOSSES)}, not {self.loss!r}; the sizes of"
                " hidden layers are MLPRegressor(hidden_layer_sizes=...)"
            )
        named("loss", self.loss, REGRESSION_LOSSES)
        return super()._checked_parameters()

    def _loss_and_output(self) -> tuple[str, str]:
        return self.loss, "exp" if self.loss == "poisson" else "identity"

    def _strata(self, targets: Any) -> Any:
        return None

    def _score_of_outputs(self, outputs: Any, targets: Any, sample_weight: Any) -> float:
        predicted = self._predicted(outputs)
        if not numpy.isfinite(predicted).all():
            return numpy.nan
        return float(r2_score(targets, predicted, sample_weight=sample_weight))

    @boundary
    def predict(self, X: Any) -> Any:
        """The prediction for each sample."""
        return self._predicted(self._outputs(X))

    def _predicted(self, outputs: Any) -> Any:
        if self.out_activation_ != "exp":
            return outputs
        with numpy.errstate(over="ignore"):
            return numpy.exp(outputs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
