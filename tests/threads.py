"""Threads that start at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


def run_in_threads(*functions: Callable[[], None]) -> None:
    """Start all at once, wait for all, and raise what any of them raised."""
    barrier = threading.Barrier(len(functions))
    errors: list[BaseException] = []

    def run(function: Callable[[], None]) -> None:
        try:
            barrier.wait()
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
