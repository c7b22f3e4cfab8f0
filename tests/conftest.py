"""What all tests share: tracebacks that show the package's frames too, to find its faults by."""

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("CHAINRULE_TRACEBACKS", "full")


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns as often as Python can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
