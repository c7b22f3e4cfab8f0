"""A program to read, one statement a line."""

from __future__ import annotations

from collections.abc import Sequence

from .form import Compute, Guard, Load, Loop, Operand, Program, Segment, Statement, Store


def text(program: Program) -> str:
    """The program to read."""
    printer = _Printer()
    printer.body(program.body, "")
    outputs = [
        printer.shown(x) if isinstance(x, (float, Statement)) else str(x) for x in program.outputs
    ]
    return "\n".join([*printer.lines, "return " + ", ".join(outputs)])


class _Printer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._numbers: dict[Statement, int] = {}

    def shown(self, x: Operand) -> str:
        if isinstance(x, float):
            return repr(x)
        return f"%{self._numbers.setdefault(x, len(self._numbers))}"

    def body(self, body: Sequence[Statement], indent: str) -> None:
        for x in body:
            if isinstance(x, Compute):
                symbol = x.operation.symbol
                shown = [self.shown(y) for y in x.operands]
                if not symbol.isidentifier() and len(shown) == 2:
                    said = f" {symbol} ".join(shown)
                else:
                    said = f"{symbol}({', '.join(shown)})"
                self.lines.append(f"{indent}{self.shown(x)} = {said}")
            elif isinstance(x, Load):
                self.lines.append(f"{indent}{self.shown(x)} = {x.array.name}[{x.index.offset}]")
            elif isinstance(x, Store):
                self.lines.append(f"{indent}{x.array.name}[{x.index}] = {self.shown(x.value)}")
            elif isinstance(x, Guard):
                word = "true" if x.outcome else "false"
                self.lines.append(f"{indent}guard {self.shown(x.condition)} is {word}")
            elif isinstance(x, (Loop, Segment)):
                self.lines.append(f"{indent}{type(x).__name__.lower()}")
                self.body(x.body, indent + "    ")
