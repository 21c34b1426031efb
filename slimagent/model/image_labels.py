"""The names of the labels on a slim image, which an image layout also has as annotations of its manifest.

Label keys follow Docker's guideline (reverse DNS).
"""

from __future__ import annotations

VERSION = "io.slimagent.version"
SOURCE, SOURCE_ID, SOURCE_DIGEST = (
    *("io.slimagent.source", "io.slimagent.source.id"),
    "io.slimagent.source.digest",
)
PLAN, LEVEL = "io.slimagent.plan", "io.slimagent.level"
WATCHED = "io.slimagent.watched"  # of a container that tests on the host started, not of an image
EVERY = (VERSION, SOURCE, SOURCE_ID, SOURCE_DIGEST, PLAN, LEVEL)
