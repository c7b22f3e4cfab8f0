"""What all tests share: tracebacks that show the package's frames too, to find its faults by."""

import os

os.environ.setdefault("CHAINRULE_TRACEBACKS", "full")
