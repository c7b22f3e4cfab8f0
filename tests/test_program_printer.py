"""Programs as text."""

from chainrule import rules
from chainrule.annotations import Annotation
from chainrule.program.builder import Builder
from chainrule.program.form import (
    SUMS,
    VALUES,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Program,
    Slice,
)
from chainrule.program.nests import instance


def _at(line: int, name: str | None = None, groups: tuple[str, ...] = ()) -> Annotation:
    return Annotation(name, groups, f"/home/user/asian.py:{line}")


def test_asian_option() -> None:
    """Loops, elements of arrays, operations, guards, and the user's lines at the right."""
    b = Builder(255)
    price, total = Array(VALUES, 253, "price"), Array(VALUES, 253, "total")
    b.note = _at(8, "drift", ("market",))
    drift = b.compute(rules.multiply, (b.input(1), 1 / 252))
    b.note = _at(9)
    b.store(price, Index(), b.input(0))
    b.store(total, Index(), 0.0)
    b.note = _at(10)
    with b.loop(252) as loop:
        i = Index(0, ((loop, 1),))
        b.note = _at(11)
        change = b.compute(rules.add, (drift, b.load(b.inputs, i.plus(3))))
        following = b.compute(rules.multiply, (b.load(price, i), b.compute(rules.exp, (change,))))
        b.store(price, i.plus(1), following)
        b.note = _at(12)
        b.store(total, i.plus(1), b.compute(rules.add, (b.load(total, i), following)))
    b.note = None
    mean = b.compute(rules.divide, (b.load(total, Index(252)), 252.0))
    b.guard(b.compute(rules.less, (b.input(2), mean)), True, Index())
    result = b.compute(rules.subtract, (mean, b.input(2)))
    program = b.finish([result, b.compute(rules.negative, (result,)), Slice(price, 1, 3)])
    assert str(program).splitlines() == [
        "input x[255]",
        "values price[253]",
        "values total[253]",
        "%0 = x[1] * 0.003968253968253968  # asian.py:8  drift  in market",
        "price[0] = x[0]                   # asian.py:9",
        "total[0] = 0.0                    # asian.py:9",
        "for i in range(252):              # asian.py:10",
        "    %1 = %0 + x[i + 3]            # asian.py:11",
        "    %2 = exp(%1)                  # asian.py:11",
        "    %3 = price[i] * %2            # asian.py:11",
        "    price[i + 1] = %3             # asian.py:11",
        "    total[i + 1] = total[i] + %3  # asian.py:12",
        "%4 = total[252] / 252.0",
        "guard 0: x[2] < %4 is true",
        "%5 = %4 - x[2]",
        "%6 = -%5",
        "return %5, %6, price[1:4]",
    ]


def test_indices_tables_and_names() -> None:
    """Tables of numbers and in an index; arrays of no or of the same name; letters of loops."""
    b = Builder(20)
    one, other, sums = Array(VALUES, 15, "my s"), Array(VALUES, 15, "my s"), Array(SUMS, 1)
    numbers = b.table([0.5 * i for i in range(15)])
    with b.loop(5) as i, b.loop(Index(1, ((i, 1),))) as j:
        at = instance([i, j])
        b.store(one, at, b.load(b.inputs, Index(4, ((i, -1), (j, 3)))))
        b.store(other, at, b.compute(rules.exp, (b.load(numbers, at),)))
        b.add(sums, Index(), b.load(one, Index(0, ((i, 1),))))
    with b.loop(2) as again:
        b.add(sums, Index(), b.load(b.inputs, Index(1, ((again, -1),))))
    program = b.finish([Slice(sums, 0, 1), Slice(other, 0, 15)])
    assert str(program).splitlines() == [
        "input x[20]",
        "values my_s[15]",
        "values my_s2[15]",
        "table c[15] = 0.0, 0.5, 1.0, 1.5, …, 7.0",
        "sums d[1]",
        "numbers n[5] = 0, 1, 3, 6, 10",
        "for i in range(5):",
        "    for j in range(i + 1):",
        "        my_s[n[i] + j] = x[3*j + 4 - i]",
        "        my_s2[n[i] + j] = exp(c[n[i] + j])",
        "        d[0] += my_s[i]",
        "for i in range(2):",
        "    d[0] += x[1 - i]",
        "return d[0], my_s2[0:15]",
    ]


def test_carries() -> None:
    """What an iteration hands the next is set before the loop and at the end of its body."""
    x = Array("input", 2, "x")
    first = Load(x, Index(0))
    loop = Loop(Index(3))
    carry = Carry(first)
    step = Compute(rules.multiply, (carry, carry))
    loop.body, loop.carries = [step], [carry]
    carry.next = step
    program = Program(x, [first, loop], [Last(loop, carry)])
    assert str(program).splitlines() == [
        "input x[2]",
        "%0 = x[0]",
        "for i in range(3):",
        "    %1 = %0 * %0",
        "    %0 = %1",
        "return %0",
    ]


def test_segments() -> None:
    """What a transformation differentiates, and what is pulled back through it."""
    b = Builder(1)
    given, results = Array(VALUES, 1, "given"), Array(VALUES, 1, "results")
    with b.segment("grad") as segment:
        x = b.enter(segment, Index(0), b.input(0))
        b.leave(segment, Index(0), b.compute(rules.exp, (x,)))
    b.store(given, Index(0), 1.0)
    b.derive(segment, False, given, Index(0), results, Index(0))
    program = b.finish([b.load(results, Index(0))])
    assert str(program).splitlines() == [
        "input x[1]",
        "values given[1]",
        "values results[1]",
        "segment grad:",
        "    %0 = x[0] as input 0",
        "    output 0 = exp(%0)",
        "given[0] = 1.0",
        "results[0], … = pull back through grad given[0], …",
        "return results[0]",
    ]
