"""For the tests of GPU code: NVIDIA's compiler, and what it makes."""

from __future__ import annotations

import pytest
from cuda_toolkit import Toolkit
from gpu_shapes import Shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """Every shape of file with GPU code, made when it is asked for."""
    return Shapes(Toolkit(), tmp_path_factory.mktemp("gpu-shapes"))
