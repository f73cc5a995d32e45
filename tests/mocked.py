"""`import cupy` on any machine: the mock, with its own functions or those of the real CuPy."""

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat
import pytest
from host_cuda import GXX
from host_launches import Device, Host, Stream
from stand_in import Namespace

from adamax_adapters import backends

OWN, WHEEL = "mock", "wheel"
"""Whose functions meet the arrays: the mock's own, or those of the installed CuPy."""

BOUND = ("cupy", "cuda_graph")
"""Modules of `adamax_adapters.backends` that are bound to the CuPy that they were imported with."""


@cache
def mock(whose: str) -> Any:
    spec = spec_from_file_location("cupy", Path(__file__).with_name("mock_cupy.py"))
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    if whose == WHEEL:
        wheel = import_module("cupy")
        for name in (*module.UFUNCS, *module.METHODS, "where", "linalg", "ElementwiseKernel"):
            setattr(module, name, getattr(wheel, name))
    module.__array_namespace__ = Namespace("array_api_compat.cupy", module.ndarray)
    return module


@pytest.fixture(params=[OWN, WHEEL])
def cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that `import cupy` gives in the test; its launches run on the host."""
    if request.param == WHEEL:
        pytest.importorskip("cupy")
    module = mock(request.param)
    host = Host()
    module.RawKernel = host.kernel
    module.cuda = SimpleNamespace(
        Device=lambda number: Device(host, number),
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        Stream=lambda non_blocking: Stream(host, non_blocking),
        runtime=SimpleNamespace(is_hip=GXX is None),  # then the plain rule takes the steps
        using_allocator=lambda allocator: Device(host, host.device),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(array_api_compat, "cupy", module.__array_namespace__, raising=False)
    for name in BOUND:
        monkeypatch.delitem(sys.modules, f"adamax_adapters.backends.{name}", raising=False)
        monkeypatch.setattr(backends, name, None, raising=False)  # put back what was there
    backends.problem.cache_clear()
    yield module
    backends.problem.cache_clear()
    for name in BOUND:
        sys.modules.pop(f"adamax_adapters.backends.{name}", None)
