"""What all tests share: tracebacks that show the package's frames too, to find its faults by."""

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("CHAINRULE_TRACEBACKS", "full")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background; tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was collected stays to the end: tests that call the collector need not go through it.

    Thousands of tests and their modules: 0.4 s for each call of ``gc.collect``.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns as often as Python can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
