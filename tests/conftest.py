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


@pytest.fixture(autouse=True, scope="module")
def _earlier_objects_are_frozen() -> None:
    """The collector goes through what the module's tests make, not what is there and stays.

    It took 0.4 s for each call of ``gc.collect`` to go through thousands of tests and modules.
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
