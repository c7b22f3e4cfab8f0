"""The examples run, draw their pictures, and give numbers that are known from elsewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import approx_fprime, brentq, rosen, rosen_der, rosen_hess

import chainrule

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, *options: str) -> Any:
    """What a script defines, run as a reader would; its picture is checked."""
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--output", str(folder), *options])
    found = SimpleNamespace(**runpy.run_path(str(path), run_name="__main__"))
    check_picture(folder / f"{name}.png")
    return found


def check_picture(path: Path) -> None:
    """It is a PNG of more than an empty frame."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 5000


def numbers(line: str) -> list[float]:
    """The numbers in a line of a table."""
    return [float(x.replace(",", "")) for x in re.findall(r"-?\d[\d,]*\.?\d*(?:e[-+]\d+)?", line)]


def test_every_example_is_listed() -> None:
    """The README names each script."""
    readme = (EXAMPLES / "README.md").read_text()
    assert not [path.name for path in EXAMPLES.glob("*.py") if f"({path.name})" not in readme]


def test_black_scholes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Greeks against the textbook's formulas, Hull's example, and differentiation by mpmath."""
    example = run(monkeypatch, tmp_path, "black_scholes", "--size", "12")
    out = capsys.readouterr().out
    assert "144 options" in out
    table = out[out.index("largest difference") :].splitlines()[1:10]
    assert [line.split()[0] for line in table] == [
        *example.closed_formulas(example.MARKET | {"maturity": 1.0}, 90.0)
    ]
    assert all(numbers(line)[1] < 1e-10 for line in table)

    hull = {"spot": 42.0, "volatility": 0.2, "rate": 0.1, "maturity": 0.5}
    assert round(example.call_price(hull, 40.0), 2) == 4.76

    def price(spot: Any, volatility: Any, rate: Any, maturity: Any) -> Any:
        deviation = volatility * mpmath.sqrt(maturity)
        d1 = (mpmath.log(spot / 40) + rate * maturity) / deviation + deviation / 2
        paid = 40 * mpmath.exp(-rate * maturity)
        return spot * mpmath.ncdf(d1) - paid * mpmath.ncdf(d1 - deviation)

    orders = {
        "price": (0, 0, 0, 0),
        "delta": (1, 0, 0, 0),
        "vega": (0, 1, 0, 0),
        "theta": (0, 0, 0, 1),
        "rho": (0, 0, 1, 0),
        "gamma": (2, 0, 0, 0),
        "vanna": (1, 1, 0, 0),
        "volga": (0, 2, 0, 0),
        "charm": (1, 0, 0, 1),
    }
    market = hull | {"maturity": np.array([0.5])}
    found = example.greeks_of_all(market, np.array([40.0]))
    with mpmath.workdps(40):
        for name, order in orders.items():
            sign = -1 if name in ("theta", "charm") else 1
            right = sign * float(mpmath.diff(price, tuple(hull.values()), order))
            assert found[name][0] == pytest.approx(right, rel=1e-12)


def test_barrier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths against NumPy and its complex steps; means against an integral; the bias is there."""
    example = run(monkeypatch, tmp_path, "barrier", "--size", "4000", "--steps", "12")
    out = capsys.readouterr().out
    assert out.count("paths through the code") == 2

    strike, barrier = example.STRIKE, example.BARRIER
    normals = np.random.default_rng(2).standard_normal((4000, 12))

    def paths(spot: Any, volatility: Any, rate: Any, bridge: bool) -> Any:
        """What the paths pay, in complex numbers: the imaginary part of a step is a derivative."""
        scale = volatility / 12**0.5
        steps = (rate - volatility * volatility / 2) / 12 + scale * normals
        x = np.log(spot + 0j) + np.hstack([np.zeros((4000, 1)), np.cumsum(steps, axis=1)])
        below = np.log(barrier) - x
        alive = (below[:, 1:].real > 0).all(axis=1)
        touch = np.exp(-2 * below[:, :-1] * below[:, 1:] / (scale * scale))
        surviving = np.where(alive[:, None], 1 - touch, 0).prod(axis=1) if bridge else alive
        pay = np.where(x[:, -1].real > np.log(strike), np.exp(x[:, -1]) - strike, 0)
        return surviving * pay * np.exp(-rate + 0j)

    market = example.MARKET
    for payoff, bridge in ((example.jumping, False), (example.bridged, True)):
        gradient = chainrule.value_and_grad(payoff)
        compiled = chainrule.compile(chainrule.vmap(gradient, in_axes=(None, 0)))
        values, gradients = compiled(market, normals)
        np.testing.assert_allclose(values, paths(**market, bridge=bridge).real, rtol=1e-11)
        for name in market:
            moved = paths(**market | {name: market[name] + 1e-30j}, bridge=bridge)
            np.testing.assert_allclose(gradients[name], moved.imag / 1e-30, rtol=1e-9, atol=1e-9)
        assert compiled.stats().traces == 1
        assert all(branch.both for branch in compiled.stats().branches)
        stats = {name: example.estimate(slopes) for name, slopes in gradients.items()}
        right = chainrule.grad(example.closed_formula)(market)
        if bridge:
            assert all(abs(stats[name][0] - right[name]) < 4 * stats[name][1] for name in right)
        else:
            assert all(abs(stats[name][0] - right[name]) > 10 * stats[name][1] for name in right)

    def killed(x: float) -> float:
        """Payment times the density of the logarithm at the end, images beyond the barrier off."""
        volatility, drift = market["volatility"], market["rate"] - market["volatility"] ** 2 / 2
        wall, y = np.log(barrier / market["spot"]), x - np.log(market["spot"])
        mirrored = np.exp(
            2 * drift * wall / volatility**2 - (y - drift - 2 * wall) ** 2 / 2 / volatility**2
        )
        density = (np.exp(-((y - drift) ** 2) / 2 / volatility**2) - mirrored) / volatility
        return float((np.exp(x) - strike) * density / np.sqrt(2 * np.pi))

    integral = quad(killed, np.log(strike), np.log(barrier), epsabs=1e-12)[0]
    price = example.closed_formula(market)
    assert price == pytest.approx(np.exp(-market["rate"]) * integral, rel=1e-10)


