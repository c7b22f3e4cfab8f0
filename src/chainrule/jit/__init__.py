"""From the call of a function to its program and its machine code."""
