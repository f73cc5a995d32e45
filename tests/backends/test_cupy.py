"""The CuPy backend without a GPU: how many launches, on which device, and with what result."""

from collections.abc import Sequence
from importlib import reload
from typing import Any

import numpy as np
import pytest
from cuda_emulator import needs_gxx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from libraries import Usage

from adamax import Adamax
from adamax.rule import ADAMAX, Coefficients, coefficients, step
from adamax.sparse import IndexedSlices, step_rows
from adamax.variable import Variable

pytest.importorskip("cupy")

import cupy
from emulated_cupy import as_cupy, host
from emulated_launches import Host

from adamax_adapters.backends import cupy as backend
from adamax_adapters.backends import standard

__all__ = ["host"]  # a fixture

pytestmark = [needs_gxx, pytest.mark.feature("dense", usage=Usage.CUPY_ON_HOST)]

C = coefficients(2, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
COMPUTE = {"float16": "float32", "float32": "float32", "float64": "float64"}


def made(shape: Any, dtype: str, seed: int) -> list[Any]:
    """Return p, g, m and u as NumPy arrays."""
    p, g, m, u = np.random.default_rng(seed).standard_normal((4, *shape))
    dtypes = (dtype, *[COMPUTE[dtype]] * 3)
    return [np.asarray(x, as_) for x, as_ in zip((p, g, m, np.abs(u)), dtypes, strict=True)]


def target(p: Any, m: Any, u: Any, device: int = 0) -> tuple[Variable, Variable, Variable]:
    """Return CuPy variables that share the memory of NumPy arrays."""
    return variable(p, device), variable(m, device), variable(u, device)


def variable(array: Any, device: int) -> Variable:
    return Variable.of_array(as_cupy(array, device), "x")


def advanced(p: Any, g: Any, m: Any, u: Any, c: Coefficients = C) -> tuple[Any, Any, Any]:
    """Return what the plain rule makes of NumPy arrays, which stay as they are."""
    return step(p, g, m, u, c)


def assert_equal(arrays: Sequence[Any], wanted: Sequence[Any]) -> None:
    for array, other in zip(arrays, wanted, strict=True):
        assert array.dtype == other.dtype
        assert np.array_equal(array, other)


def test_two_launches_advance_200_small_arrays(host: Host) -> None:
    """Arrays of all small shapes share launches, 100 each; their kernel is made once."""
    arrays = [made((i % 7 + 1, i), "float32", i) for i in range(1, 201)]
    wanted = [advanced(*quadruple) for quadruple in arrays]
    advance = backend.dense([target(p, m, u) for p, _, m, u in arrays])
    assert not host.launches
    advance([as_cupy(g) for _, g, _, _ in arrays], C)()
    for (p, _, m, u), new in zip(arrays, wanted, strict=True):
        assert_equal((p, m, u), new)
    assert len(host.launches) == 2
    assert len(host.kernels) == 1


def test_the_optimizer_launches_twice_and_waits_for_nothing(host: Host) -> None:
    """A step of 150 variables is two launches; all else would need a device, and fails here."""
    arrays = [made((i % 5 + 1, i), "float32", i)[:2] for i in range(1, 151)]
    variables = [variable(p, 0) for p, _ in arrays]
    twins = [Variable(p) for p, _ in arrays]
    ours, numpys = Adamax(0.1), Adamax(0.1)
    for _ in range(2):
        ours.apply_gradients([(as_cupy(g), x) for (_, g), x in zip(arrays, variables, strict=True)])
        numpys.apply_gradients([(g, x) for (_, g), x in zip(arrays, twins, strict=True)])
    assert_equal([p for p, _ in arrays], [x.value for x in twins])
    assert len(host.launches) == 4


def test_each_step_launches_once_whatever_the_gradients(host: Host) -> None:
    """What was prepared serves every step: new gradients in new memory, no new kernel."""
    p, g, m, u = made((5, 3), "float64", 0)
    advance = backend.dense([target(p, m, u)])
    for t in range(1, 4):
        c = coefficients(t, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
        g = g * -1.5
        wanted = advanced(p, g, m, u, c)
        advance([as_cupy(g)], c)()
        assert_equal((p, m, u), wanted)
    assert len(host.launches) == 3
    assert len(host.kernels) == 1


shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.tuples(shapes, st.sampled_from(["float32", "float64"])), min_size=1))
def test_launches_are_one_of_small_arrays_and_one_a_large(
    kinds: list[tuple[tuple[int, ...], str]], host: Host
) -> None:
    """One launch serves all small arrays of a dtype, and one each large array."""
    limit = 30
    host.launches.clear()
    arrays = [made(shape, dtype, i) for i, (shape, dtype) in enumerate(kinds)]
    wanted = [advanced(*quadruple) for quadruple in arrays]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "SMALL_ELEMENTS", limit)
        advance = backend.dense([target(p, m, u) for p, _, m, u in arrays])
    advance([as_cupy(g) for _, g, _, _ in arrays], C)()
    for (p, _, m, u), new in zip(arrays, wanted, strict=True):
        assert_equal((p, m, u), new)
    small = {p.dtype for p, *_ in arrays if 0 < p.size <= limit}
    assert len(host.launches) == len(small) + sum(p.size > limit for p, *_ in arrays)


