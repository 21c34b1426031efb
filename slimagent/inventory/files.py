"""Measure files of the image by their contents: what is the same elsewhere, what is code for GPUs."""

from __future__ import annotations

import hashlib
import os
import stat

from slimagent.elf.tables import MAGIC, tables

_CHUNK = 1 << 20  # bytes
_LEAST = 100_000  # bytes: GPU code is larger
# CUDA's and HIP's sections (nvcc and clang put whole fat binaries there).
_GPU_SECTIONS = (b".nv_fatbin", b"__nv_relfatbin", b".hip_fatbin")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Files:
    """Reads files of the image at `root`, whose paths come from an inventory: no directory in them is a link."""

    def __init__(self, root: bytes) -> None:
        self._prefix = b"" if root == b"/" else root

    def digest(self, path: bytes) -> bytes | None:
        """The SHA-256 of a regular file's content; None if it cannot be read."""
        descriptor = self._open(path)
        if descriptor is None:
            return None
        hashed = hashlib.sha256()
        try:
            while data := os.read(descriptor, _CHUNK):
                hashed.update(data)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return hashed.digest()

    def gpu_code(self, path: bytes) -> int:
        """The bytes of GPU code in a file, by the sections of an ELF file (CUDA's and HIP's); 0 for any other file."""
        if b".so" not in path.rpartition(b"/")[2]:
            return 0
        descriptor = self._open(path)
        if descriptor is None:
            return 0
        try:
            if os.fstat(descriptor).st_size < _LEAST or os.pread(descriptor, len(MAGIC), 0) != MAGIC:
                return 0
            found = tables(lambda offset, size: os.pread(descriptor, size, offset))
        except OSError:
            return 0
        finally:
            os.close(descriptor)
        sections = () if found is None else found.sections
        return sum(each.size for each in sections if each.name in _GPU_SECTIONS)

    def _open(self, path: bytes) -> int | None:
        try:
            descriptor = os.open(self._prefix + path, _FLAGS)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None
