"""Hostile inputs for every parser: targets, seeds, and a runner (`python -m tests.fuzz`)."""
