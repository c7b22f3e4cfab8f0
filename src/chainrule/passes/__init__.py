"""Passes: functions from a program to a program."""
