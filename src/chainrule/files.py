"""Files written whole or not at all: the one way in which the library writes a file."""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

NEW_FILE = 0o666  # less the process's umask, which the system itself applies
_SYSTEM = re.compile(r"/dev(/fd)?$|/proc(/|$)")  # /dev/stdout may be a file: to write, not replace


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that at any moment, an interrupt included, there is the old one or the new.

    The data goes to a temporary file in the same folder, which is then renamed. As with ``open``,
    a symbolic link is followed, an existing file keeps its mode, and its owner where that is
    permitted, a new one gets the mode that the process's umask says, and a device or a pipe is
    written to.

    Raises:
        OSError: if it can't be written; the old file and nothing else is there.
        ValueError: if the path can't be the name of a file.
    """
    path = Path(path)
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    except ValueError as error:
        raise ValueError(f"{str(path)!r} can't be the name of a file: {error}") from None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"can't write {path}: it is a folder")
    target = _target(path)
    if target is None or (old is not None and not stat.S_ISREG(old.st_mode)):
        with open(path, "wb") as file:
            file.write(data)
        return
    if not target.parent.is_dir():
        folder = target.parent if path.is_symlink() else path.parent
        raise FileNotFoundError(f"can't write {path}: there is no folder {folder}")
    effective = os.access in os.supports_effective_ids
    if old is not None and not os.access(target, os.W_OK, effective_ids=effective):
        raise PermissionError(f"can't write {path}: it is read-only")
    try:
        replace_file(target, data, old=old)
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None  # not the temporary file's
        raise


def replace_file(
    name: str | os.PathLike[str],
    data: bytes,
    *,
    mode: int = NEW_FILE,
    old: os.stat_result | None = None,
    directory: int | None = None,
    keep: bool = False,
    sync: bool = True,
) -> None:
    """Write a temporary file beside ``name`` and rename it to that.

    Args:
        name: of the file; relative to ``directory`` where one is given.
        data: what to write.
        mode: of a new file, less the umask.
        old: what is known of the file that is there, whose mode and owner are kept.
        directory: descriptor of the folder.
        keep: whether a file that is there already stays.
        sync: whether to wait until the data is on the disk, so that a power failure leaves the old
            file or the new one too.

    Raises:
        OSError: if it can't be written; nothing is left behind.
    """
    head, _ = os.path.split(name)
    temporary = os.path.join(head, f".chainrule-{secrets.token_hex(8)}.part")

    def opener(path: str, flags: int) -> int:  # what replaces a private file is private throughout
        flags |= getattr(os, "O_NOFOLLOW", 0)
        return os.open(path, flags, mode if old is None else 0o600, dir_fd=directory)

    try:
        with open(temporary, "xb", opener=opener) as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
            if old is not None:
                _dress(temporary, old, os.fstat(file.fileno()))
        if keep:
            with suppress(FileExistsError):
                os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.unlink(temporary, dir_fd=directory)
        else:
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:  # an interrupt may come when the file is renamed already
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _dress(temporary: str, old: os.stat_result, new: os.stat_result) -> None:
    """Give a file the owner, as far as that is permitted, and the mode of another."""
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(PermissionError):
            os.chown(temporary, old.st_uid, old.st_gid)
    os.chmod(temporary, old.st_mode & 0o777)


def _target(path: Path) -> Path | None:
    """The file that a path leads to through symbolic links; None for one of the system's."""
    while True:
        folder = Path(os.path.realpath(path.parent))
        if _SYSTEM.match(str(folder)):
            return None
        path = folder / path.name
        if not path.is_symlink():
            return path
        path = folder / os.readlink(path)
