"""Files are written whole or not at all, with the modes and links that ``open`` would leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import Node, draw_graph, explore, files, nn
from chainrule.files import replace_file, write_atomically

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes of POSIX")

WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "drawing": ("g.svg", lambda path: draw_graph(Node(1.0) * 2).save(path)),
    "source": ("g.gv", lambda path: draw_graph(Node(1.0) * 2).save(path)),
    "render": ("g.gv", lambda path: draw_graph(Node(1.0) * 2).render(path)),
    "page": ("g.html", lambda path: explore(Node(1.0) * 2).save(path)),
    "weights": ("g.safetensors", lambda path: nn.save(nn.MLP(1, [1]), path)),
}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return path.stat().st_mode & 0o7777


def interrupted(step: int, call: Callable[[], Any]) -> int:
    """Raise KeyboardInterrupt at one bytecode of the writer, as a signal does; how many there were.

    Signals are handled between two bytecodes, so that these are all the moments there are.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != files.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == step:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("keep", [True, False, None])
def test_interrupt_at_every_moment(exists: bool, keep: bool | None, tmp_path: Path) -> None:
    """There is the old file or the new one and nothing else, and the interrupt goes on."""
    path = tmp_path / "file"

    def call() -> None:
        if keep is None:
            write_atomically(path, b"new")
        else:
            replace_file(path, b"new", keep=keep)

    old = {"file": b"old"} if exists else {}
    new = {"file": b"old" if keep and exists else b"new"}

    def prepare() -> None:
        path.unlink(missing_ok=True)
        if exists:
            path.write_bytes(b"old")

    prepare()
    count = interrupted(0, call)
    assert count > 100
    seen = []
    for step in range(1, count + 1):
        prepare()
        with pytest.raises(KeyboardInterrupt):
            interrupted(step, call)
        found = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        assert found in (old, new), step
        seen.append(found)
    assert seen[0] == old
    assert seen[-1] == new


