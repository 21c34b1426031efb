"""A pytest plugin that marks each test for slimagent's tracer. It does nothing without the tracer.

It runs in the image's Python, of any version that pytest supports or has supported: so it has no annotations.
"""

import os

import pytest

LONGEST = 1000  # characters of a name
_PLAIN = frozenset(bytearray(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:[]=,+@!()"))


def mark(name):
    """Tell the tracer that this process is in test `name` from now on; "" ends the test."""
    place = os.environ.get("SLIMAGENT_TESTS")
    if place:
        data = bytearray(name[:LONGEST].encode("utf-8", "replace"))
        words = [chr(each) if each in _PLAIN else "%" + format(each, "02X") for each in data]
        os.path.exists(place + "/" + "".join(words))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Mark a test from before its setup until after its teardown."""
    mark(item.nodeid)
    yield
    mark("")
