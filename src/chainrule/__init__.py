"""Write it as scalars, see every gradient: automatic differentiation of scalar Python programs."""

from chainrule import math
from chainrule._version import __version__
from chainrule.annotations import detect_anomaly, group
from chainrule.backpropagation import zero_grad
from chainrule.build import build_info
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

__all__ = [
    "BinaryOpNode",
    "Node",
    "Operation",
    "OperationNode",
    "PowOp",
    "ReLUNode",
    "TanhNode",
    "__version__",
    "build_info",
    "detect_anomaly",
    "group",
    "math",
    "stop_gradient",
    "zero_grad",
]
