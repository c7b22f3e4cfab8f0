"""The cases that compiled.py measures: each problem written for each library."""
