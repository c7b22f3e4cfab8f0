"""Object code kept between processes, in the directory that ``CHAINRULE_CACHE`` names.

What is in the directory is executed. Therefore it must belong to the user and be writable by nobody
else, and each file carries an authentication code (HMAC-SHA256) made with a random key that is kept
there too. A file that was changed, cut off or renamed is refused, with a warning, and written anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from typing import Any, Final

from chainrule._version import __version__

VARIABLE: Final = "CHAINRULE_CACHE"
FORMAT: Final = 2  # to be raised when the code for a tape changes without a new version
_KEY_FILE: Final = "key"
_KEY_BYTES: Final = 32
_MAC_BYTES: Final = 32

Entry = tuple[dict[str, Any], list[bytes]]
"""What a file holds: a description, and pieces of object code."""


def is_on() -> bool:
    """Whether there is a cache."""
    return bool(os.environ.get(VARIABLE))


def get(name: str) -> Entry | None:
    """The entry of a name, if there is a cache and it holds one.

    Raises:
        PermissionError: if the directory is not private.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    with _directory(path) as directory:
        try:
            content = _read(directory, name)
        except FileNotFoundError:
            return None
        mac, body = content[:_MAC_BYTES], content[_MAC_BYTES:]
        if hmac.compare_digest(mac, _mac(_key(directory), name, body)):
            return _unpacked(body)
    warnings.warn(
        f"{os.path.join(path, name)} was changed since it was written, and is not used",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def put(name: str, entry: Entry) -> None:
    """Keep an entry, if there is a cache.

    Raises:
        PermissionError: if the directory is not private.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    body = _packed(entry)
    with _directory(path) as directory:
        try:
            _write(directory, name, _mac(_key(directory), name, body) + body)
        except OSError as error:  # a full disk must not stop anybody
            warnings.warn(f"nothing kept in {path}: {error}", RuntimeWarning, stacklevel=2)


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
    import llvmlite
    import llvmlite.binding

    libc = ""
    if hasattr(os, "confstr") and "CS_GNU_LIBC_VERSION" in os.confstr_names:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    llvm = llvmlite.binding.llvm_version_info
    return repr((FORMAT, __version__, llvmlite.__version__, llvm, libc)).encode()


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    """A descriptor of the directory, made if it is missing, and checked."""
    if not hasattr(os, "geteuid"):
        raise PermissionError(
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
        raise PermissionError(f"{VARIABLE}: {path} belongs to another user, and holds code to run")
    if status.st_mode & forbidden:
        raise PermissionError(
            f"{VARIABLE}: {path} is open to other users, and holds code to run;"
            f" make it private (chmod go-rwx {path})"
        )


def _key(directory: int) -> bytes:
    """The secret key of a directory, made at its first use."""
    for _ in range(2):
        try:
            descriptor = os.open(_KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        except FileNotFoundError:
            _write(directory, _KEY_FILE, secrets.token_bytes(_KEY_BYTES), keep=True)
            continue
        with os.fdopen(descriptor, "rb") as file:
            _check_private(os.fstat(descriptor), _KEY_FILE, stat.S_IRWXG | stat.S_IRWXO)
            key = file.read()
        if len(key) != _KEY_BYTES:
            raise PermissionError(f"{VARIABLE}: the file {_KEY_FILE} is damaged; remove it")
        return key
    raise FileNotFoundError(f"{VARIABLE}: the file {_KEY_FILE} disappears")


def _mac(key: bytes, name: str, body: bytes) -> bytes:
    """The authentication code of a file, its name included."""
    return hmac.digest(key, name.encode() + b"\0" + body, "sha256")


def _read(directory: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _write(directory: int, name: str, content: bytes, keep: bool = False) -> None:
    """Write a file at once or not at all; with ``keep``, only if there is none yet."""
    temporary = f"{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if not keep:
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            return
        with contextlib.suppress(FileExistsError):
            os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)


def _packed(entry: Entry) -> bytes:
    description, objects = entry
    head = json.dumps([description, [len(code) for code in objects]]).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *objects])


def _unpacked(body: bytes) -> Entry:
    start = 8 + int.from_bytes(body[:8], "little")
    description, sizes = json.loads(body[8:start])
    objects = []
    for size in sizes:
        objects.append(body[start : start + size])
        start += size
    return description, objects
