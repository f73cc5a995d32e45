"""`import cupy` on any machine: the fake CuPy, with its own functions or those of the real CuPy."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat
import pytest
from cuda_emulator import GXX
from emulated_launches import Device, Host, Stream
from fake_device import Namespace
from libraries import Usage

from adamax_adapters import backends, keras_style

FAKE, WHEEL, REAL = "fake", "wheel", "gpu"
"""The fake's functions on its arrays, CuPy's functions on them, or CuPy on a GPU."""

BOUND = ((backends, "cupy"), (keras_style, "cuda_graph"))
"""Packages and their modules that are bound to the CuPy that they were imported with."""


@cache
def fake(whose: str) -> Any:
    """Return the fake CuPy, with its own functions or those of the wheel."""
    spec = spec_from_file_location("cupy", Path(__file__).with_name("fake_cupy.py"))
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


@contextmanager
def in_place(whose: str) -> Iterator[ModuleType]:
    """Let `import cupy` give the fake in the block; its launches run in the emulator."""
    module = fake(whose)
    host = Host()
    module.RawKernel = host.kernel
    module.cuda = SimpleNamespace(
        Device=lambda number: Device(host, number),
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        Stream=lambda non_blocking: Stream(host, non_blocking),
        runtime=SimpleNamespace(is_hip=GXX is None),  # then the plain rule takes the steps
        using_allocator=lambda allocator: Device(host, host.device),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", module)
        patch.setattr(array_api_compat, "cupy", module.__array_namespace__, raising=False)
        for package, name in BOUND:
            patch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
            patch.setattr(package, name, None, raising=False)  # put back what was there
        backends.problem.cache_clear()
        yield module
        for package, name in BOUND:
            sys.modules.pop(f"{package.__name__}.{name}", None)
    backends.problem.cache_clear()


def _gradients(usage: Usage) -> pytest.MarkDecorator:
    return pytest.mark.feature("gradients", usage=usage)


@pytest.fixture(
    params=[
        FAKE,
        pytest.param(WHEEL, marks=_gradients(Usage.CUPY_ON_HOST)),
        pytest.param(REAL, marks=[pytest.mark.gpu, _gradients(Usage.CUPY)]),
    ]
)
def cupy(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module that `import cupy` gives in the test."""
    real = None if request.param == FAKE else pytest.importorskip("cupy")
    if request.param != REAL:
        with in_place(request.param) as module:
            yield module
    elif real is None or not real.is_available():
        pytest.skip("no GPU")
    else:
        yield real
