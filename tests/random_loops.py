"""Random programs with loops and branches as functions, as Python source.

They have scans, forwards and backwards, over arguments, constants, computed arrays and nothing,
with numbers, tuples, dicts and arrays as carries; loops by an index that is used as a number and to
look up; loops of while; branches; look-ups by numbers of the run; sums by segments; reductions;
inner lanes; parts that are compiled on their own; and each of these in the others.
"""

from __future__ import annotations

from random import Random

INPUTS = 6
"""The length of the array that a program takes, besides a number."""

INDICES = 5
"""The length of an array of whole numbers that it takes, too."""


class Source:
    """Writes a program.

    Args:
        random: makes the choices.
        size: how many operations and loops a body has.
    """

    def __init__(self, random: Random, size: int = 3) -> None:
        self._random = random
        self._size = size
        self._lines: list[str] = []
        self._parts: list[str] = []  # functions that are compiled on their own
        self._names = 0
        self._calls = True

    def program(self) -> str:
        """The source of a function ``program(lax, a, x, k)``, which gives a number."""
        self._lines = ["def program(lax, a, x, k):"]
        numbers = self._body(1, ["a"], [("x", INPUTS)], 2)
        self._lines.append("    return " + " + ".join(f"0.3 * {x}" for x in numbers))
        return "\n".join([*self._parts, *self._lines])

    def _say(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)

    def _new(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _value(self, numbers: list[str], arrays: list[tuple[str, int]]) -> str:
        """A number."""
        random = self._random
        if arrays and random.random() < 0.3:
            name, length = random.choice(arrays)
            return f"{name}[{random.randrange(length)}]"
        if arrays and random.random() < 0.1:
            name, length = random.choice(arrays)
            index = f"floor(abs({random.choice(numbers)}) * 3.0)"
            index = random.choice([index, f"k[{random.randrange(INDICES)}]"])
            return f"take({name}, ({index} + {random.randrange(3)}) % {length})"
        if random.random() < 0.15:
            return repr(round(random.uniform(-1.5, 1.5), 2))
        return random.choice(numbers)

    def _formula(self, numbers: list[str], arrays: list[tuple[str, int]]) -> str:
        """A number between -2 and 2, or nearly."""
        a, b, c = (self._value(numbers, arrays) for _ in range(3))
        return self._random.choice(
            [
                f"sin({a} + 0.5 * {b})",
                f"0.5 * {a} - sin({b} * {c})",
                f"tanh({a} * {b}) + 0.25 * {c}",
                f"where({a} > {b}, sin({c}), 0.5 * {a})",
                f"maximum(0.5 * {a}, sin({b}))",
                f"{a} / (2.0 + {b} * {b})",
                f"exp(-{a} * {a}) + 0.1 * {b}",
            ]
        )

    def _body(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> list[str]:
        """Statements; gives the numbers that are known after them."""
        numbers, arrays = [*numbers], [*arrays]
        for _ in range(self._random.randint(1, self._size)):
            name = self._new("v")
            self._say(depth, f"{name} = {self._formula(numbers, arrays)}")
            numbers.append(name)
            if self._random.random() < 0.3:
                others = [self._reduction, self._segments, *[self._part] * self._calls]
                self._random.choice(others)(depth, numbers, arrays)
            if deeper and self._random.random() < 0.75:
                kinds = [self._scan] * 5 + [self._fori, self._fori, self._while, self._cond]
                kinds += [self._vmap, self._vmap]
                self._random.choice([*kinds, self._map, self._plain])(
                    depth, numbers, arrays, deeper - 1
                )
        return numbers

    def _scan(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        random = self._random
        f, c, x = self._new("f"), self._new("c"), self._new("x")
        kind = random.choice(["number", "tuple", "dict", "array", "nothing"])
        inner_numbers, inner_arrays = [*numbers], [*arrays]
        first, second = (self._value(numbers, arrays) for _ in range(2))
        if kind == "number":
            init = first
            inner_numbers.append(c)
        elif kind == "tuple":
            init = f"({first}, {second})"
            inner_numbers += [f"{c}[0]", f"{c}[1]"]
        elif kind == "dict":
            init = f"{{'p': {first}, 'q': ({second}, None)}}"
            inner_numbers += [f"{c}['p']", f"{c}['q'][0]"]
        elif kind == "array":
            init = f"array([{first}, {second}, 0.5])"
            inner_arrays.append((c, 3))
        else:
            init = "None"
        length = random.randint(1, 9)
        source = random.choice(
            ["argument", "numbers", "computed", "mixed", "indices", "none", "rows", "two"]
        )
        reads, rest = f"{x}", ""
        if source == "argument":
            name, length = random.choice(arrays)
            xs = name
        elif source == "numbers":
            xs = repr([round(random.uniform(-1, 1), 2) for _ in range(length)])
            xs = f"numpy.array({xs})"
        elif source == "computed":
            factor = self._value(numbers, arrays)
            name, length = random.choice(arrays)
            xs = f"array([sin({factor} * {name}[i]) for i in range({length})])"
        elif source == "mixed":
            values = [self._value(numbers, arrays) for _ in range(length)]
            xs = f"array([{', '.join(values)}])"
        elif source == "indices":
            xs, length = "k", INDICES
            inner_numbers += [f"take(x, {x})", f"(0.1 * {x})", f"take(x, (2 * {x} + 1) % {INPUTS})"]
        elif source == "rows":
            xs, length = f"x[:{INPUTS // 2 * 2}].reshape({INPUTS // 2}, 2)", INPUTS // 2
            inner_arrays.append((x, 2))
        elif source == "two":
            xs, length = f"(x, numpy.arange({INPUTS}) * 0.1)", INPUTS
            inner_numbers += [f"{x}[0]", f"{x}[1]"]
        else:
            xs, rest = "None", f", {length}"
        if source in ("argument", "numbers", "computed", "mixed"):
            inner_numbers.append(reads)
        self._say(depth, f"def {f}({c}, {x}):")
        known = self._body(depth + 1, inner_numbers, inner_arrays, deeper)
        after = [self._formula(known[-4:], inner_arrays) for _ in range(3)]
        after = [f"0.5 * ({formula})" for formula in after]
        given = {
            "number": after[0],
            "tuple": f"({after[0]}, {after[1]})",
            "dict": f"{{'p': {after[0]}, 'q': ({after[1]}, None)}}",
            "array": f"array([{', '.join(after)}])",
            "nothing": "None",
        }[kind]
        leaves = random.choice(["None", "one", "two"]) if kind != "nothing" else "one"
        left = {"None": "None", "one": known[-1], "two": f"({known[-1]}, array([{after[0]}, 1.0]))"}
        self._say(depth + 1, f"return {given}, {left[leaves]}")
        s, y = self._new("s"), self._new("y")
        reverse = ", reverse=True" if random.random() < 0.4 else ""
        kept = self._checkpoint()
        given = f"{f}, {init}, {xs}{rest}{reverse}, checkpoint={kept}"
        self._say(depth, f"{s}, {y} = lax.scan({given})")
        if kind == "number":
            numbers.append(s)
        elif kind == "tuple":
            numbers += [f"{s}[0]", f"{s}[1]"]
        elif kind == "dict":
            numbers.append(f"{s}['q'][0]")
        elif kind == "array":
            arrays.append((s, 3))
            numbers.append(f"{s}.sum()")
        if leaves == "one":
            arrays.append((y, length))
            numbers.append(f"(0.2 * {y}.sum())")
        elif leaves == "two":
            numbers.append(f"(0.2 * {y}[1].sum() - {y}[0][0])")

    def _checkpoint(self) -> str:
        """What a loop keeps for reverse mode."""
        return self._random.choice(
            ["None", "None", "1", "2", "3", "4", "'binomial'", "('binomial', 2)"]
        )

    def _fori(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        random = self._random
        f, i, c, s = self._new("f"), self._new("i"), self._new("c"), self._new("s")
        name, length = random.choice(arrays)
        upper = random.randint(0, length)
        looked_up = random.choice([f"{name}[{i}]", f"{name}[{length - 1} - {i}]", f"(0.1 * {i})"])
        first = self._value(numbers, arrays)
        self._say(depth, f"def {f}({i}, {c}):")
        known = self._body(depth + 1, [*numbers, c, looked_up], arrays, deeper)
        self._say(depth + 1, f"return 0.5 * ({self._formula(known[-4:], arrays)}) + 0.1 * {c}")
        lower = random.randint(0, 2)
        kept = self._checkpoint()
        given = f"{min(lower, upper)}, {upper}, {f}, {first}, checkpoint={kept}"
        self._say(depth, f"{s} = lax.fori_loop({given})")
        numbers.append(s)

    def _while(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        f, c, s = self._new("f"), self._new("c"), self._new("s")
        first = self._value(numbers, arrays)
        self._say(depth, f"def {f}({c}):")
        known = self._body(depth + 1, [*numbers, f"{c}[0]"], arrays, 0)
        step = self._random.choice([0.7, 0.7, 0.2])
        self._say(depth + 1, f"return {self._formula(known[-4:], arrays)}, {c}[1] + {step}")
        most = self._random.randint(1, 4)
        condition = f"lambda c: c[1] < {most} + 0.3 * {self._value(numbers, [])}"
        self._say(depth, f"{s} = lax.while_loop({condition}, {f}, ({first}, 0.0))[0]")
        numbers.append(s)

    def _cond(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        s, a, b = (self._new(prefix) for prefix in "sfg")
        given = self._value(numbers, arrays)
        for name in (a, b):
            x = self._new("x")
            self._say(depth, f"def {name}({x}):")
            known = self._body(depth + 1, [*numbers, x], arrays, deeper)
            self._say(depth + 1, f"return {self._formula(known[-4:], arrays)}")
        low, high = (self._value(numbers, arrays) for _ in range(2))
        self._say(depth, f"{s} = lax.cond({low} > {high} + 0.1, {a}, {b}, {given})")
        numbers.append(s)

    def _map(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        f, x, y = self._new("f"), self._new("x"), self._new("y")
        name, length = self._random.choice(arrays)
        self._say(depth, f"def {f}({x}):")
        known = self._body(depth + 1, [*numbers, x], arrays, deeper)
        self._say(depth + 1, f"return {self._formula(known[-4:], arrays)}")
        self._say(depth, f"{y} = lax.map({f}, {name})")
        arrays.append((y, length))

    def _plain(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        """A plain loop of Python, which may have others in it."""
        s, k = self._new("s"), self._new("k")
        self._say(depth, f"{s} = {self._value(numbers, arrays)}")
        self._say(depth, f"for {k} in range({self._random.randint(1, 5)}):")
        known = self._body(depth + 1, [*numbers, s, f"(0.1 * {k})"], arrays, deeper)
        self._say(depth + 1, f"{s} = {self._formula(known[-4:], arrays)}")
        numbers.append(s)

    def _vmap(
        self, depth: int, numbers: list[str], arrays: list[tuple[str, int]], deeper: int
    ) -> None:
        """Inner lanes, along an array or along an array and the elements of another."""
        random = self._random
        f, x, z, y = (self._new(prefix) for prefix in "fxzy")
        name, length = random.choice(arrays)
        shared = random.random() < 0.5
        others = [other for other, n in arrays if n == length]
        given = self._value(numbers, arrays) if shared else random.choice(others)
        self._say(depth, f"def {f}({x}, {z}):")
        known = self._body(depth + 1, [*numbers, x, z], arrays, deeper)
        self._say(depth + 1, f"return {self._formula(known[-4:], arrays)}")
        reduce = random.choice([None, None, "sum", "mean"])
        axes = (0, None) if shared else (0, 0)
        mapped = f"lax.vmap({f}, in_axes={axes}, reduce={reduce!r})"
        self._say(depth, f"{y} = {mapped}({name}, {given})")
        if reduce is None:
            arrays.append((y, length))
        else:
            numbers.append(f"(0.3 * {y})")

    def _reduction(self, depth: int, numbers: list[str], arrays: list[tuple[str, int]]) -> None:
        random = self._random
        s = self._new("s")
        name, length = random.choice(arrays)
        other = random.choice([x for x, n in arrays if n == length])
        form = random.choice(
            [
                "{x}.sum()",
                "{x}.mean()",
                "log(sum(exp(v) for v in {x}))",
                "numpy.log(numpy.exp({x}).sum())",
                "numpy.dot({x}, {z})",
                "({x} - {z}).max()",
                "max({x})",
                "numpy.maximum({x}, {z}).sum()",
                "({x}[1:] * {x}[:-1]).sum()",
                "numpy.cumsum({x})[-1]",
            ]
        )
        self._say(depth, f"{s} = {form.format(x=name, z=other)}")
        numbers.append(f"(0.2 * {s})")

    def _segments(self, depth: int, numbers: list[str], arrays: list[tuple[str, int]]) -> None:
        """Numbers added up by segments, which are data or known."""
        random = self._random
        values = ", ".join(self._value(numbers, arrays) for _ in range(INDICES))
        ids = random.choice(
            ["k % 3", "numpy.array([2, 0, 0, 1, 2])", "abs(k) % 2", "[0, 2, -1, 0, 1]"]
        )
        y = self._new("y")
        self._say(depth, f"{y} = segment_sum(array([{values}]), {ids}, 3)")
        arrays.append((y, 3))

    def _part(self, depth: int, numbers: list[str], arrays: list[tuple[str, int]]) -> None:
        """A call of a function that is compiled on its own, and calls no other such."""
        random = self._random
        part, s = f"part{len(self._parts)}", self._new("s")
        name, length = random.choice(arrays)
        gives_array = random.random() < 0.3
        body = Source(random, 2)
        body._calls = False
        body._say(0, f"def {part}(p, q, v, k):")
        known = body._body(1, ["p", "q"], [("v", length)], 0)
        result = body._formula(known[-4:], [("v", length)])
        body._say(1, f"return {f'array([{result}, {known[-1]}])' if gives_array else result}")
        self._parts.append("\n".join(body._lines))
        a, b = self._value(numbers, arrays), self._value(numbers, arrays)
        self._say(depth, f"{s} = lax.part({part})({a}, {b}, {name}, k)")
        if gives_array:
            arrays.append((s, 2))
        else:
            numbers.append(s)
