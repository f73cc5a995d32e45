"""A step of plain arrays, as faces take it: in place, prepared once, and checked before."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from counting import Counting
from hypothesis import given
from hypothesis import strategies as st

from adamax import IndexedSlices
from adamax.rule import ADAMAX, advanced, coefficients
from adamax.variants import EPSILON_INSIDE
from adamax_adapters.step.advance import advance
from adamax_adapters.step.prepared import Prepared, Recent

Array = Any
C = coefficients(3, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
SHAPES = [(5,), (2, 3), (), (0,)]


def remembered() -> Recent[Prepared]:
    return Recent()


def numbers(seed: int, dtype: str = "float32") -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in SHAPES]


def moments(dtype: str = "float32") -> tuple[list[Array], list[Array]]:
    m, u = numbers(7, dtype), [np.asarray(np.abs(x)) for x in numbers(8, dtype)]
    return m, u


def expected(params: list[Array], grads: list[Array], m: list[Array], u: list[Array]) -> Any:
    """What plain calls give: of 16-bit parameters in the dtype of m."""
    groups = zip(params, grads, m, u, strict=True)
    return [advanced(ADAMAX, p, g, (m, u), C, np) for p, g, m, u in groups]


def same(got: Any, wanted: Any) -> None:
    for got_group, wanted_group in zip(got, wanted, strict=True):
        for x, y in zip(got_group, wanted_group, strict=True):
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("grad_dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("backend", [None, "numpy", "standard"])
def test_arrays_are_advanced_in_place(dtype: str, grad_dtype: str, backend: str | None) -> None:
    """The arrays returned are those given, with the bits of the plain rule."""
    compute = "float64" if dtype == "float64" else "float32"
    params, (m, u) = numbers(0, dtype), moments(compute)
    grads = numbers(1, grad_dtype)
    wanted = expected(params, [g.astype(compute) for g in grads], m, u)
    got = advance(params, grads, (m, u), C, recent=remembered(), backend=backend)
    same(got, wanted)
    for group, own in zip(got, zip(params, m, u, strict=True), strict=True):
        assert all(x is y for x, y in zip(group, own, strict=True))


def test_the_step_is_computed_in_the_dtype_of_the_state() -> None:
    """float32 moments of float64 parameters, as `model.double()` leaves them, stay float32."""
    params, grads, (m, u) = numbers(0, "float64"), numbers(1, "float64"), moments("float32")
    wanted = expected(params, [g.astype("float32") for g in grads], m, u)
    got = advance(params, grads, (m, u), C, recent=remembered())
    same(got, wanted)
    assert {x.dtype.name for _, *state in got for x in state} == {"float32"}


def test_it_is_prepared_once_for_the_same_memory() -> None:
    """The same arrays and fresh views of them find what was prepared; other arrays do not."""
    backend, recent = Counting(), remembered()
    params, grads, (m, u) = numbers(0), numbers(1), moments()
    for _ in range(3):
        advance(params, grads, (m, u), C, recent=recent, backend=backend)
        views = [[x[...] for x in column] for column in (params, m, u)]
        advance(views[0], grads, views[1:], C, recent=recent, backend=backend)
    assert (backend.prepared, len(recent)) == (1, 1)
    advance(numbers(0), grads, (m, u), C, recent=recent, backend=backend)
    assert (backend.prepared, len(recent)) == (2, 2)


def test_what_is_forgotten_is_free() -> None:
    """No more arrays stay alive than those of as many steps as the caller wants remembered."""
    recent: Recent[Prepared] = Recent(2)
    alive = []
    for _ in range(5):
        p, g, m, u = (np.ones(3) for _ in range(4))
        advance([p], [g], ([m], [u]), C, recent=recent)
        alive.append(weakref.ref(p))
        del p, g, m, u
    gc.collect()
    assert [x() is not None for x in alive] == [False, False, False, True, True]


@given(st.integers(0, 3), st.sampled_from(["param", "m", "u"]))
def test_gradients_may_share_memory_with_what_is_written(i: int, which: str) -> None:
    """A gradient that is a view of a parameter or of its state counts as it was before."""
    params, grads, (m, u) = numbers(0), numbers(1), moments()
    grads[i] = {"param": params, "m": m, "u": u}[which][i][...]
    wanted = expected(params, [g.copy() for g in grads], m, u)
    same(advance(params, grads, (m, u), C, recent=remembered()), wanted)


def test_rows_are_advanced_alone() -> None:
    """With `IndexedSlices` the rows that are not listed stay, and duplicates are summed."""
    p, m, u = np.ones((4, 2)), np.zeros((4, 2)), np.zeros((4, 2))
    slices = IndexedSlices(np.ones((3, 2)), np.array([2, 0, 2]))
    advance([p], [slices], ([m], [u]), C, recent=remembered())
    np.testing.assert_array_equal(p[[1, 3]], 1)
    np.testing.assert_allclose(u, [[1, 1], [0, 0], [2, 2], [0, 0]])


def test_a_rule_is_taken_by_what_it_is() -> None:
    """Another rule with the same arrays is another step."""
    recent = remembered()
    for rule in (ADAMAX, EPSILON_INSIDE, ADAMAX):
        params, grads, (m, u) = numbers(0), [np.zeros_like(x) for x in numbers(1)], moments()
        u = [np.zeros_like(x) for x in u]
        if rule is EPSILON_INSIDE:
            advance(params, grads, (m, u), C, recent=recent, rule=rule, backend="standard")
            assert all((x == np.float32(C.epsilon)).all() for x in u)
        else:
            advance(params, grads, (m, u), C, recent=recent, rule=rule, backend="standard")
            assert not any(x.any() for x in u)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, g, m, u: g.__setitem__(1, g[1].T), r"shape \(2, 3\), .* for params\[1\]"),
        (lambda p, g, m, u: g.pop(), "Expected 4 gradients, as params, received 3"),
        (lambda p, g, m, u: u.pop(), "Expected 4 u, as params, received 3"),
        (lambda p, g, m, u: m[0].setflags(write=False), r"the state m of params\[0\]"),
        (lambda p, g, m, u: p[2].setflags(write=False), r"params\[2\]"),
        (lambda p, g, m, u: u.__setitem__(0, np.ones(6)), r"the state u of params\[0\]"),
        (lambda p, g, m, u: g.__setitem__(0, np.ones(5, complex)), r"params\[0\]"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_what_does_not_fit_changes_nothing(change: Any, message: str, known: bool) -> None:
    """An error names the parameter by its index, and comes before anything is written."""
    recent, params, grads, (m, u) = remembered(), numbers(0), numbers(1), moments()
    if known:
        advance(params, grads, (m, u), C, recent=recent)
    before = [x.tobytes() for x in (*params, *m, *u)]
    every = [*params, *m, *u]
    change(params, grads, m, u)
    with pytest.raises((TypeError, ValueError), match=message):
        advance(params, grads, (m, u), C, recent=recent)
    assert [x.tobytes() for x in every] == before


def test_no_arrays_are_no_step() -> None:
    """Without parameters nothing is returned."""
    assert advance([], [], ([], []), C, recent=remembered()) == []


def test_jax_arrays_are_new_ones() -> None:
    """Arrays that cannot be written to are returned anew, and those given stay."""
    jnp = pytest.importorskip("jax.numpy")
    params, grads, (m, u) = numbers(0), numbers(1), moments()
    wanted = expected(params, grads, m, u)
    of_jax = [[jnp.asarray(x) for x in column] for column in (params, grads, m, u)]
    recent = remembered()
    got = advance(of_jax[0], of_jax[1], of_jax[2:], C, recent=recent)
    same(got, wanted)
    same([of_jax[0]], [params])
    assert len(recent) == 0


def test_tensors_are_followed_to_new_memory() -> None:
    """A parameter of PyTorch whose `data` is replaced is advanced where it is by then."""
    torch = pytest.importorskip("torch")
    recent = remembered()
    p = torch.nn.Parameter(torch.ones(3))
    m, u = torch.zeros(3), torch.zeros(3)
    advance([p], [torch.ones(3)], ([m], [u]), C, recent=recent)
    old = p.data
    p.data = torch.full((3,), 5.0)
    before = old.clone()
    advance([p], [torch.ones(3)], ([m], [u]), C, recent=recent)
    assert torch.equal(old, before)
    assert (p < 5.0).all()
    assert p.requires_grad


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_tensors_of_16_bits_keep_float32_moments(dtype: str) -> None:
    """Gradients in 16 bits, expanded or transposed, step 16-bit parameters in float32."""
    torch = pytest.importorskip("torch")
    p = torch.nn.Parameter(torch.ones(3, 2, dtype=getattr(torch, dtype)))
    m, u = torch.zeros(3, 2), torch.zeros(3, 2)
    grad = torch.full((1, 3), 0.5, dtype=getattr(torch, dtype)).expand(2, 3).T
    wanted = advanced(
        ADAMAX, np.ones((3, 2), "f4"), np.full((3, 2), 0.5, "f4"), (m.numpy() + 0,) * 2, C, np
    )
    version = p._version
    advance([p], [grad], ([m], [u]), C, recent=remembered())
    np.testing.assert_array_equal(m.numpy(), wanted[1])
    np.testing.assert_array_equal(u.numpy(), wanted[2])
    assert torch.equal(p.data, torch.asarray(wanted[0]).to(p.dtype))
    assert p._version > version
