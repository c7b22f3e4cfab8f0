"""The cache of object code: what is kept is used without compiling, if nobody touched it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_kernel import Draft, run_rows

from chainrule.compiler import cache
from chainrule.compiler.kernel import Kernel
from chainrule.compiler.machine import Machine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs the permissions of POSIX")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, still to be made."""
    path = tmp_path / "cache"
    monkeypatch.setenv(cache.VARIABLE, str(path))
    return path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that LLVM compiles."""
    texts: list[str] = []
    original = Machine.compile

    def counted(self: Machine, text: str, level: int) -> bytes:
        texts.append(text)
        return original(self, text, level)

    monkeypatch.setattr(Machine, "compile", counted)
    return texts


def draft(constant: float = 2.0) -> Draft:
    """A small tape."""
    tape = Draft(2)
    product = tape.add("azmul", 0, tape.add("exp", 1))
    tape.outputs = [tape.add("add", product, tape.constant(constant)), tape.constant(float("nan"))]
    tape.guards = [(tape.add("less", 0, 1), True)]
    return tape


def test_a_second_kernel_compiles_nothing(directory: Path, compiled: list[str]) -> None:
    """Nor does it compute anything else."""
    points = np.array([[0.0, 1.0], [0.5, 2.0], [3.0, 2.0]])
    Kernel(draft(), [False] * 2)
    assert compiled
    first, _ = run_rows(Kernel(draft(), [False] * 2), points)
    compiled.clear()
    second, result = run_rows(Kernel(draft(), [False] * 2), points)
    assert not compiled
    assert result.status is not None
    assert result.status.tolist() == [0, 0, 1]
    assert np.array_equal(first, second, equal_nan=True)


@pytest.mark.parametrize("change", ["constant", "uniform", "lanes", "output", "guard", "machine"])
def test_what_differs_is_compiled(
    change: str, directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the code depends on is part of its name."""
    Kernel(draft(), [False] * 2)
    compiled.clear()
    tape = draft(3.0 if change == "constant" else 2.0)
    if change == "output":
        tape.outputs.reverse()
    if change == "guard":
        tape.guards = [(value, not outcome) for value, outcome in tape.guards]
    if change == "machine":
        monkeypatch.setenv("CHAINRULE_VECTOR_MATH", "none")
    Kernel(tape, [change == "uniform", False], lanes=change != "lanes")
    assert compiled


PROGRAM = """
import sys
import numpy as np
from chainrule.compiler.machine import Machine
from test_cache import draft
from test_kernel import call, run_rows
from chainrule.compiler.kernel import Kernel

def refuse(self, text, level):
    raise AssertionError("compiled")

if sys.argv[1] == "warm":
    Machine.compile = refuse
values, _ = run_rows(Kernel(draft(), [False] * 2), np.array([[0.0, np.inf], [0.5, 2.0]]))
status, alone = call(Kernel(draft(), [], lanes=False), [0.5, 2.0])
print(values.tolist(), status, alone.tolist())
"""


def test_another_process_compiles_nothing(directory: Path) -> None:
    """LLVM compiles nothing where the cache is warm."""
    import chainrule

    path = os.pathsep.join([str(Path(__file__).parent), str(Path(chainrule.__file__).parents[1])])
    printed = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, state],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        ).stdout
        for state in ("cold", "warm")
    ]
    assert printed[0] == printed[1]
    assert "[[2.0, nan]" in printed[0]


def tape_files(directory: Path) -> list[Path]:
    """The files of the cache, without the key."""
    return sorted(path for path in directory.iterdir() if path.name != "key")


@pytest.mark.parametrize("damage", ["changed", "cut off", "empty", "renamed", "of another cache"])
def test_a_damaged_file_is_refused(damage: str, directory: Path, compiled: list[str]) -> None:
    """It is compiled again, and written anew."""
    points = np.array([[0.5, 2.0]])
    expected, _ = run_rows(Kernel(draft(), [False] * 2), points)
    files = tape_files(directory)
    largest = max(files, key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    if damage == "changed":
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        largest.write_bytes(content[:middle] + changed + content[middle + 1 :])
    elif damage == "cut off":
        largest.write_bytes(content[:-1])
    elif damage == "empty":
        largest.write_bytes(b"")
    elif damage == "renamed":
        Kernel(draft(5.0), [False] * 2)
        other = next(path for path in tape_files(directory) if path not in files)
        largest.write_bytes(other.read_bytes())
    else:
        (directory / "key").write_bytes(os.urandom(32))
    compiled.clear()
    with pytest.warns(RuntimeWarning, match="changed since"):
        values, _ = run_rows(Kernel(draft(), [False] * 2), points)
    assert compiled
    assert np.array_equal(values, expected, equal_nan=True)
    compiled.clear()
    Kernel(draft(), [False] * 2)  # written anew
    assert not compiled


def test_the_directory_is_made_private(directory: Path) -> None:
    """And all that is in it."""
    Kernel(draft(), [False] * 2)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert not [path for path in directory.iterdir() if "." in path.name]  # nothing left over


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_an_open_directory_is_an_error(mode: int, directory: Path) -> None:
    """Others could put code there."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(PermissionError, match="make it private"):
        Kernel(draft(), [False] * 2)


def test_a_directory_of_another_user_is_an_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That user could put code there."""
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="another user"):
        Kernel(draft(), [False] * 2)


def test_an_open_key_is_an_error(directory: Path) -> None:
    """Others could read it."""
    Kernel(draft(), [False] * 2)
    (directory / "key").chmod(0o644)
    with pytest.raises(PermissionError, match="key is open"):
        Kernel(draft(), [False] * 2)


def test_a_damaged_key_is_an_error(directory: Path) -> None:
    """Nothing could be checked."""
    Kernel(draft(), [False] * 2)
    (directory / "key").write_bytes(b"short")
    with pytest.raises(PermissionError, match="damaged"):
        Kernel(draft(), [False] * 2)


def test_a_file_in_place_of_the_directory_is_an_error(directory: Path) -> None:
    """Not a directory."""
    directory.write_text("")
    with pytest.raises(OSError, match="exists"):
        Kernel(draft(), [False] * 2)


def test_a_full_disk_stops_nobody(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that can't be kept still runs."""
    Kernel(draft(), [False] * 2)

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        Kernel(draft(7.0), [False] * 2)
