"""Elements of arrays by value: functions, in LLVM's assembly language, that read or add to them.

What lies side by side for the lanes is read at once. Sums that all lanes share are added to a lane
after another, so that several may add to the same element.
"""

from __future__ import annotations

from typing import Final

PARAMETERS: Final = {
    "gather": "vpii",
    "gather_numbers": "vpii",
    "scatter": "vvpii",
    "scatter_shared": "vvpip",
}
"""The types of their parameters: which element, what is added, the first element, how many there
are, and the bytes from one to the next, or where the positions of the lanes are."""


def text(operation: str, name: str, width: int, inline: bool) -> str:
    """A function.

    An element outside is taken for the first one: a guard fails there.

    Args:
        operation: which one.
        name: its name.
        width: lanes of a vector.
        inline: whether it becomes a part of its callers.
    """
    return _Writer(operation, name, width, inline).text()


class _Writer:
    def __init__(self, operation: str, name: str, width: int, inline: bool) -> None:
        self._operation = operation
        self._width = width
        self._lines: list[str] = []
        self._declared: list[str] = []
        double, whole, _ = (self._kind(x) for x in ("double", "i64", "i1"))
        adds = operation.startswith("scatter")
        shared = operation == "scatter_shared"
        parameters = [f"{double} %x", *[f"{double} %v"] * adds, "ptr %a", "i64 %n"]
        parameters.append("ptr %w" if shared else "i64 %s")
        linkage, attributes = ("linkonce_odr ", " alwaysinline") if inline else ("", "")
        self._begin = f"define {linkage}{double} @{name}({','.join(parameters)}){attributes}{{"
        line = self._lines.append
        line("%end = sitofp i64 %n to double")
        line(f"%low = fcmp oge {double} %x,zeroinitializer")
        line(f"%high = fcmp olt {double} %x,{self._splat('double', '%end')}")
        line(f"%there = and {self._kind('i1')} %low,%high")
        line(f"%y = select {self._kind('i1')} %there,{double} %x,{double} zeroinitializer")
        line(f"%k = fptosi {double} %y to {whole}")
        if shared:
            self._add_in_turn()
        elif adds:
            self._add()
        else:
            line(f"ret {double} {self._loaded(operation == 'gather')}")

    def text(self) -> str:
        return "\n".join([*self._declared, self._begin, *self._lines, "}"])

    def _kind(self, of: str) -> str:
        return of if self._width == 1 else f"<{self._width} x {of}>"

    def _splat(self, of: str, number: str) -> str:
        """The name of a vector of equal numbers."""
        if self._width == 1:
            return number
        kind, one = self._kind(of), f"{number}.one"
        self._lines.append(f"{one} = insertelement {kind} poison,{of} {number},i32 0")
        zeros = f"<{self._width} x i32> zeroinitializer"
        all_ = f"{number}.all"
        self._lines.append(f"{all_} = shufflevector {kind} {one},{kind} poison,{zeros}")
        return all_

    def _addresses(self, of_lanes: bool) -> str:
        """The addresses of the elements; where each lane has its own, of those."""
        line, whole = self._lines.append, self._kind("i64")
        line(f"%o = mul {whole} %k,{self._splat('i64', '%s')}")
        offset = "%o"
        if of_lanes and self._width > 1:
            lanes = ",".join([f"i64 {8 * lane}" for lane in range(self._width)])
            line(f"%p = add {whole} %o,<{lanes}>")
            offset = "%p"
        line(f"%e = getelementptr i8,ptr %a,{whole} {offset}")
        return "%e"

    def _loaded(self, of_lanes: bool) -> str:
        """The elements."""
        double, address = self._kind("double"), self._addresses(of_lanes)
        if self._width == 1:
            self._lines.append(f"%r = load double,ptr {address},align 8")
            return "%r"
        kinds = f"{self._kind('ptr')},i32,{self._kind('i1')},{double}"
        function = f"@llvm.masked.gather.v{self._width}f64.v{self._width}p0"
        self._declared.append(f"declare {double} {function}({kinds})")
        given = f"{self._kind('ptr')} {address},i32 8,{self._kind('i1')} splat(i1 true)"
        self._lines.append(f"%r = call {double} {function}({given},{double} poison)")
        return "%r"

    def _add(self) -> None:
        """Add where each lane has its own elements."""
        double, line = self._kind("double"), self._lines.append
        before = self._loaded(True)
        line(f"%t = fadd {double} {before},%v")
        if self._width == 1:
            line("store double %t,ptr %e,align 8")
        else:
            kinds = f"{double},{self._kind('ptr')},i32,{self._kind('i1')}"
            function = f"@llvm.masked.scatter.v{self._width}f64.v{self._width}p0"
            self._declared.append(f"declare void {function}({kinds})")
            given = f"{double} %t,{self._kind('ptr')} %e,i32 8,{self._kind('i1')} splat(i1 true)"
            line(f"call void {function}({given})")
        line(f"ret {double} %v")

    def _add_in_turn(self) -> None:
        """Add to sums that all lanes share; lanes that only fill the block add 0."""
        double, whole, line = self._kind("double"), self._kind("i64"), self._lines.append
        line(f"%positions = load {whole},ptr %w,align 8")
        line(f"%asked = icmp sge {whole} %positions,zeroinitializer")
        line(f"%u = select {self._kind('i1')} %asked,{double} %v,{double} zeroinitializer")
        for lane in range(self._width):
            line(f"%k{lane} = extractelement {whole} %k,i32 {lane}")
            line(f"%u{lane} = extractelement {double} %u,i32 {lane}")
            line(f"%e{lane} = getelementptr double,ptr %a,i64 %k{lane}")
            line(f"%b{lane} = load double,ptr %e{lane},align 8")
            line(f"%t{lane} = fadd double %b{lane},%u{lane}")
            line(f"store double %t{lane},ptr %e{lane},align 8")
        line(f"ret {double} %v")
