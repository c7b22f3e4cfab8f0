"""The cache of object code: what is kept is used without compiling, if nobody touched it."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import socket
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_kernel import Draft, run_rows
from test_kernel import compiled as kernel

import chainrule
from chainrule.backends.llvm import cache
from chainrule.backends.llvm.machine import Machine

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
    kernel(draft(), [False] * 2)
    assert compiled
    first, _ = run_rows(kernel(draft(), [False] * 2), points)
    compiled.clear()
    second, result = run_rows(kernel(draft(), [False] * 2), points)
    assert not compiled
    assert result.status is not None
    assert result.status.tolist() == [0, 0, 1]
    assert np.array_equal(first, second, equal_nan=True)


@pytest.mark.parametrize("change", ["constant", "uniform", "lanes", "output", "guard", "machine"])
def test_what_differs_is_compiled(
    change: str, directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the code depends on is part of its name."""
    kernel(draft(), [False] * 2)
    compiled.clear()
    tape = draft(3.0 if change == "constant" else 2.0)
    if change == "output":
        tape.outputs.reverse()
    if change == "guard":
        tape.guards = [(value, not outcome) for value, outcome in tape.guards]
    if change == "machine":
        monkeypatch.setenv("CHAINRULE_VECTOR_MATH", "none")
    kernel(tape, [change == "uniform", False], lanes=change != "lanes")
    assert compiled


@pytest.mark.parametrize("folder", cache.FOLDERS)
def test_code_of_another_compiler_is_compiled(
    folder: str, directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where that has the same version, as between releases."""
    kernel(draft(), [False] * 2)
    package = directory.parent / "chainrule"
    here = package / "backends" / "llvm" / "cache.py"
    shutil.copytree(Path(chainrule.__file__).parent, package)
    monkeypatch.setattr(cache, "__file__", str(here))
    monkeypatch.setattr(cache, "_versions", functools.cache(cache._versions.__wrapped__))
    for name, counts in (("notes.txt", False), ("new.py", True)):
        (package / folder / name).write_text("# changed")
        cache._versions.cache_clear()
        compiled.clear()
        kernel(draft(), [False] * 2)
        assert bool(compiled) == counts


PROGRAM = """
import sys
import numpy as np
from chainrule.backends.llvm.machine import Machine
from test_cache import draft
from test_kernel import call, compiled, run_rows

def refuse(self, text, level):
    raise AssertionError("compiled")

if sys.argv[1] == "warm":
    Machine.compile = refuse
values, _ = run_rows(compiled(draft(), [False] * 2), np.array([[0.0, np.inf], [0.5, 2.0]]))
status, alone = call(compiled(draft(), [], lanes=False), [0.5, 2.0])
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
    expected, _ = run_rows(kernel(draft(), [False] * 2), points)
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
        kernel(draft(5.0), [False] * 2)
        other = next(path for path in tape_files(directory) if path not in files)
        largest.write_bytes(other.read_bytes())
    else:
        (directory / "key").write_bytes(os.urandom(32))
    compiled.clear()
    with pytest.warns(RuntimeWarning, match="changed since"):
        values, _ = run_rows(kernel(draft(), [False] * 2), points)
    assert compiled
    assert np.array_equal(values, expected, equal_nan=True)
    compiled.clear()
    kernel(draft(), [False] * 2)  # written anew
    assert not compiled


def test_the_directory_is_made_private(directory: Path) -> None:
    """And all that is in it."""
    kernel(draft(), [False] * 2)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert not [path for path in directory.iterdir() if "." in path.name]  # nothing left over


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_an_open_directory_is_an_error(mode: int, directory: Path) -> None:
    """Others could put code there."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(PermissionError, match="make it private"):
        kernel(draft(), [False] * 2)


def test_a_directory_of_another_user_is_an_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That user could put code there."""
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="another user"):
        kernel(draft(), [False] * 2)


def test_an_open_key_is_an_error(directory: Path) -> None:
    """Others could read it."""
    kernel(draft(), [False] * 2)
    (directory / "key").chmod(0o644)
    with pytest.raises(PermissionError, match="key is open"):
        kernel(draft(), [False] * 2)


def test_a_damaged_key_is_an_error(directory: Path) -> None:
    """Nothing could be checked."""
    kernel(draft(), [False] * 2)
    (directory / "key").write_bytes(b"short")
    with pytest.raises(PermissionError, match="damaged"):
        kernel(draft(), [False] * 2)