def test_lotka_volterra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The solution against SciPy's; the Jacobian against differences; the fit against Stan's."""
    example = run(monkeypatch, tmp_path, "lotka_volterra", "--size", "3")
    out = capsys.readouterr().out
    costs = [numbers(line)[-1] for line in out.splitlines()[1:5]]
    assert costs == [costs[0]] * 4

    assert [round(float(mean), 2) for mean in example.FURS.mean(axis=0)] == [34.08, 20.17]
    # Posterior means and standard deviations: Carpenter, Predator-Prey Population Dynamics: the
    # Lotka-Volterra model in Stan, 2018.
    fitted = np.exp(example.fit(example.FURS, 3).x)
    means = [0.55, 0.028, 0.024, 0.80, 33.9, 5.9]
    deviations = [0.06, 0.004, 0.004, 0.09, 2.9, 0.5]
    assert (np.abs(fitted - means) < deviations).all()

    def slope(_: float, state: Any) -> list[float]:
        hares, lynxes = state
        return [
            fitted[0] * hares - fitted[1] * hares * lynxes,
            fitted[2] * hares * lynxes - fitted[3] * lynxes,
        ]

    years = np.arange(21.0)
    right = solve_ivp(slope, (0.0, 20.0), fitted[4:], "DOP853", years, rtol=1e-10, atol=1e-10)
    solution = example.populations(np.log(fitted), 20)[::20]
    np.testing.assert_allclose(solution, right.y.T, rtol=1e-4)

    jacobian = example.jacobian(example.START, example.FURS, 3)
    differences = approx_fprime(example.START, example.residuals.function, 1e-7, example.FURS, 3)
    np.testing.assert_allclose(jacobian, differences, rtol=1e-4, atol=1e-4)


def test_newton(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Solutions against bisection, derivatives against mpmath, iterations against plain floats."""
    example = run(monkeypatch, tmp_path, "newton", "--size", "15")
    out = capsys.readouterr().out
    rows = [numbers(line) for line in out.splitlines() if re.match(r" +1e-\d\d ", line)]
    assert [row[0] for row in rows] == list(example.TOLERANCES)
    assert [row[1] for row in rows] == [1.0] * len(rows)  # a circle: x is the mean anomaly
    assert max(rows[-1][-3:]) < 1e-12
    assert rows[2][-3] < 1e-10 < rows[2][-1]  # the second derivative is behind

    eccentricity = np.linspace(0.0, 0.9, 40)
    anomaly = np.linspace(3.0, 0.05, 40)
    found = example.solve_all(eccentricity, anomaly, 1e-13)
    counts = example.solve_all(eccentricity, anomaly, 1e-9)["iterations"]
    for k, (e, m) in enumerate(zip(eccentricity.tolist(), anomaly.tolist(), strict=True)):
        assert counts[k] == example.solve(e, m, 1e-9)[1]
        root = brentq(lambda x, e=e, m=m: x - e * np.sin(x) - m, 0.0, 4.0, xtol=1e-14)
        assert found["x"][k] == pytest.approx(root, rel=1e-12)
    assert example.solve_all.stats().traces > 2  # long loops share one
    assert len(set(counts)) > 2

    def solution(e: Any) -> Any:
        return mpmath.findroot(lambda x: x - e * mpmath.sin(x) - anomaly[30], 1.0)

    with mpmath.workdps(40):
        first = mpmath.diff(solution, eccentricity[30])
        second = mpmath.diff(solution, eccentricity[30], 2)
    assert found["dx"][30] == pytest.approx(float(first), rel=1e-12)
    assert found["d2x"][30] == pytest.approx(float(second), rel=1e-11)


