"""The threads that all kernels share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # imported with the first thread
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")


def thread_count() -> int:
    """How many threads compiled functions use: ``CHAINRULE_THREADS``, else all usable cores.

    Raises:
        ValueError: if the variable is no positive whole number.
    """
    text = os.environ.get("CHAINRULE_THREADS")
    if text is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"CHAINRULE_THREADS is a whole number from 1 up, not {text!r}")
    return int(text)


@functools.cache
def executor() -> ThreadPoolExecutor:
    """The threads."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="chainrule")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=executor.cache_clear)


def together(workers: int, work: Callable[[], T]) -> list[T]:
    """Run a function that takes work until none is left, in this thread and others.

    Returns:
        its results, that of this thread first.
    """
    futures: list[Future[T]] = []
    try:
        for _ in range(workers - 1):
            futures.append(executor().submit(work))
        results = [work()]
    finally:  # those that have begun must end; those that still wait would find nothing to do
        begun = [future for future in futures if not future.cancel()]
        if begun:
            _wait(begun)
    return results + [future.result() for future in begun]


def _wait(futures: Sequence[Future[Any]]) -> None:
    """Wait until all have ended, whatever comes: they work on memory of the caller."""
    from concurrent.futures import wait

    interrupt: BaseException | None = None
    while True:
        try:
            wait(futures)
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
