"""The kernels that are generated from a rule, run by the emulator, against the rule itself."""

import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from cuda_emulator import needs_gxx, on_host, ptx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rule_cases import CASES

from adamax.rule import ADAMAX, Coefficients, coefficients, step
from adamax.sparse import IndexedSlices, step_rows, sum_duplicates
from adamax_adapters.backends.cuda_source import DENSE, OPTIONS, ROWS, capacity, source

Arrays = tuple[Any, Any, Any, Any]

DTYPES = [
    ("float32", "float32", "float32"),
    ("float64", "float64", "float64"),
    ("float16", "float16", "float32"),
    ("float16", "float32", "float32"),
    ("bfloat16", "bfloat16", "float32"),
    ("bfloat16", "float32", "float32"),
]
each_dtype = pytest.mark.parametrize(("p", "g", "compute"), DTYPES)
CAPACITY = capacity(ADAMAX)
ADDRESS = np.dtype([(name, np.int64) for name in ("p", "g", "m", "u", "size")])
TABLE = np.dtype([("arrays", ADDRESS, CAPACITY)])
C = coefficients(2, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7)


def dtype_of(name: str) -> Any:
    if name == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(name)


def address(p: Any, g: Any, m: Any, u: Any) -> tuple[int, ...]:
    return (*(x.ctypes.data for x in (p, g, m, u)), g.size)


def scalars(c: Coefficients, compute: str) -> list[Any]:
    with np.errstate(all="ignore"):
        return [np.dtype(compute).type(x) for x in c]


