"""Write it as scalars, see every gradient: automatic differentiation of scalar Python programs."""

from typing import TYPE_CHECKING

from chainrule import math
from chainrule._version import __version__
from chainrule.annotations import detect_anomaly, group, record_lines
from chainrule.backpropagation import zero_grad
from chainrule.build import build_info
from chainrule.domain import domain_errors
from chainrule.node import (
    BinaryOpNode,
    Node,
    OperationNode,
    PowOp,
    ReLUNode,
    TanhNode,
)
from chainrule.rules import Operation, stop_gradient
from chainrule.tracing import TracedValueError

if TYPE_CHECKING:
    from chainrule import lax, nn
    from chainrule.arrays import NodeArray, array
    from chainrule.custom import custom_gradient
    from chainrule.debugging import debug_print
    from chainrule.drawing import backward_frames, draw_graph, trace
    from chainrule.explorer import Explorer, Recording, TrainingSet, explore
    from chainrule.jit.function import compile
    from chainrule.jit.indices import take
    from chainrule.jit.segment_sums import segment_sum
    from chainrule.jit.trace import CompileError
    from chainrule.lanes import vmap
    from chainrule.program.form import Program
    from chainrule.shortcuts import BranchWarning
    from chainrule.solving import fixed_point, minimize_scalar, root
    from chainrule.testing import check_grads
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

__all__ = [
    "BinaryOpNode",
    "BranchWarning",
    "CompileError",
    "Explorer",
    "Node",
    "NodeArray",
    "Operation",
    "OperationNode",
    "PowOp",
    "Program",
    "ReLUNode",
    "Recording",
    "TanhNode",
    "TracedValueError",
    "TrainingSet",
    "__version__",
    "array",
    "backward_frames",
    "build_info",
    "check_grads",
    "compile",
    "custom_gradient",
    "debug_print",
    "detect_anomaly",
    "domain_errors",
    "draw_graph",
    "explore",
    "fixed_point",
    "grad",
    "group",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "lax",
    "math",
    "minimize_scalar",
    "nn",
    "record_lines",
    "root",
    "segment_sum",
    "stop_gradient",
    "take",
    "trace",
    "value_and_grad",
    "vjp",
    "vmap",
    "zero_grad",
]

# Rooms that are loaded at their first use, as they need NumPy and more: most of the time to import.
_ROOMS = {
    "arrays": ("NodeArray", "array"),
    "jit.function": ("compile",),
    "jit.indices": ("take",),
    "jit.segment_sums": ("segment_sum",),
    "jit.trace": ("CompileError",),
    "custom": ("custom_gradient",),
    "debugging": ("debug_print",),
    "drawing": ("backward_frames", "draw_graph", "trace"),
    "explorer": ("Explorer", "Recording", "TrainingSet", "explore"),
    "lanes": ("vmap",),
    "program.form": ("Program",),
    "shortcuts": ("BranchWarning",),
    "solving": ("fixed_point", "minimize_scalar", "root"),
    "testing": ("check_grads",),
    "transforms": (
        "grad",
        "hessian",
        "hvp",
        "jacfwd",
        "jacobian",
        "jacrev",
        "jvp",
        "value_and_grad",
        "vjp",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    """A name of a room that is loaded at its first use."""
    from importlib import import_module

    if name in ("lax", "nn"):
        return import_module(f"chainrule.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"chainrule.{_ROOM_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
