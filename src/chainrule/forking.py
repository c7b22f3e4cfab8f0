"""Locks and forked processes.

A forked child has one thread. A lock that another thread held in the parent would stay locked in
the child for ever, and what it guards may be half changed. Each lock of this package is therefore
either taken around every fork, or free in every child, or nobody waits for it.
"""

from __future__ import annotations

import importlib
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, Generic, TypeVar

from chainrule.engine import ENGINE

Take = Callable[[], AbstractContextManager[Any]]
T = TypeVar("T")

_around: Final[list[Take]] = []
_freed: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_local = threading.local()
_later: Final[list[str]] = []


def take_around_forks(take: Take) -> None:
    """Take a lock before each fork and release it afterwards, in parent and child.

    For locks that are held shortly, by code that waits for no other thread, and that guard what
    must be whole. They are taken in the order in which they were given: a thread that holds one may
    wait for those after it, for none before it.

    Args:
        take: gives a context manager that holds the lock.
    """
    _around.append(take)


def import_before_forks(*modules: str) -> None:
    """Import modules before the next fork: some that threads import when they need them.

    A child would wait for ever for a module that another thread was importing.
    """
    _later.extend(modules)


def lock() -> Any:
    """A reentrant lock that is free in a forked child, unless the forking thread holds it.

    For locks under which users' code may run, and which guard what is whole at every moment.
    """
    made = threading.RLock()
    _freed.add(made)
    return made


class computed_once(Generic[T]):
    """A property that is computed at its first use, by several threads if these come together.

    That of functools takes a lock before Python 3.12, one for all objects of a class.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, owner: Any, kind: type) -> T:
        found = self.function(owner)
        owner.__dict__[self.function.__name__] = found  # is found before this object from now on
        return found


def _before() -> None:
    while _later:
        importlib.import_module(_later[-1])
        _later.pop()
    _local.taken = taken = ExitStack()
    for take in list(_around):
        taken.enter_context(take())


def _after_in_parent() -> None:
    _local.taken.close()


def _after_in_child() -> None:
    for made in list(_freed):
        if not made._is_owned():
            made._at_fork_reinit()
    _local.taken.close()
    if ENGINE is not None:
        ENGINE.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
