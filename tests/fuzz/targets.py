"""Every target by its name. A target takes any bytes; whatever it raises is a finding."""

from __future__ import annotations

from . import documents, formats, gpu, images

TARGETS = documents.TARGETS | formats.TARGETS | gpu.TARGETS | images.TARGETS
