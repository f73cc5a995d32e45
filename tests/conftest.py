"""Settings that every test shares."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from libraries import LIBRARIES, Library, Usage, parameters

pytest_plugins = ["matrix"]

# JAX makes this many devices of the host when it is first used, for arrays that are on several.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

# The same examples on every machine, and no test that fails because a machine was busy.
settings.register_profile("adamax", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "adamax"))


@pytest.fixture
def standard_only() -> Iterator[None]:
    """While this is in use, array_api_strict has nothing that the standard leaves optional."""
    with Usage.STRICT_2024.in_use():
        yield


@pytest.fixture(params=parameters(LIBRARIES))
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Every array library, dtype and device; of array_api_strict what is standard alone."""
    found: Library = request.param
    with found.in_use():
        yield found


@pytest.fixture
def text(tmp_path: Path) -> str:
    """Return the path of a text in which every word but the first follows from its neighbour."""
    rng = np.random.default_rng(0)
    words = [f"{'abcde'[i]}{'vwxyz'[i]}word" for i in range(5)]
    order = (np.cumsum(rng.integers(0, 2, size=4000)) % 5).tolist()
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words[i] for i in order))
    return str(path)
