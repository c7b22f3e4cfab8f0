"""What MLPClassifier and MLPRegressor share: parameters, first weights, and how they are trained.

All random numbers are drawn as scikit-learn's networks draw them: the same ``random_state`` gives
the same first weights, validation samples and order of samples, and so the same network.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NoReturn

import numpy
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from chainrule.tracebacks import warn

from .course import Course, DivergenceCheck
from .estimator_parameters import Parameters
from .estimator_weights import LayerWeights
from .evaluation import Predictor, outputs_of
from .history import DivergenceError
from .layers import MLP
from .objective import Objective
from .optimizers import Optimizer
from .samples import balanced, refuse_masked
from .solvers import MomentumSGD, lbfgs, new_optimizer

_OF_STOCHASTIC_SOLVERS = (
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
)


class Network(LayerWeights, Parameters, ABC):
    """What classifier and regressor share."""

    _epochs_without_progress: int

    @abstractmethod
    def _checked(self, X: Any, y: Any, first: bool, partial: bool, classes: Any) -> tuple[Any, Any]:
        """Inputs and targets, both as arrays with a row for each sample.

        For a new network it also notes what the targets are.
        """

    @abstractmethod
    def _loss_and_output(self) -> tuple[str, str]:
        """The loss and the function of the outputs, by scikit-learn's names."""

    @abstractmethod
    def _strata(self, targets: Any) -> Any:
        """Whose shares the validation samples keep, or None."""

    @abstractmethod
    def _score_of_outputs(self, outputs: Any, targets: Any, sample_weight: Any) -> float:
        """How good some outputs are; NaN where they are no numbers."""

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, partial: bool = False, classes: Any = None
    ) -> None:
        """Train a new network, or go on with the one there is.

        What can't be trained on leaves the estimator as it was.
        """
        before = dict(vars(self))
        try:
            objective, held_out, random = self._prepared(X, y, sample_weight, partial, classes)
        except BaseException:
            self.__dict__ = before
            raise
        if self.solver == "lbfgs":
            self._minimise(objective)
        else:
            self._descend(objective, held_out, random, partial)

    def _prepared(
        self, X: Any, y: Any, sample_weight: Any, partial: bool, classes: Any
    ) -> tuple[Objective, Any, Any]:
        """What is minimised, the validation samples if there are any, and random numbers."""
        sizes = self._checked_parameters()
        if partial and self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: one round has nothing to stop;"
                " use fit, or early_stopping=False"
            )
        for name, data in (("X", X), ("y", y), ("sample_weight", sample_weight)):
            refuse_masked(name, data)
        first = not hasattr(self, "model_") or not (self.warm_start or partial)
        samples = list(self._checked(X, y, first, partial, classes))
        if sample_weight is not None:
            samples.append(_checked_weights(sample_weight, samples[0]))
        random = check_random_state(self.random_state)
        if first:
            self._start(sizes, samples[1].shape[1], random)
        else:
            self._go_on(sizes, samples[1].shape[1])
        held_out = None
        if self.early_stopping and self.solver != "lbfgs":
            samples, held_out = self._split(samples, random)
        loss, self.out_activation_ = self._loss_and_output()
        alpha = 0.0 if self.solver == "adamw" else self.alpha  # it decays weights by itself
        objective = Objective(self.model_, loss, samples, alpha)
        if len(objective.values) != self._n_parameters:  # some were put in or taken out
            self._begin(len(objective.values))
        return objective, held_out, random

    def _start(self, sizes: list[int], n_outputs: int, random: Any) -> None:
        """A new network, with first weights by Glorot and Bengio (2010), biases too."""
        factor = 2.0 if self.activation == "logistic" else 6.0
        biases: list[Any] = []

        def draw(_: Any, n_in: int, n_out: int) -> Any:
            bound = math.sqrt(factor / (n_in + n_out))
            weights = random.uniform(-bound, bound, (n_in, n_out))
            biases.append(random.uniform(-bound, bound, n_out))
            return weights.T

        self.model_ = MLP(self.n_features_in_, [*sizes, n_outputs], self._activation(), draw)
        self.intercepts_ = biases
        self.n_outputs_ = n_outputs
        self.n_layers_ = len(sizes) + 2
        self.n_iter_ = 0
        self.t_ = 0
        self._begin(len(self.model_.parameters()))

    def _begin(self, n_parameters: int) -> None:
        """Forget how the network was trained."""
        self._n_parameters = n_parameters
        self._optimizer: tuple[Any, Optimizer] | None = None
        self._course: Course | None = None
        self._forget_progress()

    def _go_on(self, sizes: list[int], n_outputs: int) -> None:
        """See to it that the network fits the parameters and targets, which may be others now."""
        now = self.model_.sizes
        if [*sizes, n_outputs] != now:
            raise ValueError(
                f"training goes on with a network of hidden_layer_sizes={tuple(now[:-1])} and"
                f" {now[-1]} outputs; hidden_layer_sizes is {self.hidden_layer_sizes} and y has"
                f" {n_outputs} outputs: for a new network call fit with warm_start=False"
            )
        function = self._activation()
        if function != self.model_.activation:
            coefs, intercepts = self.coefs_, self.intercepts_
            self.model_ = MLP(self.n_features_in_, now, function, seed=0)
            self.coefs_, self.intercepts_ = coefs, intercepts

    def _minimise(self, objective: Objective) -> None:
        """By L-BFGS."""
        self._forget_progress()
        with numpy.errstate(over="ignore", invalid="ignore"):
            found, self.n_iter_, why = lbfgs(objective, self.max_iter, self.max_fun, self.tol)
        if not math.isfinite(found) or not numpy.isfinite(objective.values).all():
            raise DivergenceError(
                f'solver "lbfgs" diverged: the loss is {found:g} after {self.n_iter_} iterations;'
                " scale the inputs and targets, or raise alpha. The weights are those from before"
            )
        self.loss_ = found
        objective.give_back()
        if why is not None:
            warn(
                f"lbfgs ended after {self.n_iter_} iterations (max_iter={self.max_iter},"
                f" max_fun={self.max_fun}) without a minimum: {why}",
                ConvergenceWarning,
            )

    def _descend(self, objective: Objective, held_out: Any, random: Any, partial: bool) -> None:
        """By steps on batches."""
        batch = self._batch(objective.size)
        if not hasattr(self, "loss_curve_") or self.early_stopping != (self.best_loss_ is None):
            self._begin_progress(objective)
        optimizer = self._optimizer_to_use(partial)
        if self._course is None:
            self._course = Course(optimizer, objective.values)
        check = DivergenceCheck(self._course, objective.values, objective.mean_loss)
        outputs = (
            None if held_out is None else outputs_of(self.model_, held_out[0], objective.parameters)
        )
        order = numpy.arange(objective.size)
        self.n_iter_ = 0
        try:
            for epoch in range(1 if partial else self.max_iter):
                if self.shuffle:
                    order = order[random.permutation(objective.size)]
                self._course.begin_epoch(optimizer, objective.values)
                with numpy.errstate(over="ignore", invalid="ignore"):  # a DivergenceError tells it
                    self.loss_ = self._epoch(objective, optimizer, check, order, batch)
                self.loss_curve_.append(self.loss_)
                self.n_iter_ = epoch + 1
                self.t_ += objective.size
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                self._note_progress(objective, outputs, held_out)
                if isinstance(optimizer, MomentumSGD):
                    optimizer.after_epoch(self.t_)
                if self._epochs_without_progress > self.n_iter_no_change:
                    if not (isinstance(optimizer, MomentumSGD) and optimizer.goes_on_slower()):
                        break
                    self._epochs_without_progress = 0
            else:
                if not partial:
                    warn(
                        f"{self.max_iter} epochs (max_iter) were not enough for the loss to settle",
                        ConvergenceWarning,
                    )
        except KeyboardInterrupt:
            kept = "best weights" if self.early_stopping else "weights of the last step"
            warn(
                f"training was interrupted in epoch {self.n_iter_ + 1}; the network has the {kept}",
                UserWarning,
            )
        finally:
            objective.give_back()
        if self.early_stopping:
            objective.values[:] = self._best_values
            objective.give_back()

    def _epoch(
        self,
        objective: Objective,
        optimizer: Optimizer,
        check: DivergenceCheck,
        order: Any,
        batch: int,
    ) -> float:
        """Go through the samples once; gives the mean loss."""
        total, seen = 0.0, 0
        for start in range(0, objective.size, batch):
            index = order[start : start + batch] if batch < objective.size else None
            found = objective(index)
            if found is None:  # samples of weight 0 are none
                continue
            if not math.isfinite(found.loss):
                self._diverged(f"the loss is {found.loss:g}", objective, optimizer, check)
            optimizer.update(objective.values, found.gradient)
            length = len(order[start : start + batch])
            total += found.loss * length
            seen += length
        mean = total / seen
        fault = check.fault(mean, optimizer)
        if fault is not None:
            self._diverged(fault, objective, optimizer, check)
        return mean

    def _diverged(
        self, what: str, objective: Objective, optimizer: Optimizer, check: DivergenceCheck
    ) -> NoReturn:
        """Go back to weights with a sound loss, and say it.

        Raises:
            DivergenceError: always.
        """
        name, place = check.sound_place()
        first = check.first_loss()
        rate = optimizer.rate
        objective.values[:] = place[0]
        if place is check.course.epoch:
            optimizer.restore(place[1])
        else:  # it may be the state of another optimizer
            self._optimizer = None
        if math.isfinite(first):
            advice = f"the learning rate was {rate:g}, a smaller learning_rate_init may help"
        else:
            advice = f"that of the first weights is {first:g}: scale the inputs and targets"
        raise DivergenceError(
            f"training diverged: {what} in epoch {self.n_iter_ + 1}; {advice}. The weights are"
            f" those of {name}"
        )

    def _optimizer_to_use(self, partial: bool) -> Optimizer:
        """A new optimizer; ``partial_fit`` goes on with the one there is, unless it is another."""
        settings = (
            self.solver, self.learning_rate, self.learning_rate_init, self.power_t, self.momentum,
            self.nesterovs_momentum, self.beta_1, self.beta_2, self.epsilon,
            self.alpha if self.solver == "adamw" else None,
        )  # fmt: skip
        if not partial or self._optimizer is None or self._optimizer[0] != settings:
            self._optimizer = settings, new_optimizer(self)
        return self._optimizer[1]

    def _split(self, samples: list[Any], random: Any) -> tuple[list[Any], list[Any]]:
        """The training and the validation samples.

        Raises:
            ValueError: if there are too few of the latter, or all of one kind have the weight 0.
        """
        size = len(samples[0])
        train, test = train_test_split(
            numpy.arange(size),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=self._strata(samples[1]),
        )
        if len(test) < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {size} samples is {len(test)};"
                " early_stopping needs two or more"
            )
        parts = [[array[index] for array in samples] for index in (train, test)]
        for name, part in zip(("training", "validation"), parts, strict=True):
            if len(part) > 2 and not part[2].any():
                raise ValueError(
                    f"all {name} samples have the weight 0: leave such samples out, or change"
                    " validation_fraction or random_state"
                )
        if len(samples) > 2:
            parts[1][2] = balanced(parts[1][2])
        return parts[0], parts[1]

    def _batch(self, n_samples: int) -> int:
        if isinstance(self.batch_size, str):
            return min(200, n_samples)
        if self.batch_size > n_samples:
            warn(
                f"batch_size is {self.batch_size}, but there are {n_samples} samples to train on:"
                " each batch is all of them",
                UserWarning,
            )
        return min(int(self.batch_size), n_samples)

    # Progress: what says whether training goes on

    def _forget_progress(self) -> None:
        for name in _OF_STOCHASTIC_SOLVERS:
            self.__dict__.pop(name, None)

    def _begin_progress(self, objective: Objective) -> None:
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_: list[float] = []
        self._epochs_without_progress = 0
        self.best_loss_: float | None = None if self.early_stopping else math.inf
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self._best_values = objective.values.copy()

    def _note_progress(self, objective: Objective, outputs: Any, held_out: Any) -> None:
        """Judge by the score on the validation samples, else by the loss."""
        if held_out is None:
            assert self.best_loss_ is not None
            better = self.loss_ <= self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_)
        else:
            assert self.validation_scores_ is not None
            assert self.best_validation_score_ is not None
            _, targets, *weights = held_out
            found = outputs(objective.values)
            score = self._score_of_outputs(found, targets, weights[0] if weights else None)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            better = not score < self.best_validation_score_ + self.tol
            if score > self.best_validation_score_:
                self.best_validation_score_ = score
                self._best_values = objective.values.copy()
        self._epochs_without_progress = 0 if better else self._epochs_without_progress + 1

    def _outputs(self, X: Any) -> Any:
        """What the network gives for inputs, before the function of the outputs."""
        check_is_fitted(self)
        refuse_masked("X", X)
        X = dense(validate_data(self, X, accept_sparse=True, dtype=numpy.float64, reset=False))
        return Predictor(self.model_)(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def dense(X: Any) -> Any:
    """A sparse array as one of NumPy, others as they are."""
    return X.toarray() if hasattr(X, "toarray") else X


def _checked_weights(sample_weight: Any, X: Any) -> Any:
    weights = _check_sample_weight(sample_weight, X, dtype=numpy.float64, ensure_non_negative=True)
    if not weights.any():  # what older versions of scikit-learn let pass
        raise ValueError("sample_weight: the weights are all zero, so that no sample counts")
    return weights
