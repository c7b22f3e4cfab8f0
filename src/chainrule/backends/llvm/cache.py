"""Object code kept between processes, in the directory that ``CHAINRULE_CACHE`` names.

What is in the directory is executed. Therefore it must belong to the user and be writable by nobody
else, and each file carries an authentication code (HMAC-SHA256) made with a random key that is kept
there too. A file that was changed, cut off or renamed is refused, with a warning, and written anew.
Where something can't be read or written there is a warning, and all works as without a cache.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from chainrule._version import __version__
from chainrule.backends.llvm.machine import binding
from chainrule.forking import import_before_forks

import_before_forks("hmac", "json", "secrets")  # here where they are used: few have a cache

VARIABLE: Final = "CHAINRULE_CACHE"
FOLDERS: Final = ("", "program", "passes", "backends/llvm")
"""Those of the package whose modules have a say in the code."""
_KEY_FILE: Final = "key"
_KEY_BYTES: Final = 32
_MAC_BYTES: Final = 32

Entry = tuple[dict[str, Any], list[bytes]]
"""What a file holds: a description, and pieces of object code."""


class NotPrivate(PermissionError):
    """Others could put code into the cache, or it can't be known that they could not."""


def is_on() -> bool:
    """Whether there is a cache."""
    return bool(os.environ.get(VARIABLE))


def kept(make: Callable[[], Entry], *parts: bytes) -> Entry:
    """The entry for what some parts determine: where there is none it is made, and put there.

    Raises:
        NotPrivate: if the directory is not private.
    """
    if not is_on():  # a name takes long: all files of the compiler have a say
        return make()
    name = name_of(*parts)
    entry = get(name)
    if entry is None:
        entry = make()
        put(name, entry)
    return entry


def get(name: str) -> Entry | None:
    """The entry of a name, if there is a cache and it holds one.

    Raises:
        NotPrivate: if the directory is not private.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    import hmac

    try:
        with _directory(path) as directory:
            content = _read(directory, name)
            if content is None:
                return None
            mac, body = content[:_MAC_BYTES], content[_MAC_BYTES:]
            if hmac.compare_digest(mac, _mac(_key(directory), name, body)):
                return _unpacked(body)
        why = f"{os.path.join(path, name)} was changed since it was written, and is not used"
    except NotPrivate:
        raise
    except OSError as error:
        why = f"nothing used from {path} ({VARIABLE}): {error}"
    warnings.warn(why, RuntimeWarning, stacklevel=2)
    return None


def put(name: str, entry: Entry) -> None:
    """Keep an entry, if there is a cache.

    Raises:
        NotPrivate: if the directory is not private.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    body = _packed(entry)
    try:
        with _directory(path) as directory:
            _write(directory, name, _mac(_key(directory), name, body) + body)
    except NotPrivate:
        raise
    except OSError as error:  # a full disk must not stop anybody
        why = f"nothing kept in {path} ({VARIABLE}): {error}"
        warnings.warn(why, RuntimeWarning, stacklevel=2)


def name_of(*parts: bytes) -> str:
    """The name of the entry for what these parts determine."""
    digest = hashlib.sha256(_versions())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


@functools.cache
def _versions() -> bytes:
    """The versions of all that has a say in the code."""
    llvm = binding().llvm_version_info
    import llvmlite

    libc = ""
    if hasattr(os, "confstr") and "CS_GNU_LIBC_VERSION" in os.confstr_names:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    versions = __version__, _sources(Path(__file__).parents[2]), llvmlite.__version__, llvm, libc
    return repr(versions).encode()


def _sources(package: Path) -> str:
    """What tells the compiler's own code from that of another day: a new version is not enough."""
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    """A descriptor of the directory, made if it is missing, and checked."""
    if not hasattr(os, "geteuid"):
        raise NotPrivate(
            f"{VARIABLE}: on this platform there is no way to check that {path} is private"
        )
    os.makedirs(path, mode=0o700, exist_ok=True)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check_private(os.fstat(directory), path, stat.S_IWGRP | stat.S_IWOTH)
        yield directory
    finally:
        os.close(directory)


def _check_private(status: os.stat_result, path: str, forbidden: int) -> None:
    if status.st_uid != os.geteuid():
        raise NotPrivate(f"{VARIABLE}: {path} belongs to another user, and holds code to run")
    if status.st_mode & forbidden:
        raise NotPrivate(
            f"{VARIABLE}: {path} is open to other users, and holds code to run;"
            f" make it private (chmod go-rwx {path})"
        )


def _key(directory: int) -> bytes:
    """The secret key of a directory, made at its first use."""
    for _ in range(2):
        key = _read(directory, _KEY_FILE, stat.S_IRWXG | stat.S_IRWXO)
        if key is None:
            import secrets

            _write(directory, _KEY_FILE, secrets.token_bytes(_KEY_BYTES), keep=True)
            continue
        if len(key) != _KEY_BYTES:
            raise NotPrivate(f"{VARIABLE}: the file {_KEY_FILE} is damaged; remove it")
        return key
    raise FileNotFoundError(f"{VARIABLE}: the file {_KEY_FILE} disappears")


def _mac(key: bytes, name: str, body: bytes) -> bytes:
    """The authentication code of a file, its name included."""
    import hmac

    return hmac.digest(key, name.encode() + b"\0" + body, "sha256")


def _read(directory: int, name: str, forbidden: int = 0) -> bytes | None:
    """What a file holds, None if there is no such file.

    Args:
        directory: a descriptor of the directory.
        name: the name of the file.
        forbidden: permissions that it must not give, so that it is the user's alone; 0 for none.

    Raises:
        OSError: if it can't be read, or is a link, a directory, a pipe or a device.
        NotPrivate: if it gives them, or belongs to another user.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would wait for a writer
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        if forbidden:
            _check_private(status, name, forbidden)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _write(directory: int, name: str, content: bytes, keep: bool = False) -> None:
    """Write a file at once or not at all; with ``keep``, only if there is none yet."""
    from chainrule.files import replace_file

    # No waiting for the disk: what a power failure damages is refused, and compiled again.
    replace_file(name, content, mode=0o600, directory=directory, keep=keep, sync=keep)


def _packed(entry: Entry) -> bytes:
    import json

    description, objects = entry
    head = json.dumps([description, [len(code) for code in objects]]).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *objects])


def _unpacked(body: bytes) -> Entry:
    import json

    start = 8 + int.from_bytes(body[:8], "little")
    description, sizes = json.loads(body[8:start])
    objects = []
    for size in sizes:
        objects.append(body[start : start + size])
        start += size
    return description, objects
