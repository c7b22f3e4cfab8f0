"""Loops whose sums get loops of their own: the same numbers to the last bit."""

from __future__ import annotations

from random import Random

from random_forms import bits

from chainrule import rules
from chainrule.passes.distribute import LONG, distribute
from chainrule.program.builder import Builder
from chainrule.program.form import SUMS, VALUES, Array, Index, Loop, Program, Slice
from chainrule.program.interpreter import interpret
from chainrule.program.verifier import verify


def shared_sums(random: Random) -> Program:
    """A loop that adds to elements near each other, of arrays that others add to as well."""
    trips = random.choice((3, LONG, LONG + 13))
    size = 4 * trips + 16
    usual = random.choice((1, 1, -1, 2, -2, 0))
    b = Builder(trips + 8)
    sums = [Array(SUMS, size, name) for name in ("one", "other")[: random.randint(1, 2)]]
    with b.loop(trips) as before:
        b.add(sums[0], Index(0, ((before, 1),)), b.input(random.randrange(8)))
    with b.loop(trips) as loop:
        for _ in range(random.randint(1, 5)):
            i = Index(random.randrange(8), ((loop, 1),))
            value = b.compute(rules.exp, (b.load(b.inputs, i),))
            array = random.choice(sums)
            step = usual if random.random() < 0.9 else random.choice((1, -1, 2, 0))
            first = random.randrange(8 if step else 2) + (0 if step >= 0 else -step * trips)
            b.add(array, Index(first, ((loop, step),)), value if random.random() < 0.9 else 0.25)
    with b.loop(trips) as after:
        b.add(sums[0], Index(1, ((after, 1),)), b.load(b.inputs, Index(0, ((after, 1),))))
    results = Array(VALUES, size * len(sums), "results")
    for k, array in enumerate(sums):
        with b.loop(size) as copied:
            value = b.load(array, Index(0, ((copied, 1),)))
            b.store(results, Index(k * size, ((copied, 1),)), value)
    return b.finish([Slice(results, 0, results.size)])


def test_sums_with_loops_of_their_own() -> None:
    """Each element gets the same terms in the same order."""
    distributed = 0
    for seed in range(150):
        random = Random(seed)
        p = shared_sums(random)
        verify(p)
        xs = [random.gauss(0.0, 4.0) for _ in range(p.inputs.size)]
        expected, _ = interpret(p, xs)
        loops = sum(isinstance(x, Loop) for x in p.body)
        distribute(p)
        verify(p)
        assert bits(interpret(p, xs)[0]) == bits(expected)
        more = sum(isinstance(x, Loop) for x in p.body) - loops
        distributed += more > 0
    assert distributed > 20