@pytest.mark.parametrize("name", ["open", "fsync", "chmod", "replace", "link", "unlink"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
@pytest.mark.parametrize("after", [True, False])
def test_failure_before_and_after_each_call(
    name: str,
    error: type[BaseException],
    after: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What fails in or after a system call is what the caller sees; nothing is left behind."""
    path = tmp_path / "file"
    keep = name in ("link", "unlink")
    if not keep:
        path.write_bytes(b"old")
    real = getattr(os, name)

    def call(*arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(os, name, real)
        if after:
            result = real(*arguments, **more)
            if isinstance(result, int):
                os.close(result)
        raise error("trial")

    monkeypatch.setattr(os, name, call)
    with pytest.raises(error, match="trial"):
        replace_file(path, b"new", keep=True) if keep else write_atomically(path, b"new")
    written = name == "unlink" or (after and name in ("link", "replace"))
    found = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert found == ({"file": b"new"} if written else {} if keep else {"file": b"old"})


@pytest.mark.parametrize("writer", WRITERS)
def test_interrupt_after_the_rename(
    writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C that is noticed when the file is there already reaches the caller of every writer."""
    name, write = WRITERS[writer]
    real = os.replace

    def replace(*arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(name)


def test_signals(tmp_path: Path) -> None:
    """Ctrl-C while files are written, 200 times: old or new, no temporary file, not swallowed."""
    program = """
import sys
from chainrule.files import write_atomically
while True:
    try:
        print("ready", flush=True)
        while True:
            for byte in b"01":
                write_atomically(sys.argv[1], bytes([byte]) * 20_000)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.readline()
"""
    path = tmp_path / "file"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for trial in range(200):
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.001 + 0.000_037 * trial)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert [file.name for file in tmp_path.iterdir()] in (["file"], [])
            if path.exists():
                assert path.read_bytes() in (b"0" * 20_000, b"1" * 20_000)
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_modes(writer: str, mask: int, tmp_path: Path) -> None:
    """A new file has the mode that the umask says; an existing one keeps its own."""
    name, write = WRITERS[writer]
    with umask(mask):
        write(tmp_path / name)
        assert mode(tmp_path / name) == 0o666 & ~mask
        for kept in (0o600, 0o640, 0o644, 0o755):
            (tmp_path / name).chmod(kept)
            write(tmp_path / name)
            assert mode(tmp_path / name) == kept


@pytest.mark.parametrize("writer", WRITERS)
def test_the_umask_is_never_set(
    writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the umask sets it for a moment, in all threads: nobody does."""
    name, write = WRITERS[writer]
    monkeypatch.setattr(os, "umask", None)
    write(tmp_path / name)
    write(tmp_path / name)


def test_a_private_file_is_private_throughout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaces a file of mode 0600 can't be read by others while it is written."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    modes = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new")
    assert modes == [0o600]
    assert mode(path) == 0o600


@pytest.mark.parametrize("writer", WRITERS)
def test_symbolic_links_are_followed(writer: str, tmp_path: Path) -> None:
    """The file at the end of the links is written, there already or not; links stay links."""
    name, write = WRITERS[writer]
    (tmp_path / "inner").mkdir()
    (tmp_path / "outer").mkdir()
    link = tmp_path / "outer" / name
    link.symlink_to(f"../inner/middle-{name}")
    (tmp_path / "inner" / f"middle-{name}").symlink_to("last")
    for _ in range(2):
        write(link)
        assert link.is_symlink()
        assert (tmp_path / "inner" / f"middle-{name}").is_symlink()
        assert not (tmp_path / "inner" / "last").is_symlink()
        assert (tmp_path / "inner" / "last").stat().st_size > 0
        found = {file.name for file in (tmp_path / "inner").iterdir()}
        assert found == {f"middle-{name}", "last"}


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """A loop, and a link into a folder that is missing, are errors."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(tmp_path / "a", b"")
    (tmp_path / "c").symlink_to("missing/file")
    with pytest.raises(FileNotFoundError, match="no folder"):
        write_atomically(tmp_path / "c", b"")
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b", "c"}


ENTRIES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from([0o600, 0o644, 0o755, 0o400, 0o666])),
    st.tuples(st.just("folder"), st.just(0o755)),
    st.tuples(st.just("link"), st.sampled_from(["a", "b", "c", "./a", "../a", "f/a", "f", "no/a"])),
)
NAMES = ["a", "b", "c", "f/a", "f/b"]


def made(folder: Path, entries: dict[str, tuple[str, Any]]) -> None:
    """A folder with some files, folders and links in it."""
    (folder / "f").mkdir(parents=True)
    for name, (kind, what) in entries.items():
        if kind == "file":
            (folder / name).write_bytes(b"old")
            (folder / name).chmod(what)
        elif kind == "folder":
            (folder / name).mkdir()
        else:
            (folder / name).symlink_to(what)


def content(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that is in a folder, with modes and where links lead."""
    return {
        str(path.relative_to(folder)): (
            ("link", os.readlink(path))
            if path.is_symlink()
            else ("folder",)
            if path.is_dir()
            else (path.read_bytes(), mode(path))
        )
        for path in folder.rglob("*")
    }


@settings(max_examples=300, deadline=None)
@given(
    entries=st.dictionaries(st.sampled_from(NAMES), ENTRIES),
    name=st.sampled_from([*NAMES, "f", "f/../a", "a/", "a/b", "no/a", "f/no/a", "."]),
    mask=st.sampled_from([0o022, 0o077, 0o000]),
)
def test_what_open_would_do(entries: dict[str, tuple[str, Any]], name: str, mask: int) -> None:
    """What is there afterwards is as if ``open`` had written it, or both fail."""
    found = []
    for write in (write_atomically, Path.write_bytes):
        with tempfile.TemporaryDirectory() as place, umask(mask):
            folder = Path(place, "folder")
            made(folder, entries)
            try:
                write(folder / name, b"new")
                failed = False
            except OSError:
                failed = True
            found.append((failed, content(Path(place))))
    assert found[0] == found[1]


def test_pipes_and_devices(tmp_path: Path) -> None:
    """They are written to, as ``open`` does."""
    pipe = tmp_path / "pipe.gv"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    drawing = draw_graph(Node(1.0) * 2)
    drawing.save(pipe)
    reader.join()
    assert received == [drawing.source.encode()]
    master, slave = os.openpty()  # a device that is the test's own
    terminal = tmp_path / "terminal.gv"
    terminal.symlink_to(os.ttyname(slave))
    write_atomically(terminal, b"shown")
    assert os.read(master, 100) == b"shown"
    os.close(slave)
    os.close(master)
    assert terminal.is_symlink()
    assert {file.name for file in tmp_path.iterdir()} == {"pipe.gv", "terminal.gv"}


def test_standard_output(tmp_path: Path) -> None:
    """A link to it, as /dev/stdout is, leads to a pipe or a file, which stays the same file."""
    program = (
        "import sys; from chainrule.files import write_atomically\n"
        "write_atomically(sys.argv[1], b'picture\\n')\n"
    )
    link = tmp_path / "stdout.gv"
    link.symlink_to("/proc/self/fd/1")
    command = [sys.executable, "-c", program, str(link)]
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"picture\n"
    path = tmp_path / "out"
    path.touch()
    inode = path.stat().st_ino
    with path.open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
    assert path.read_bytes() == b"picture\n"
    assert path.stat().st_ino == inode
    assert link.is_symlink()
    assert {file.name for file in tmp_path.iterdir()} == {"out", "stdout.gv"}


def test_files_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names the path that was given, not the temporary file."""
    path = tmp_path / "file"
    for name in ("a\0b", "\ud800"):
        with pytest.raises(ValueError, match="can't be the name of a file"):
            write_atomically(tmp_path / name, b"")
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_, **__: False)  # as for a user who is not root
        with pytest.raises(PermissionError, match="read-only"):
            write_atomically(path, b"new")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, b"new")
    assert caught.value.errno == 28
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_long_names(tmp_path: Path) -> None:
    """A name as long as the system allows leaves room for the temporary file."""
    write_atomically(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"
