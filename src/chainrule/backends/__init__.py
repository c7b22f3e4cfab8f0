"""Back ends: from a program to code."""
