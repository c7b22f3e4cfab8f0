"""No sequence of attribute accesses, deletions, copies, names and files crashes the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fuzz_nodes
import pytest

import chainrule as cr

SEQUENCES = int(os.environ.get("CHAINRULE_SEQUENCES", "300"))


@pytest.mark.parametrize("part", range(3))
def test_random_sequences(part: int) -> None:
    """They end, without a signal, and raise only what misuse may raise."""
    count = SEQUENCES // 3
    done = subprocess.run(
        [sys.executable, fuzz_nodes.__file__, str(count), str(part * count)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert f"{count} sequences: no crash" in done.stdout


def test_sequences_do_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of all kinds come up, and misuse is refused in ways that are told apart."""
    steps: list[str] = []
    raised: set[str] = set()
    fuzz_nodes.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)  # pictures without a path go there
    for seed in range(30):
        sequence = fuzz_nodes.Sequence(seed, tmp_path, steps.append)
        sequence.random.seed(seed)
        for step in (sequence.get, sequence.operate, sequence.call, sequence.make, sequence.save):
            sequence.attempt(step)
        raised |= set(sequence.raised)
    (tmp_path / "readonly").chmod(0o700)
    assert {"AttributeError", "TypeError", "ValueError"} <= raised
    assert len(set(steps)) > 100


def test_a_depth_beyond_the_graph() -> None:
    """Found by the fuzzer: levels that are not there were counted through."""
    x = cr.Node(1.0)
    y = x * x + x
    assert cr.draw_graph(y, max_depth=10**18).source == cr.draw_graph(y).source
