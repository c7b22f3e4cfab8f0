"""The demonstration that ``chainrule demo`` runs: gradients checked, code compiled, data learnt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule import Node, build_info
from chainrule.data import electron_mobility
from chainrule.drawing import draw_graph

if TYPE_CHECKING:
    from chainrule.nn import MLP, History

SILENCE = 3.0
"""Seconds without a sign of life."""


def run(folder: Path, steps: int) -> None:
    """Show checked gradients, compiled code and a trained network; leave pictures in a folder.

    Raises:
        ModuleNotFoundError: if matplotlib or tqdm is not installed.
        OSError: if the folder can't be written.
    """
    info = build_info()
    engine = "compiled" if info["compiled"] else f"plain Python {info['reason']}"
    print(f"chainrule {info['version']}, engine: {engine}")
    with signs_of_life("Loading matplotlib"):
        import matplotlib
        import tqdm  # noqa: F401  before any work is done

        matplotlib.use("Agg")
        import matplotlib.pyplot  # it looks for fonts when it is run first
    folder.mkdir(parents=True, exist_ok=True)
    unit = dense_unit(folder)
    option()
    pictures = [*unit, *network(folder, steps)]
    print("\nPictures, and pages to walk through in a browser:")
    for picture in pictures:
        print(f"  {picture}")


@contextmanager
def signs_of_life(what: str) -> Iterator[None]:
    """Say what is being done, with a dot every few seconds until it is done."""
    done = threading.Event()

    def dots() -> None:
        while not done.wait(SILENCE):
            print(".", end="", flush=True)

    print(f"{what} …", end="", flush=True)
    thread = threading.Thread(target=dots, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(flush=True)


def dense_unit(folder: Path) -> list[Path]:
    """Backpropagate through relu(w0 x + w1 x + b), compare with differences, draw, explore."""
    from chainrule.explorer import explore

    names = ("w0", "w1", "b", "x")
    point = (-1.0, 2.0, 4.0, 2.0)

    def unit(w0: Node, w1: Node, b: Node, x: Node) -> Node:
        total: Node = w0 * x + w1 * x + b
        return total.relu()

    leaves = [Node(value, name=name) for name, value in zip(names, point, strict=True)]
    y = unit(*leaves)
    y.backward()
    print("\nA dense unit: y = relu(w0·x + w1·x + b)")
    print(f"  y = {y.data:g}")
    print("  gradient   backpropagated   numerical")
    for i, leaf in enumerate(leaves):
        numerical = _central_difference(unit, point, i)
        agrees = "ok" if abs(leaf.grad - numerical) < 1e-6 else "WRONG"
        print(f"  ∂y/∂{leaf.name:<6} {leaf.grad:14.6f} {numerical:11.6f}   {agrees}")
    picture = draw_graph(y, color=True, local_grads=True).save(folder / "dense-unit.svg")
    page = explore(y, title="A dense unit").save(folder / "dense-unit.html")
    return [Path(picture), Path(page)]


def _central_difference(
    f: Callable[..., Node], point: Sequence[float], i: int, h: float = 1e-6
) -> float:
    """(f(x + h) - f(x - h)) / 2h by the i-th argument."""

    def shifted(by: float) -> float:
        return f(*[Node(x + by * (j == i)) for j, x in enumerate(point)]).data

    return (shifted(h) - shifted(-h)) / (2 * h)


def knocked_out(spot: Any, vol: Any, normals: Any) -> Any:
    """What a share is worth at the end of a path, or nothing once it has reached 130."""
    from chainrule.math import exp

    for z in normals:
        spot = spot * exp(vol * z - 0.5 * vol * vol)
        if spot > 130.0:
            return 0.0
    return spot


def option(n_paths: int = 10_000, n_steps: int = 50) -> None:
    """Compile value and gradient of a loop with an ``if``; compare with the same on nodes."""
    import numpy

    from chainrule import compile, value_and_grad, vmap

    each = value_and_grad(knocked_out, argnums=(0, 1))
    compiled = compile(vmap(each, in_axes=(None, None, 0)))
    paths = numpy.random.default_rng(0).normal(size=(n_paths, n_steps))
    print(f"\nCompiled: a loop of {n_steps} steps that an `if` may end, on {n_paths:,} paths")
    with signs_of_life("  tracing and compiling"):
        start = time.perf_counter()
        compiled(100.0, 0.02, paths)
        first = time.perf_counter() - start
    start = time.perf_counter()
    values, (delta, vega) = compiled(100.0, 0.02, paths)
    later = time.perf_counter() - start
    some = range(20)
    with signs_of_life("  the same on nodes"):
        start = time.perf_counter()
        eager = numpy.array([_flat(*each(100.0, 0.02, paths[i])) for i in some])
        on_nodes = (time.perf_counter() - start) * n_paths / len(some)
    found = numpy.stack([values, delta, vega], axis=1)[: len(some)]
    agrees = "ok" if numpy.allclose(found, eager, rtol=1e-12, atol=1e-12) else "WRONG"
    print(f"  value {values.mean():.4f}, delta {delta.mean():.4f}, vega {vega.mean():.4f}")
    print(f"  first call {first:.2f} s, then {1e3 * later:.1f} ms; on nodes about {on_nodes:.0f} s")
    print(f"  {len(some)} paths on nodes give the same   {agrees}")


def _flat(value: Any, gradient: Any) -> list[Any]:
    return [value, *gradient]


def network(folder: Path, steps: int) -> list[Path]:
    """Fit a 1-8-1 network to measured data; every weight is a node, a step is machine code."""
    import numpy

    from chainrule import nn
    from chainrule.explorer import explore

    densities, mobilities = map(numpy.array, electron_mobility())
    xs, ys = _standardized(densities), _standardized(mobilities)
    model = nn.MLP(1, [8, 1], seed=0)
    print(
        f"\nA network of {len(model.parameters())} weights learns {len(xs)} measurements:"
        " electron mobility against log density (NIST)"
    )
    optimizer = nn.Adam(0.02)
    history = nn.fit(
        model, xs, ys, optimizer=optimizer, epochs=steps, batch_size=len(xs), progress=True
    )
    explained = 100 * (1 - history.loss[-1])  # the targets have variance 1
    print(
        f"  {history.steps:,} steps in {history.seconds[-1]:.2f} s, compiling included;"
        f" explains {explained:.2f} % of the variance"
    )
    with signs_of_life("Drawing"):
        loss = nn.mean_squared_error(model(float(xs[0])), float(ys[0]))
        loss.backward()
        drawn = draw_graph(loss, color=True, fold=[f"neuron {i}" for i in range(8)])
        return [
            _plot(folder / "fit.png", model, densities, mobilities, history),
            Path(drawn.save(folder / "network.svg")),
            Path(explore(loss, title="A network").save(folder / "network.html")),
        ]


def _standardized(values: Any) -> Any:
    return (values - values.mean()) / values.std()


def _plot(path: Path, model: MLP, densities: Any, mobilities: Any, history: History) -> Path:
    import matplotlib.pyplot as plt
    import numpy

    from chainrule import nn

    fine = numpy.linspace(densities.min(), densities.max(), 200)
    curve = nn.predict(model, (fine - densities.mean()) / densities.std())
    figure, (fit, learning) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    fit.plot(densities, mobilities, "o", color="0.3", markersize=4, label="measured")
    fit.plot(fine, curve * mobilities.std() + mobilities.mean(), label="network")
    fit.set(xlabel="log(density)", ylabel="electron mobility", title="Fit")
    fit.legend()
    learning.semilogy(history.loss)
    learning.set(xlabel="step", ylabel="mean squared error", title="Learning")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
