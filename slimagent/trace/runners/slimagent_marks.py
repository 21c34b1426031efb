"""A pytest plugin that marks each test for slimagent's tracer. It does nothing without the tracer.

It runs in the image's Python, of any version that pytest supports or has supported: so it has no annotations.
"""

import os

import pytest

LONGEST = 1000  # characters of a name


def mark(name):
    """Tell the tracer that this process is in test `name` from now on; "" ends the test."""
    place = os.environ.get("SLIMAGENT_TESTS")
    if place:
        name = name[:LONGEST].replace("%", "%25").replace("\0", "%00")
        os.access(place.encode("utf-8") + b"/" + name.encode("utf-8", "replace"), os.F_OK)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Mark a test from before its setup until after its teardown."""
    mark(item.nodeid)
    yield
    mark("")
