"""The networks' examples run at a small size, draw their pictures, and learn."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule import vmap
from chainrule.engine import COMPILED

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, folder: Path, name: str, *options: str
) -> tuple[str, Any]:
    """What a script prints and defines, run as a reader would; its picture is there."""
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--output", str(folder), *options])
    found = SimpleNamespace(**runpy.run_path(str(path), run_name="__main__"))
    picture = (folder / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000
    return capsys.readouterr().out, found


def number(text: str, before: str) -> float:
    """The first number after some words."""
    found = re.search(re.escape(before) + r"\D*?(\d[\d,]*\.?\d*(?:e[-+]?\d+)?)", text)
    assert found, text
    return float(found[1].replace(",", ""))


def test_noisy_quadratic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sample an update; what is left is near the noise."""
    out, _ = run(
        monkeypatch, capsys, tmp_path, "noisy_quadratic", "--size", "300", "--epochs", "60"
    )
    assert "18,000 updates" in out
    assert number(out, "mean squared error") < 1.6 * number(out, "the noise alone is")


def test_two_moons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loop written out and fit give the same losses."""
    out, _ = run(monkeypatch, capsys, tmp_path, "two_moons", "--size", "20", "--epochs", "200")
    assert number(out, "losses differ by") < 1e-10
    assert "100.0% of the points" in out


def test_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All digits in full, as it takes a second: 97 % of those held out are read."""
    out, _ = run(monkeypatch, capsys, tmp_path, "digits")
    found = re.search(r"([\d.]+)% of 360 held-out", out)
    assert found
    assert float(found[1]) >= 97.0
    assert "it predicts the same: True" in out


def test_diabetes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as scikit-learn's own network."""
    out, _ = run(monkeypatch, capsys, tmp_path, "diabetes", "--size", "250", "--epochs", "40")
    shares = [float(line.split()[-2]) for line in out.splitlines()[1:4]]
    assert shares[0] == pytest.approx(shares[1], abs=0.001)
    assert min(shares) > 0.3


def test_transformer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eager and compiled agree, the loss falls, and both invent the same names."""
    names = tmp_path / "names.txt"
    names.write_text("anna\nnana\nanan\nnaan\nana\nnan\n" * 3)
    out, example = run(
        monkeypatch, capsys, tmp_path, "transformer", "--names", str(names), "--width", "4",
        "--steps", "150", "--batch", "8", "--longest", "4",
    )  # fmt: skip
    assert number(out, "gradients differ by") < 1e-10
    first, last = re.findall(r"loss ([\d.]+) at first, ([\d.]+) at last", out)[0]
    assert float(last) < 0.7 * float(first)
    eager, compiled = (
        next(line for line in out.splitlines() if line.startswith(kind)).split()[1:3]
        for kind in ("eager:", "compiled:")
    )
    assert eager == compiled
    assert "for 2 kernels, one for each length" in out
    if COMPILED:
        check_by_hand(example)


def check_by_hand(example: Any) -> None:
    """The loss of a name against matrices of NumPy."""
    shape = example.Shape(5, 6, 8, 4, 2)
    flat = np.random.default_rng(0).normal(0.0, 0.3, example.count_of(shape))
    tokens = [0, 3, 1, 1, 4, 0]
    numbers = iter(flat)

    def matrix(rows: int, columns: int) -> Any:
        return np.array([[next(numbers) for _ in range(columns)] for _ in range(rows)])

    def normalised(x: Any) -> Any:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)

    length, width, size = 5, 8, 2
    x = matrix(5, 8)[tokens[:-1]] + matrix(6, 8)[:length]
    x = normalised(x)
    for _ in range(2):
        query, key, value, out = (matrix(8, 8) for _ in range(4))
        up, down = matrix(32, 8), matrix(8, 32)
        y = normalised(x)
        heads = []
        for h in range(4):
            own = slice(h * size, (h + 1) * size)
            q, k, v = ((y @ m.T)[:, own] for m in (query, key, value))
            scores = q @ k.T * size**-0.5
            scores[np.triu_indices(length, 1)] = -np.inf
            shares = np.exp(scores)
            heads.append(shares / shares.sum(axis=1, keepdims=True) @ v)
        x = x + np.concatenate(heads, axis=1) @ out.T
        x = x + np.maximum(normalised(x) @ up.T, 0.0) @ down.T
    assert x.shape == (length, width)
    logits = x @ matrix(5, 8).T
    rows = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(length), tokens[1:]]
    loss = vmap(example.losses(shape), in_axes=(None, 0), reduce="mean")
    assert loss(flat, np.array([tokens])) == pytest.approx(rows.mean(), rel=1e-12)


def test_transformer_without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a fitting name is said to be one."""
    names = tmp_path / "names.txt"
    names.write_text("a\nbc\n")
    path = EXAMPLES / "transformer.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--names", str(names)])
    with pytest.raises(SystemExit, match="no names of these lengths"):
        runpy.run_path(str(path), run_name="__main__")


def test_names_of_the_package() -> None:
    """Some thousand, of the lengths asked for."""
    found = runpy.run_path(str(EXAMPLES / "transformer.py"))["list_of_names"](None, 3, 8)
    assert len(found) > 4000
    assert {len(name) for name in found} == set(range(3, 9))