def make_socket(path: Path) -> None:
    """A socket that nobody listens to; the path must be short."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "directory": lambda path: path.mkdir(),
    "full directory": lambda path: (path / "inside").mkdir(parents=True),
    "pipe": lambda path: os.mkfifo(path, 0o600),
    "socket": make_socket,
    "link to a file": lambda path: path.symlink_to(path.parent / "key"),
    "link to nothing": lambda path: path.symlink_to(path.parent / "nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}
"""What can lie in place of a file."""


def works(texts: list[str], kept: bool) -> None:
    """Kernels are right, and warnings say that the cache does not work.

    Args:
        texts: those that LLVM compiles.
        kept: whether the code is kept for the second time.
    """
    points = np.array([[0.5, 2.0]])
    for round in range(2):
        texts.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values, _ = run_rows(kernel(draft(), [False] * 2), points)
        assert values[0, 0] == 0.5 * np.exp(2.0) + 2.0
        assert {w.category for w in caught} <= {RuntimeWarning}
        assert bool(caught) == bool(texts) == (round == 0 or not kept)


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_in_place_of_an_entry(
    kind: str, directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not followed, not waited for, and written anew if it can be."""
    kernel(draft(), [False] * 2)
    monkeypatch.chdir(directory)
    for path in tape_files(directory):
        path.unlink()
        KINDS[kind](Path(path.name))
    works(compiled, kept="directory" not in kind)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"link to a file"}))
def test_something_else_in_place_of_the_key(
    kind: str, directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be checked."""
    kernel(draft(), [False] * 2)
    monkeypatch.chdir(directory)
    Path("key").unlink()
    KINDS[kind](Path("key"))
    works(compiled, kept=False)


@pytest.mark.parametrize("kind", ["file", *sorted(KINDS.keys() - {"directory", "full directory"})])
def test_something_else_in_place_of_the_directory(
    kind: str, directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as if there were no cache."""
    monkeypatch.chdir(directory.parent)
    (directory.parent / "key").write_bytes(b"")
    path = Path(directory.name)
    if kind == "file":
        path.write_bytes(b"")
    else:
        KINDS[kind](path)
    works(compiled, kept=False)


def on_a_full_name(directory: Path, patch: pytest.MonkeyPatch) -> None:
    """A name that is too long."""
    patch.setenv(cache.VARIABLE, str(directory / ("x" * 300)))


def below_a_file(directory: Path, patch: pytest.MonkeyPatch) -> None:
    """A path through a file."""
    directory.write_bytes(b"")
    patch.setenv(cache.VARIABLE, str(directory / "below"))


def on_a_read_only_disk(directory: Path, patch: pytest.MonkeyPatch) -> None:
    """The directory is missing and can't be made."""

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(directory))

    patch.setattr(os, "mkdir", refuse)


def where_it_may_not_be_read(directory: Path, patch: pytest.MonkeyPatch) -> None:
    """The system refuses (a superuser is never refused)."""
    directory.mkdir(mode=0o700)
    original = os.open

    def refuse(path: Any, *arguments: Any, **more: Any) -> int:
        if path == str(directory):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return original(path, *arguments, **more)

    patch.setattr(os, "open", refuse)


def removed_meanwhile(directory: Path, patch: pytest.MonkeyPatch) -> None:
    """Somebody removes the directory as soon as it is made."""
    patch.setattr(os, "makedirs", lambda *arguments, **more: None)


@pytest.mark.parametrize(
    "place",
    [
        on_a_full_name,
        below_a_file,
        on_a_read_only_disk,
        where_it_may_not_be_read,
        removed_meanwhile,
    ],
)
def test_a_directory_that_can_not_be_used(
    place: Callable[[Path, pytest.MonkeyPatch], None],
    directory: Path,
    compiled: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is as if there were no cache."""
    place(directory, monkeypatch)
    works(compiled, kept=False)


def test_a_read_only_cache_is_read(
    directory: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that nothing can be written to, what is there is used."""
    kernel(draft(), [False] * 2)
    original = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", path)
        return original(path, flags, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    compiled.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel(draft(), [False] * 2)
    assert not compiled
    with pytest.warns(RuntimeWarning, match="nothing kept"):
        kernel(draft(8.0), [False] * 2)


def test_a_full_disk_stops_nobody(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that can't be kept still runs."""
    kernel(draft(), [False] * 2)

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        kernel(draft(7.0), [False] * 2)
