"""From the graph to machine code: trace, tape, lowering, kernel."""

from chainrule.compiler.function import Compiled, Stats, compile
from chainrule.compiler.indices import take
from chainrule.compiler.trace import CompileError

__all__ = ["CompileError", "Compiled", "Stats", "compile", "take"]
