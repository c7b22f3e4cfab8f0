"""Unknown keyword arguments: an error that gives the nearest name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec, TypeVar

from chainrule.tracebacks import KEPT_APART, keep_users_frames

P = ParamSpec("P")
R = TypeVar("R")

_ELSEWHERE: Final = {
    "_children": "parents",
    "children": "parents",
    "criterion": "loss",
    "eta": "learning_rate",
    "hidden": "sizes",
    "hidden_layer_sizes": "sizes",
    "in_features": "n_in",
    "label": "name",
    "layers": "sizes",
    "loss_fn": "loss",
    "lr": "learning_rate",
    "max_iter": "epochs",
    "n_epochs": "epochs",
    "n_inputs": "n_in",
    "nin": "n_in",
    "nonlin": "activation",
    "nouts": "sizes",
    "num_epochs": "epochs",
    "out_features": "n_out",
    "random_state": "seed",
    "solver": "optimizer",
    "validation_data": "validation",
    "validation_fraction": "validation",
    "validation_split": "validation",
    "value": "data",
    "verbose": "progress",
    "weights": "sample_weight",
}
"""What other libraries call an argument."""


def unknown_keyword(what: str, given: str, names: Iterable[str]) -> TypeError:
    """The error for a keyword argument that does not exist."""
    import difflib

    known = list(names)
    near = difflib.get_close_matches(given.lower(), known, 2, 0.6)
    elsewhere = _ELSEWHERE.get(given)
    if elsewhere in known:
        near = [str(elsewhere)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return TypeError(f"{what} has no argument {given!r}; {hint}")


def with_nearest_names(function: Callable[P, R]) -> Callable[P, R]:
    """A public function, whose error for an unknown keyword argument gives the nearest name.

    It is a :func:`~.tracebacks.boundary` as well.
    """
    names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name != "self"
    ]
    known = frozenset(names)
    what = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            for given in kwargs:
                if given not in known:
                    raise unknown_keyword(what, given, names)
            return function(*args, **kwargs)
        except BaseException as error:
            keep_users_frames(error)
            if KEPT_APART:
                raise error
            raise

    return public
