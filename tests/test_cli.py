"""The command line: drawing a user's file, the demonstration, wrong requests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chainrule import cli

PROGRAM = """
import sys
from chainrule import Node, group

print("running", sys.argv, __name__)
w, x = Node(2.0, name="w"), Node(3.0, name="x")
with group("hidden"):
    hidden = (w * x).tanh()
loss = hidden**2
number = 3.0
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file, with the working folder beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["chainrule"])
    path = tmp_path / "model.py"
    path.write_text(PROGRAM)
    return path


def test_draw(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The node of that name is drawn to the file asked for."""
    assert cli.main(["draw", "model.py:loss", "-o", "out.gv", "--backward", "--color"]) == 0
    assert capsys.readouterr().out.splitlines() == ["running ['model.py'] __main__", "out.gv"]
    source = Path("out.gv").read_text()
    assert "w | data=2.000" in source
    assert "grad=1.0000" in source
    assert "fillcolor" in source
    assert cli.main(["draw", "model.py:hidden"]) == 0
    assert Path("hidden.svg").read_text().startswith("<?xml")


def test_draw_options(program: Path) -> None:
    """Options reach the picture."""
    assert cli.main(["draw", "model.py:loss", "-o", "a.gv", "--fold", "hidden"]) == 0
    assert "2 nodes" in Path("a.gv").read_text()
    assert cli.main(["draw", "model.py:loss", "-o", "b.gv", "--fold-all", "--direction", "TB"]) == 0
    assert "rankdir=TB" in Path("b.gv").read_text()
    assert cli.main(["draw", "model.py:loss", "-o", "c.gv", "--max-depth", "1"]) == 0
    assert "…" in Path("c.gv").read_text()
    assert cli.main(["draw", "model.py:loss", "-o", "d.gv", "--local-grads"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["draw", "model.py"], "say which node of which file: FILE.py:NAME, not 'model.py'"),
        (["draw", "model.py:"], "say which node"),
        (["draw", "missing.py:y"], "there is no file missing.py"),
        (["draw", "model.py:los"], "los is nothing in model.py; its nodes are: loss"),
        (["draw", "model.py:number"], "number is a float, not a node in model.py"),
        (["draw", "model.py:loss", "-o", "loss.bmp"], "should end in one of .svg"),
        (["draw", "model.py:loss", "-o", "no/loss.svg"], "there is no folder no"),
        (["draw", "model.py:loss", "--fold", "hiden"], "no group 'hiden'"),
        (["demo", "--steps", "0"], "--steps is 1 or more, not 0"),
    ],
)
def test_wrong_requests(
    program: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """Exit status 2 and a line that says what is wrong; no traceback and no file."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("chainrule: ")
    assert message in error
    assert [path.name for path in program.parent.iterdir() if path.suffix != ".pyc"] == ["model.py"]


def test_users_error_is_shown(program: Path) -> None:
    """An exception of the user's file comes through as it is."""
    program.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["draw", "model.py:loss"])


def test_demo(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gradients are compared, a network learns, and the pictures are where it says."""
    assert cli.main(["demo", "-o", "pictures", "--steps", "30"]) == 0
    out = capsys.readouterr().out
    assert out.count(" ok\n") == 4
    assert "WRONG" not in out
    explained = float(out.split("explains ")[1].split(" %")[0])
    assert 95 < explained <= 100
    for name in ("dense-unit.svg", "fit.png", "network.svg"):
        assert f"pictures/{name}" in out
        assert Path("pictures", name).stat().st_size > 1000


@pytest.mark.whole
def test_installed_command() -> None:
    """The command is installed, and says its version."""
    command = Path(sys.executable).with_name("chainrule")
    for words in ([str(command)], [sys.executable, "-m", "chainrule"]):
        done = subprocess.run([*words, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("chainrule 0.1.0 (")
