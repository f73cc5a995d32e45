"""Settings that every test shares."""

import os
from collections.abc import Iterator

import pytest
from array_api_strict import ArrayAPIStrictFlags
from hypothesis import settings
from libraries import GPU, LIBRARIES, Library

# The same examples on every machine, and no test that fails because a machine was busy.
settings.register_profile("adamax", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "adamax"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let ``-m gpu`` choose the tests on CuPy arrays too."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        if GPU and any(str(value).startswith("cupy") for value in parameters):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def standard_only() -> Iterator[None]:
    """While this is in use, array_api_strict has nothing that the standard leaves optional."""
    with ArrayAPIStrictFlags(
        api_version="2024.12",
        boolean_indexing=False,
        data_dependent_shapes=False,
        enabled_extensions=(),
    ):
        yield


@pytest.fixture(params=LIBRARIES, ids=str)
def library(request: pytest.FixtureRequest, standard_only: None) -> Library:
    """Every array library, dtype and device; of array_api_strict what is standard alone."""
    found: Library = request.param
    return found
