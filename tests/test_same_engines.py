"""Both engines give the same numbers, orders and errors on random graphs, to the last bit.

Where the package is plain Python, two processes of it are compared: what it gives hangs on nothing
but the graph.
"""

from __future__ import annotations

import contextlib

from fuzz_twins import compare, drawn, lines

import chainrule as cr


def test_random_graphs() -> None:
    """Values, local gradients, gradients, order, texts, copies, derivatives of all kinds."""
    engines, different = compare(300, 0)
    assert engines[0] == "C" or not cr.build_info()["compiled"]
    assert engines[1] == "Python"
    assert not different, different[0]


def test_the_ways_of_a_pass_round_alike() -> None:
    """In place, and with gradients kept apart: where a user's code runs, in anomaly detection.

    A leaf's messages are added to what it holds one by one.
    """
    own = cr.Operation("own", lambda x: x, [lambda y, x: 1.0])
    found = []
    for way in ("in place", "apart", "anomaly"):
        x = cr.Node(0.3)
        x.grad = 0.1
        y = own(x * 0.7) if way == "apart" else x * 0.7
        for factor in (0.2, 1.3, -0.9, 1e-17, 3e16, -3e16):
            y = y + x * factor
        with cr.detect_anomaly() if way == "anomaly" else contextlib.nullcontext():
            y.backward()
            y.backward(0.1)
        found.append(x.grad.hex())
    assert len(set(found)) == 1


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