def test_overlapping_variables_are_advanced_in_order(host: Host) -> None:
    """Views of one array that overlap take their steps one after the other, as in NumPy."""
    memory = np.random.default_rng(1).standard_normal(12)
    parts = [slice(0, 8), slice(4, 12), slice(2, 4)]
    rest = [made((len(memory[part]),), "float64", i)[1:] for i, part in enumerate(parts)]
    wanted = memory.copy()
    for part, (g, m, u) in zip(parts, rest, strict=True):
        wanted[part] = advanced(wanted[part], g, m, u)[0]
    advance = backend.dense(
        [target(memory[part], m, u) for part, (_, m, u) in zip(parts, rest, strict=True)]
    )
    advance([as_cupy(g) for g, _, _ in rest], C)()
    assert np.array_equal(memory, wanted)
    assert len(host.launches) == 3


def test_parts_of_one_buffer_share_a_launch(host: Host) -> None:
    """Variables that lie side by side in one array do not overlap."""
    memory = np.random.default_rng(1).standard_normal((3, 40))
    g, m, u = made((3, 40), "float64", 2)[1:]
    wanted = advanced(memory, g, m, u)
    advance = backend.dense([target(*parts) for parts in zip(memory, m, u, strict=True)])
    advance([as_cupy(x) for x in g], C)()
    assert_equal((memory, m, u), wanted)
    assert len(host.launches) == 1


def test_launches_are_on_the_arrays_own_device(host: Host) -> None:
    """Arrays of two devices are two launches, each with its device current; then it is not."""
    arrays = [made((3,), "float32", i) for i in range(4)]
    targets = [target(p, m, u, device=i % 2) for i, (p, _, m, u) in enumerate(arrays)]
    advance = backend.dense(targets)
    advance([as_cupy(g, device=i % 2) for i, (_, g, _, _) in enumerate(arrays)], C)()
    assert sorted(launch.device for launch in host.launches) == [0, 1]
    assert [launch.grid for launch in host.launches] == [(1, 2)] * 2
    assert host.device == 0


@pytest.mark.parametrize("same", [True, False])
def test_half_precision_is_stored_and_not_computed(host: Host, same: bool) -> None:
    """A float16 parameter steps in float32, its gradient in float16 or float32."""
    p, g, m, u = made((40,), "float16", 3)
    g = g.astype("float16") if same else g
    wanted = advanced(p, g, m, u)
    backend.dense([target(p, m, u)])([as_cupy(g)], C)()
    assert_equal((p, m, u), wanted)
    ((code, _, _),) = host.kernels
    assert ("const __half* g" in code) is same


