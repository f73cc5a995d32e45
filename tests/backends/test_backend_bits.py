"""Every backend takes the step of the plain rule, bit for bit, whatever the arrays are like."""

from typing import Any, NamedTuple

import array_api_compat
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adamax import Adamax, IndexedSlices, Variable
from adamax.rule import coefficients, rule
from adamax.sparse import step_rows
from adamax_adapters.backends import BackendName, memory, threads
from adamax_adapters.backends import numpy as numpy_backend

Array = Any

# Of a library and a backend that updates its arrays.
WAYS = [
    ("numpy", "numpy"),
    ("numpy", "numba"),
    ("torch", "numpy"),
    ("torch", "numba"),
    ("torch", "torch"),
    ("jax.numpy", "jax"),
]
LAYOUTS = ("C", "F", "every other", "backwards", "misaligned", "other end first")


@pytest.fixture(params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[Any, BackendName]:
    """A library and a backend, where both are installed."""
    library, backend = request.param
    module = pytest.importorskip(library)
    pytest.importorskip(f"adamax_adapters.backends.{backend}")
    return module, backend


@pytest.fixture(params=[False, True], ids=["usual blocks", "tiny blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, groups and threads as they are, or so small that a few elements need several."""
    if request.param:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        for module, name, value in (
            (memory, "BLOCK_ELEMENTS", 8),
            (memory, "SMALL_ELEMENTS", 6),
            (memory, "TOGETHER_ELEMENTS", 8),
            (numpy_backend, "BLOCK_BYTES", 32),
            (numpy_backend, "GATHERED_BLOCK_BYTES", 16),
            (threads, "PART_ELEMENTS", 4),
        ):
            monkeypatch.setattr(module, name, value)


class Hyperparameters(NamedTuple):
    learning_rate: float
    beta_1: float
    beta_2: float
    epsilon: float


usual = st.builds(
    Hyperparameters,
    st.sampled_from([0.0, 1e-3, 0.5, 1e4]),
    st.sampled_from([0.0, 0.9, 0.9999]),
    st.sampled_from([0.0, 0.5, 0.999]),
    st.sampled_from([0.0, 1e-7, 1.0]),
)
extreme = st.builds(
    Hyperparameters,
    st.sampled_from([5e-324, 1e-40, 1e300]),
    st.sampled_from([1e-300, 1.0 - 2**-53]),
    st.sampled_from([1e-300, 1.0 - 2**-53]),
    st.sampled_from([5e-324, 1e-45, 1e300]),
)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


def numbers(dtype: str, all_of_them: bool) -> st.SearchStrategy[float]:
    """Elements: any at all, or those of which no step gives a number that JAX would flush to 0."""
    width = np.dtype(dtype).itemsize * 8
    if all_of_them:
        return st.floats(width=width)  # type: ignore[arg-type]
    few = st.integers(-512, 512).map(lambda n: n / 8)
    return few | st.sampled_from([float("nan"), float("inf"), -float("inf"), -0.0])


def laid_out(array: Array, layout: str) -> Array:
    """Return an array of these elements that lies in memory in another way."""
    if layout == "F":
        return np.array(array, order="F")
    if layout == "misaligned":
        bytes_ = np.zeros(array.nbytes + 1, np.uint8)
        laid = bytes_[1:].view(array.dtype).reshape(array.shape)
    elif layout == "other end first":
        laid = np.zeros(array.shape, array.dtype.newbyteorder())
    elif layout in ("every other", "backwards") and array.ndim:
        step = 2 if layout == "every other" else -1
        laid = np.zeros((abs(step) * array.shape[0], *array.shape[1:]), array.dtype)[::step]
    else:
        laid = np.zeros(array.shape, array.dtype)
    laid[...] = array
    return laid


def in_library(array: Array, module: Any, draw: Any) -> Array:
    """Return an array of the library; of NumPy and torch in any layout that it knows."""
    if module.__name__ == "jax.numpy":
        return module.asarray(array)
    known = LAYOUTS if module is np else LAYOUTS[:3]
    laid = laid_out(array, draw(st.sampled_from(known)))
    return laid if module is np else module.from_numpy(laid)


def assert_same_bits(got: Array, expected: Array) -> None:
    """NaN anywhere is one NaN; a zero has its sign."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got)[finite], np.signbit(expected)[finite])


@pytest.mark.usefixtures("blocks")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_dense_steps_are_those_of_the_rule(
    way: tuple[Any, BackendName], data: st.DataObject
) -> None:
    """Raw or in variables, alone or among others, in any layout: three steps, all bits equal."""
    module, backend = way
    on_jax = module.__name__ == "jax.numpy"
    dtype = data.draw(
        st.sampled_from(["float16", "float32"] if on_jax else ["float16", "float32", "float64"])
    )
    hyper = data.draw(usual if on_jax else usual | extreme)
    count = data.draw(st.integers(1, 5))
    elements = numbers(dtype, not on_jax)
    start = [
        data.draw(hnp.arrays(dtype, data.draw(shapes), elements=elements)) for _ in range(count)
    ]
    wide = np.float64 if dtype == "float64" else np.float32
    expected: list[tuple[Array, ...]] = [
        (p, np.zeros(p.shape, wide), np.zeros(p.shape, wide)) for p in start
    ]
    params = [in_library(p, module, data.draw) for p in start]
    if on_jax or data.draw(st.booleans()):
        params = [Variable(p) for p in params]
    optimizer = Adamax(*hyper, backend=backend)
    for t in range(1, 4):
        grads = [data.draw(hnp.arrays(dtype, p.shape, elements=elements)) for p in start]
        given_grads = [in_library(g, module, data.draw) for g in grads]
        optimizer.apply_gradients(zip(given_grads, params, strict=True))
        c = coefficients(t, **hyper._asdict())
        with np.errstate(all="ignore"):
            expected = [
                tuple(
                    np.asarray(new).astype(kind)
                    for new, kind in zip(
                        rule(p.astype(wide), g.astype(wide), m, u, c, np),
                        (dtype, wide, wide),
                        strict=True,
                    )
                )
                for (p, m, u), g in zip(expected, grads, strict=True)
            ]
    for param, (p, m, u) in zip(params, expected, strict=True):
        assert_same_bits(param, p)
        assert_same_bits(optimizer.get_slot(param, "m").numpy(), m)
        assert_same_bits(optimizer.get_slot(param, "v").numpy(), u)


@pytest.mark.usefixtures("blocks")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_row_steps_are_those_of_the_rule(way: tuple[Any, BackendName], data: st.DataObject) -> None:
    """Rows in any order and number, often the same ones, whole or broadcast: all bits equal."""
    module, backend = way
    on_jax = module.__name__ == "jax.numpy"
    dtype = data.draw(
        st.sampled_from(["float16", "float32"] if on_jax else ["float16", "float32", "float64"])
    )
    row_shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5))
    shape = (data.draw(st.integers(1, 5)), *row_shape)
    elements = numbers(dtype, not on_jax)
    start = data.draw(hnp.arrays(dtype, shape, elements=elements))
    wide = np.float64 if dtype == "float64" else np.float32
    p, m, u = start, np.zeros(shape, wide), np.zeros(shape, wide)
    table = Variable(in_library(start, module, data.draw))
    optimizer = Adamax(0.5, backend=backend)
    for t in range(1, 3):
        count = data.draw(st.integers(0, 12))
        indices = data.draw(hnp.arrays("int32", count, elements=st.integers(0, shape[0] - 1)))
        row = data.draw(st.sampled_from([shape[1:], (1,) * len(shape[1:])]))
        values = data.draw(hnp.arrays(dtype, (count, *row), elements=elements))
        slices = IndexedSlices(module.asarray(values), module.asarray(indices))
        optimizer.apply_gradients([(slices, table)])
        c = coefficients(t, learning_rate=0.5, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
        with np.errstate(all="ignore"):
            given_slices = IndexedSlices(values.astype(wide), indices)
            p, m, u = step_rows(p, given_slices, (m, u), c)
    assert_same_bits(table, p)
    assert_same_bits(optimizer.get_slot(table, "m").numpy(), m)
    assert_same_bits(optimizer.get_slot(table, "v").numpy(), u)


def test_bfloat16_is_computed_in_float32() -> None:
    """The tensors that NumPy cannot see take the rule's step too, rounded once at its end."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    p, g = (rng.standard_normal(50).astype(ml_dtypes.bfloat16) for _ in range(2))
    tensor = torch.tensor(p.astype(np.float32)).to(torch.bfloat16)
    grad = torch.tensor(g.astype(np.float32)).to(torch.bfloat16)
    Adamax(0.01).apply_gradients([(grad, tensor)])
    c = coefficients(1, learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    zeros = np.zeros(50, np.float32)
    new, _, _ = rule(p.astype(np.float32), g.astype(np.float32), zeros, zeros, c, np)
    expected = new.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(tensor.float().numpy(), expected)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_threads_do_not_change_a_bit(backend: BackendName, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that is shared out to one, two or five threads ends the same."""
    pytest.importorskip(f"adamax_adapters.backends.{backend}")
    monkeypatch.setattr(threads, "PART_ELEMENTS", 1000)
    results = []
    for count in "125":
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        rng = np.random.default_rng(0)
        w, optimizer = Variable(rng.standard_normal((70, 100))), Adamax(0.1, backend=backend)
        for _ in range(3):
            optimizer.apply_gradients([(rng.standard_normal((70, 100)), w)])
        results.append(w.numpy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_overflow_in_a_thread_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread warns of overflow as little as the caller's own does: the result is infinite."""
    monkeypatch.setattr(threads, "PART_ELEMENTS", 1000)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    w, grad = Variable(np.full(10_000, -3e38, np.float32)), np.ones(10_000, np.float32)
    Adamax(3e38, beta_1=0, backend="numpy").apply_gradients([(grad, w)])
    assert np.isneginf(w.numpy()).all()


def test_arrays_of_the_example_layouts_are_what_they_say() -> None:
    """The layouts that the properties draw from are there: none of them is plain C."""
    array = np.arange(12.0).reshape(3, 4)
    for layout in LAYOUTS:
        laid = laid_out(array, layout)
        np.testing.assert_array_equal(laid, array)
        plain = laid.flags.c_contiguous and laid.flags.aligned and laid.dtype.isnative
        assert plain == (layout == "C")
    assert array_api_compat.is_numpy_array(laid)
