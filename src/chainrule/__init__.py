"""Write it as scalars, see every gradient: automatic differentiation of scalar Python programs."""

from typing import TYPE_CHECKING

from chainrule import math
from chainrule._version import __version__
from chainrule.annotations import detect_anomaly, group
from chainrule.backpropagation import zero_grad
from chainrule.build import build_info
from chainrule.custom import custom_gradient
from chainrule.lanes import vmap
from chainrule.math import stop_gradient
from chainrule.node import (
    BinaryOpNode,
    Node,
    OperationNode,
    PowOp,
    ReLUNode,
    TanhNode,
)
from chainrule.rules import Operation
from chainrule.testing import check_grads
from chainrule.tracing import TracedValueError
from chainrule.transforms import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    value_and_grad,
    vjp,
)

if TYPE_CHECKING:
    from chainrule.drawing import draw_graph, trace

__all__ = [
    "BinaryOpNode",
    "Node",
    "Operation",
    "OperationNode",
    "PowOp",
    "ReLUNode",
    "TanhNode",
    "TracedValueError",
    "__version__",
    "build_info",
    "check_grads",
    "custom_gradient",
    "detect_anomaly",
    "draw_graph",
    "grad",
    "group",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "math",
    "stop_gradient",
    "trace",
    "value_and_grad",
    "vjp",
    "vmap",
    "zero_grad",
]


def __getattr__(name: str) -> object:
    """Load the drawing room at its first use: most of the time to import everything."""
    if name in ("draw_graph", "trace"):
        from chainrule import drawing

        return getattr(drawing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