def test_rosenbrock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Derivatives against SciPy's own Rosenbrock function; the minimum is found."""
    example = run(monkeypatch, tmp_path, "rosenbrock", "--size", "30")
    out = capsys.readouterr().out
    assert "stores 88 of 900 numbers" in out
    found = [
        numbers(line) for line in out.splitlines() if "Newton-CG" in line or "least_sq" in line
    ]
    assert len(found) == 2
    assert all(row[-1] < 1e-6 for row in found)

    x = np.random.default_rng(1).standard_normal(30)
    value, gradient = example.value_and_gradient(x)
    assert value == pytest.approx(rosen(x), rel=1e-13)
    np.testing.assert_allclose(gradient, rosen_der(x), rtol=1e-12)
    hessian = example.hessian(x)
    assert hessian.nnz == 3 * 30 - 2
    np.testing.assert_allclose(hessian.toarray(), rosen_hess(x), rtol=1e-12)
    jacobian = example.jacobian(x)
    assert jacobian.nnz == 3 * 29
    np.testing.assert_allclose(2 * jacobian.T @ example.compiled_residuals(x), gradient, rtol=1e-12)


def test_parallel(tmp_path: Path) -> None:
    """Compiled functions work in other processes; the intervals hold the fit."""
    command = [sys.executable, str(EXAMPLES / "parallel.py"), "--size", "20", "--jobs", "2"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "20 fits in" in done.stdout
    assert "by 2 processes" in done.stdout
    table = [line for line in done.stdout.splitlines() if " to " in line]
    assert len(table) == 6
    for line in table:
        fit, low, high = numbers(line.replace("in 1900", ""))
        assert low < fit < high
        assert high < 2 * low
    check_picture(tmp_path / "parallel.png")