def test_strided_variables_take_the_plain_rule(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is no contiguous array is left to array calls; the others keep the kernel."""
    plain: list[Any] = []

    def dense(targets: Any, rule: Any) -> Any:
        return lambda gradients, c: lambda: plain.append((targets, gradients, c))

    monkeypatch.setattr(standard, "dense", dense)
    p, g, m, u = made((6, 4), "float64", 4)
    strided, whole = target(p[:, ::2], m[:, :2], u[:, :2]), target(*made((3,), "float64", 5)[1:])
    gradients = [as_cupy(g[:, :2]), as_cupy(made((3,), "float64", 6)[0])]
    backend.dense([strided, whole])(gradients, C)()
    assert plain == [([strided], gradients[:1], C)]
    assert len(host.launches) == 1


@pytest.mark.feature("sparse", usage=Usage.CUPY_ON_HOST)
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 300)])
def test_one_launch_advances_the_listed_rows(host: Host, shape: tuple[int, ...]) -> None:
    """Some rows twice, some outside the table: one launch, and the others stay."""
    p, _, m, u = made(shape, "float64", 7)
    g = made((7, *shape[1:]), "float64", 8)[1]
    indices = np.array([4, 0, 9, 2, 0, -1, 5], np.int64)
    inside = np.array([0, 1, 3, 4])
    wanted = step_rows(p, IndexedSlices(g[inside], indices[inside]), (m, u), C)
    order = np.argsort(indices, kind="stable")
    p_, g_, indices_, order_, m_, u_ = (as_cupy(x) for x in (p, g, indices, order, m, u))
    backend._rows(ADAMAX, p_, g_, indices_, order_, [m_, u_], C)()
    assert_equal((p, m, u), wanted)
    assert [launch.grid for launch in host.launches] == [(7,)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_size_can_be_read_from_the_device(host: Host, dtype: str) -> None:
    """Inside the block it is not the caller's number that counts, but what the array then holds."""
    step_size = np.zeros((), dtype)
    p, g, m, u = made((4,), dtype, 9)
    advance = backend.dense([target(p, m, u)])
    for value in (0.5, 0.25):
        step_size[...] = value
        wanted = advanced(p, g, m, u, C._replace(step_size=value))
        with backend.scalars_from({"step_size": {dtype: as_cupy(step_size)}}):
            advance([as_cupy(g)], C)()
        assert_equal((p, m, u), wanted)
    wanted = advanced(p, g, m, u)
    advance([as_cupy(g)], C)()
    assert_equal((p, m, u), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_coefficients_are_passed_in_the_compute_dtype(host: Host, dtype: str) -> None:
    """No double reaches a float32 kernel: CuPy would pass a Python float as one."""
    p, g, m, u = made((4,), dtype, 10)
    backend.dense([target(p, m, u)])([as_cupy(g)], C)()
    (launch,) = host.launches
    assert [type(x) for x in launch.arguments[1:]] == [np.dtype(dtype).type] * 4
    assert launch.arguments[0].nbytes + 4 * 8 <= 4096


def test_nothing_to_do_is_no_launch(host: Host) -> None:
    """Empty arrays, and no rows, launch nothing."""
    p, g, m, u = made((0, 3), "float64", 11)
    empty = target(p, m, u)
    backend.dense([empty])([as_cupy(g)], C)()
    backend.rows(empty, IndexedSlices(as_cupy(g), as_cupy(np.zeros(0, np.int64))), C)()
    assert not host.launches


def test_without_cuda_the_plain_rule_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CuPy for other GPUs than those of CUDA has no kernel, and says so when it is looked for."""
    monkeypatch.setattr(cupy.cuda.runtime, "is_hip", True)
    with pytest.raises(ImportError, match="CUDA"):
        reload(backend)