def launched(dtypes: tuple[str, str, str], arrays: list[Arrays], c: Coefficients) -> list[Arrays]:
    """Return copies of all arrays, up to the capacity of a launch, after one launch."""
    copies = [(p.copy(), g, m.copy(), u.copy()) for p, g, m, u in arrays]
    table = np.zeros(1, TABLE)
    for i, quadruple in enumerate(copies):
        table["arrays"][0, i] = address(*quadruple)
    grid = (1 + max(g.size for _, g, _, _ in arrays) // 32, len(arrays))
    on_host(source(ADAMAX, *dtypes), DENSE)(grid, 32, [table, *scalars(c, dtypes[2])])
    return copies


def launch_rows(arrays: Arrays, indices: Any, c: Coefficients) -> None:
    """Advance the listed rows of float64 arrays p, m and u by the rows of g, in place."""
    p, *_ = arrays
    order = np.argsort(indices, kind="stable")
    passed = [
        np.array([address(*arrays)], ADDRESS),
        *(np.array(x.ctypes.data) for x in (indices, order)),
        *map(np.int64, (indices.size, p.shape[0], p[0].size)),
    ]
    launch = on_host(source(ADAMAX, "float64", "float64", "float64"), ROWS)
    launch((indices.size,), 16, [*passed, *scalars(c, "float64")])


def expected(p: Any, g: Any, m: Any, u: Any, c: Coefficients) -> tuple[Any, Any, Any]:
    """Return what NumPy computes with the plain rule, in the dtype of m, rounded once."""
    with np.errstate(all="ignore"):
        new, m, u = step(p.astype(m.dtype), g.astype(m.dtype), m, u, c)
        return new.astype(p.dtype), m, u


def assert_same(got: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    """Assert equal bits; a NaN is like another, whose sign and payload NumPy leaves open."""
    for x, y in zip(got, wanted, strict=True):
        assert x.dtype == y.dtype
        assert np.array_equal(bits_of(x), bits_of(y))


def bits_of(x: Any) -> Any:
    with np.errstate(invalid="ignore"):  # ml_dtypes warns of a signalling NaN
        return np.where(np.isnan(x), 0, x.view(f"u{x.dtype.itemsize}") + np.uint64(1))


def numbers(name: str, shape: int) -> st.SearchStrategy[Any]:
    """Return arrays of all numbers of a dtype: NaN, infinity, subnormal and both zeros too."""
    dtype = dtype_of(name)
    bits = hnp.arrays(f"u{dtype.itemsize}", shape).map(lambda array: array.view(dtype))
    return bits if name == "bfloat16" else bits | hnp.arrays(dtype, shape)


@st.composite
def quadruples(draw: st.DrawFn, dtypes: tuple[str, str, str]) -> Arrays:
    """Return p, g, m and u of one length; u is not below zero, as no step makes it."""
    p, g, compute = dtypes
    size = draw(st.integers(1, 40))
    u = np.abs(draw(numbers(compute, size)))
    return draw(numbers(p, size)), draw(numbers(g, size)), draw(numbers(compute, size)), u


scalar = st.floats(0, 1) | st.floats(allow_nan=True)
all_coefficients = st.builds(
    Coefficients, st.floats(0, 1), st.floats(0, 1), st.floats(min_value=0), scalar
)


@needs_gxx
@each_dtype
@given(data=st.data())
def test_a_kernel_gives_the_bits_of_the_rule(p: str, g: str, compute: str, data: Any) -> None:
    """For all numbers and coefficients a kernel equals the plain rule, rounded once in 16 bits."""
    dtype_of(p)
    arrays: Arrays = data.draw(quadruples((p, g, compute)))
    c = data.draw(all_coefficients)
    ((new, _, m, u),) = launched((p, g, compute), [arrays], c)
    assert_same((new, m, u), expected(*arrays, c))


@needs_gxx
@pytest.mark.parametrize("p", ["float16", "bfloat16"])
def test_every_number_of_16_bits_survives(p: str) -> None:
    """A step of size 0 reads and writes each of the 65,536 numbers of 16 bits as it is."""
    values = np.arange(1 << 16, dtype=np.uint16).view(dtype_of(p))
    ones = np.ones(values.size, np.float32)
    c = C._replace(step_size=0.0)
    ((new, *_),) = launched((p, "float32", "float32"), [(values, ones, ones, ones)], c)
    assert_same((new,), (values,))


@needs_gxx
@pytest.mark.parametrize("p", ["float16", "bfloat16"])
def test_16_bits_are_rounded_to_nearest_even(p: str) -> None:
    """Between two neighbours the middle goes to the even one, and all else to the nearer one."""
    dtype = dtype_of(p)
    low = np.arange(0, 0x3C00, 7, dtype=np.uint16).view(dtype)  # at most 1, subnormal ones too
    high = (low.view(np.uint16) + np.uint16(1)).view(dtype)
    middle = (low.astype(np.float32) + high.astype(np.float32)) / 2
    even = np.where(low.view(np.uint16) % 2 == 0, low, high)
    below, above = (np.nextafter(middle, np.float32(end)) for end in (-np.inf, np.inf))
    for exact, rounded in [(middle, even), (below, low), (above, high)]:
        # With 1 - beta_1 = 1 and u = 1 the step is the gradient itself.
        arrays = (np.zeros_like(low), -exact, -exact, np.ones_like(exact))
        c = Coefficients(1.0, 1.0, 0.0, 1.0)
        ((new, *_),) = launched((p, "float32", "float32"), [arrays], c)
        assert_same((new,), (rounded,))


@needs_gxx
def test_one_launch_advances_many_arrays() -> None:
    """A full table of arrays of all lengths, in one launch, is each array for itself."""
    rng = np.random.default_rng(3)
    dtypes = ("float32", "float32", "float32")
    many: list[Arrays] = []
    for size in range(1, CAPACITY + 1):
        p, g, m, u = rng.standard_normal((4, size)).astype(np.float32)
        many.append((p, g, m, np.abs(u)))
    for (p, _, m, u), arrays in zip(launched(dtypes, many, C), many, strict=True):
        assert_same((p, m, u), expected(*arrays, C))


@needs_gxx
@given(data=st.data(), row=st.sampled_from([(), (1,), (3,), (2, 20)]))
def test_rows_are_those_of_the_plain_rule(data: Any, row: tuple[int, ...]) -> None:
    """Listed rows take the plain rule's step, duplicates one of their sum, bit by bit."""
    count = data.draw(st.integers(1, 4))
    indices = np.array(data.draw(st.lists(st.integers(-1, count), min_size=1, max_size=40)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    p, m, u = np.abs(rng.standard_normal((3, count, *row)))
    values = rng.standard_normal((indices.size, *row)) * data.draw(st.sampled_from([1, 0, -0.0]))
    inside = (indices >= 0) & (indices < count)  # what is outside the table is left out
    wanted = step_rows(p, IndexedSlices(values[inside], indices[inside]), (m, u), C)
    launch_rows((p, values, m, u), indices, C)
    assert_same((p, m, u), wanted)


@needs_gxx
@given(
    multiplicities=st.lists(st.integers(1, 70), min_size=1, max_size=4), seed=st.integers(0, 999)
)
def test_sums_of_rows_are_those_of_plain_array_calls(multiplicities: list[int], seed: int) -> None:
    """Rows of any multiplicity and order are summed as `sum_duplicates` does, bit by bit."""
    rng = np.random.default_rng(seed)
    indices = rng.permutation(np.repeat(np.arange(len(multiplicities)), multiplicities))
    values = rng.standard_normal((indices.size, 3))
    values *= 2.0 ** rng.integers(-60, 60, (indices.size, 1))
    p, m, u = np.zeros((3, len(multiplicities), 3))
    # With 1 - beta_1 = 1 the first moment is the gradient itself.
    launch_rows((p, values, m, u), indices, Coefficients(1.0, 1.0, 1.0, 1.0))
    sums, rows, _ = sum_duplicates(IndexedSlices(values, indices), np)
    assert_same((m[rows],), (sums,))


@needs_gxx
def test_the_step_size_can_come_from_the_device() -> None:
    """Read through a pointer, the step size is that of the moment of the launch."""
    code = source(ADAMAX, "float64", "float64", "float64", ["step_size"])
    rng = np.random.default_rng(4)
    p, g, m, u = np.abs(rng.standard_normal((4, 10)))
    buffer = np.array(np.nan)
    table = np.zeros(1, TABLE)
    table["arrays"][0, 0] = address(p, g, m, u)
    arguments = [table, *map(np.float64, C[:3]), np.array(buffer.ctypes.data)]
    for step_size in (0.5, 0.25):
        wanted = expected(p, g, m, u, C._replace(step_size=step_size))
        buffer[...] = step_size
        on_host(code, DENSE)((1,), 16, arguments)
        assert_same((p, m, u), wanted)


@each_dtype
def test_no_other_floating_type_is_in_a_kernel(p: str, g: str, compute: str) -> None:
    """The operations of a kernel are in the compute dtype alone; 16 bits are but converted."""
    code = source(ADAMAX, p, g, compute)
    body = code[code.index("advance(") :]
    names = set(re.findall(r"\b(?:float|double|__half|half|__nv_bfloat16)\b", body))
    assert names == {{"float32": "float", "float64": "double"}[compute]}
    assert not re.findall(r"\d\.\d|\de-?\d", body)  # a literal would be a double


@pytest.mark.parametrize(
    ("dtypes", "architecture", "name", "from_device"),
    [
        *product(DTYPES, [80, 90], ["default"], [()]),
        (DTYPES[0], 90, "default", ("step_size",)),
        (DTYPES[2], 90, "shared scale, all links", ("factor", "flag")),
        (DTYPES[1], 90, "one more state, all links", ()),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, tuple) else None,
)
def test_every_kernel_compiles_for_a_gpu(
    dtypes: tuple[str, str, str], architecture: int, name: str, from_device: tuple[str, ...]
) -> None:
    """Both kernels compile, compute in no other precision, and contract no product and sum."""
    code = ptx(source(CASES[name].rule, *dtypes, from_device), architecture, OPTIONS)
    kernels = dict(re.findall(r"\.entry (\w+)\((.*?)^}", code, re.MULTILINE | re.DOTALL))
    assert kernels.keys() == {DENSE, ROWS}
    assert ".local" not in kernels[DENSE]  # where each thread would copy the table to
    assert "fma." not in code
    other = {"float32": r"\.f64", "float64": r"\.f32"}[dtypes[2]]
    assert not re.findall(other, code)
    assert not re.findall(r"(?:add|sub|mul|div|max)\.\S*f16", code)
    assert ".ftz" not in code
    assert len(re.findall(r"div\.rn\.", code)) == 2
