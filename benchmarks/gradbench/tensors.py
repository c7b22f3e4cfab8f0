"""Derivatives of functions of PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def value_and_grad(torch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The value of a function and its gradient by the first argument."""

    def derivative(x: Any, *others: Any) -> Any:
        x = x.detach().requires_grad_()
        value = function(x, *others)
        return value.detach(), torch.autograd.grad(value, x)[0]

    return derivative
