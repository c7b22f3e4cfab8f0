"""The command line: drawing a user's file, the demonstration, wrong requests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chainrule import cli, demo
from chainrule.tracebacks import SWITCH

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
    monkeypatch.delenv(SWITCH, raising=False)
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


FAILING = {
    "arithmetic": ("1 / 0", ["<module>"], "ZeroDivisionError: division by zero"),
    "to be written": (
        "def f():\n    raise NotImplementedError('later')\nf()",
        ["<module>", "f"],
        "NotImplementedError: later",
    ),
    "a file": ("open('missing')", ["<module>"], "FileNotFoundError: [Errno 2] No such file"),
    "its own error": ("raise RuntimeError('mine')", ["<module>"], "RuntimeError: mine"),
    "recursion": (
        "def f(x):\n    return f(x + 1)\nf(0)",
        ["<module>", "f", "f", "f"],
        "RecursionError: maximum recursion depth exceeded",
    ),
    "import": ("import nothing_of_that_name", ["<module>"], "ModuleNotFoundError: No module"),
    "value": ("raise ValueError('value')", ["<module>"], "ValueError: value"),
    "in a transformation": (
        "from chainrule import grad\ndef f(x):\n    return float(x)\ngrad(f)(1.0)",
        ["<module>", "f"],
        "chainrule.tracing.TracedValueError: float() of a traced value at ",
    ),
    "refused by the package": (
        "from chainrule import grad\ngrad(1)",
        ["<module>"],
        "TypeError: grad takes a function",
    ),
    "syntax": ("x = (", [], "SyntaxError: '(' was never closed"),
    "after another folder": ("import os\nos.chdir('/')\n1 / 0", ["<module>"], "ZeroDivisionError"),
}


@pytest.mark.parametrize("command", ["draw", "explore"])
@pytest.mark.parametrize("kind", FAILING)
def test_what_the_users_file_raises(
    program: Path, capsys: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    """Its own traceback as Python shows it, with the lines of the file; nothing of the package."""
    source, functions, last = FAILING[kind]
    program.write_text(source + "\n")
    assert cli.main([command, "model.py:loss"]) == 1
    error = capsys.readouterr().err
    assert re.findall(r'^  File ".*model.py", line \d+, in (\S+)$', error, re.M) == functions
    assert "chainrule/" not in error
    assert "runpy" not in error
    assert source.splitlines()[-1] in error
    assert error.strip().splitlines()[-1].startswith(last)
    assert not [path for path in program.parent.iterdir() if path.suffix in (".svg", ".html")]


def test_tracebacks_are_pythons(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the letter those of ``python model.py``."""
    for source, *_ in FAILING.values():
        program.write_text(source + "\n")
        done = subprocess.run([sys.executable, "model.py"], capture_output=True, text=True)
        assert cli.main(["draw", "model.py:loss"]) == done.returncode == 1
        shown = capsys.readouterr().err
        assert re.sub(r"repeated \d+", "", shown) == re.sub(r"repeated \d+", "", done.stderr)


GRAPH = """
from chainrule import Node, Operation

def slope(y, x):
    raise {error}

class Part(Node):
    def __init__(self, x):
        super().__init__(x.data, (x,))

    {method}

odd = Operation("odd", lambda x: x, [slope])
x = Node(2.0)
y = odd(x)
part = Part(x)
"""


@pytest.mark.parametrize("words", ["draw --backward", "draw --local-grads", "explore"])
@pytest.mark.parametrize("error", ["ValueError(1)", "OSError(1)", "NotImplementedError(1)"])
def test_what_the_graph_raises(
    program: Path, capsys: pytest.CaptureFixture[str], words: str, error: str
) -> None:
    """An error of the user's functions that a graph calls is shown as one of the file."""
    program.write_text(GRAPH.format(error=error, method="pass"))
    command, *options = words.split()
    assert cli.main([command, "model.py:y", *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("line 5, in slope")
    assert lines[-1].startswith(error.partition("(")[0])
    assert not [line for line in lines if "chainrule" in line]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("pass", "Part has parents but no method _local_grad(parent)"),
        ("_local_grad = lambda self, parent: 'a'", "_local_grad of Part must give a real number"),
    ],
)
def test_what_the_package_refuses(
    program: Path, capsys: pytest.CaptureFixture[str], method: str, message: str
) -> None:
    """What is wrong with the graph is a line, as no line of the user's is running."""
    program.write_text(GRAPH.format(error="ValueError", method=method))
    assert cli.main(["draw", "model.py:part", "--backward"]) == 2
    assert capsys.readouterr().err.startswith(f"chainrule: {message}")


def test_the_users_file_ends_itself(program: Path) -> None:
    """Its exit status is the command's; after 0 its nodes are drawn."""
    for end in ("sys.exit()", "raise SystemExit(0)"):
        program.write_text(f"{PROGRAM}\n{end}\nnever")
        assert cli.main(["draw", "model.py:loss"]) == 0
        assert Path("loss.svg").exists()
        Path("loss.svg").unlink()
    for code in (3, "text"):
        program.write_text(f"{PROGRAM}\nsys.exit({code!r})")
        with pytest.raises(SystemExit) as ended:
            cli.main(["draw", "model.py:loss"])
        assert ended.value.code == code
        assert not Path("loss.svg").exists()


def test_the_users_file_is_main(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While it runs; afterwards the module of that name is the one from before."""
    program.write_text(
        PROGRAM + "\nprint(sys.modules['__main__'].w is w, __file__, 'annotations' in globals())"
    )
    before = sys.modules["__main__"]
    assert cli.main(["draw", "model.py:loss"]) == 0
    assert f"True {program} False\n" in capsys.readouterr().out
    assert sys.modules["__main__"] is before


def test_interrupt(program: Path) -> None:
    """Ctrl-C shows where the user's file was, and gives status 130."""
    program.write_text("print('started', flush=True)\nwhile True:\n    pass\n")
    words = [sys.executable, "-m", "chainrule", "draw", "model.py:loss"]
    with subprocess.Popen(words, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert error.startswith("Traceback (most recent call last):\n  File ")
    assert error.endswith("KeyboardInterrupt\n")
    assert "chainrule" not in error


def test_demo(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gradients and compiled code are compared, a network learns, pictures are where it says."""
    assert cli.main(["demo", "-o", "pictures", "--steps", "30"]) == 0
    out = capsys.readouterr().out
    assert out.count(" ok\n") == 5
    assert "WRONG" not in out
    explained = float(out.split("explains ")[1].split(" %")[0])
    assert 95 < explained <= 100
    for name in ("dense-unit.svg", "dense-unit.html", "fit.png", "network.svg", "network.html"):
        assert f"pictures/{name}" in out
        assert Path("pictures", name).stat().st_size > 1000


def test_the_demo_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever takes long says what it is and that it goes on."""
    monkeypatch.setattr(demo, "SILENCE", 0.001)
    text = ""
    with demo.signs_of_life("Thinking"):
        for _ in range(10_000):
            text += capsys.readouterr().out
            if text.endswith("."):
                break
            time.sleep(0.001)
    assert text.startswith("Thinking ….")
    assert capsys.readouterr().out.endswith("\n")


@pytest.mark.whole
def test_installed_command() -> None:
    """The command is installed, and says its version."""
    command = Path(sys.executable).with_name("chainrule")
    for words in ([str(command)], [sys.executable, "-m", "chainrule"]):
        done = subprocess.run([*words, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("chainrule 0.1.0 (")
