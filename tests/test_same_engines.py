"""Both engines give the same numbers, orders and errors on random graphs, to the last bit.

Where the package is plain Python, two processes of it are compared: what it gives hangs on nothing
but the graph.
"""

from __future__ import annotations

from fuzz_twins import compare, drawn, lines

import chainrule as cr


def test_random_graphs() -> None:
    """Values, local gradients, gradients, order, texts, copies, derivatives of all kinds."""
    engines, different = compare(300, 0)
    assert engines == ["C" if cr.build_info()["compiled"] else "Python", "Python"]
    assert not different, different[0]


def test_graphs_are_of_all_kinds() -> None:
    """The graphs have operations of all kinds, and most give ordinary numbers."""
    names = {name for seed in range(300) for name, _ in drawn(seed)[1]}
    assert len(names) > 100
    found = [line for seed in range(40) for line in lines(seed)]
    for what in ("grads", "stale", "hessian", "jvp", "compiled", "anomaly"):
        of_it = [line for line in found if line.startswith(what)]
        numbers = [line for line in of_it if "Error" not in line]
        assert numbers
        if what not in ("anomaly", "compiled"):
            assert sum("nan" not in line for line in numbers) > 0.3 * len(numbers)
    assert any("was changed after" in line for line in found)
