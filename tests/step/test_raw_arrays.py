"""Arrays that are no Variables: updated in place, and known by the memory that they name."""

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import snapshot

from adamax import Adamax, IndexedSlices, Variable
from adamax.layout import memory_of

Array = Any


def step(optimizer: Adamax, *arrays: Any) -> None:
    optimizer.apply_gradients([(np.ones(x.shape), x) for x in arrays])


VIEWS: dict[str, Callable[[Array], Array]] = {
    "slice": lambda x: x[:],
    "view": lambda x: x.view(),
    "reshape": lambda x: x.reshape(-1).reshape(x.shape),
    "transposed twice": lambda x: x.T.T,
    "new axis": lambda x: x[0][None],
    "subclass": lambda x: x.view(type("Named", (np.ndarray,), {})),
    "frombuffer": lambda x: np.frombuffer(memoryview(x)).reshape(x.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(1, 4), (1, 1), (1, 2, 3)])
def test_fresh_views_find_the_same_slots(view: str, shape: tuple[int, ...]) -> None:
    """Every view of the same elements is the same variable, however it came about."""
    x, optimizer, fresh = np.ones(shape), Adamax(0.1), VIEWS[view]
    y, other = np.ones(shape), Adamax(0.1)
    for _ in range(3):
        step(optimizer, fresh(x))
        step(other, y)
    assert len(optimizer.weights) == 3
    np.testing.assert_array_equal(x, y)
    assert optimizer.get_slot(fresh(x), "m") is optimizer.get_slot(x, "m")


@pytest.mark.parametrize("shape", [(2, 3), (4,), (1000, 1000)])
def test_an_array_that_was_resized_is_another(shape: tuple[int, ...]) -> None:
    """The same object with another shape or place has slots of its own, which begin at zero."""
    x, optimizer = np.ones(6), Adamax()
    for _ in range(2):
        step(optimizer, x)
    x.resize(shape, refcheck=False)
    step(optimizer, x)
    assert len(optimizer.weights) == 1 + 2 * 2
    np.testing.assert_allclose(optimizer.get_slot(x, "m").value, np.full(shape, 0.1), rtol=1e-14)


def test_parts_of_one_buffer_are_variables_of_their_own() -> None:
    """Two parts of one buffer, its mirror image and the whole have slots of their own."""
    buffer, optimizer = np.ones((4, 4)), Adamax()
    parts = [buffer[:2], buffer[2:], buffer[::-1], buffer, buffer.T, buffer.reshape(16)]
    step(optimizer, *parts)
    step(optimizer, buffer[:2], buffer[2:])
    assert len(optimizer.weights) == 1 + 2 * 6
    assert len({id(optimizer.get_slot(part, "m")) for part in parts}) == 6


def test_overlapping_views_are_applied_one_after_the_other() -> None:
    """An element that two views share takes the step of each, from where the other left it."""
    x, optimizer = np.zeros(3), Adamax(0.5, epsilon=0.0)
    step(optimizer, x[:2], x[1:])
    np.testing.assert_allclose(x, [-0.5, -1.0, -0.5], rtol=1e-14)


@given(st.integers(1, 3), st.integers(-3, 3).filter(bool), st.booleans())
def test_strided_arrays_are_updated_in_place(start: int, stride: int, transposed: bool) -> None:
    """A step changes exactly the elements that the view names."""
    buffer = np.zeros((7, 7))
    place = (slice(start, None) if stride > 0 else slice(None, start, stride), slice(start, None))
    expected = buffer.copy()
    expected[place] = -0.5
    view = buffer[place].T if transposed else buffer[place]
    step(Adamax(0.5, epsilon=0.0), view)
    np.testing.assert_allclose(buffer, expected, rtol=1e-14)


def test_arrays_that_are_known_stay_alive() -> None:
    """No new array gets the address of one that has slots: the optimizer holds on to it."""
    optimizer, x = Adamax(), np.ones(1000)
    step(optimizer, x)
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is not None
    for count in range(2, 6):
        step(optimizer, np.ones(1000 + count))
        assert len(optimizer.weights) == 1 + 2 * count
    del optimizer
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts references")
def test_a_rebound_array_keeps_its_moments() -> None:
    """After ``w = w * x``, which nobody can undo, the new array has the moments of the old one."""
    optimizer, model = Adamax(0.1), Adamax(0.1)
    w, x = np.ones(3), np.ones(3)
    step(optimizer, w)
    w = w * 0.5
    with pytest.warns(UserWarning, match=r"received a new array in place of array_0.*w \*= x"):
        step(optimizer, w)
    w = w * 0.5
    for _ in range(3):  # and no further warning
        step(optimizer, w)
        w = w * 0.5
    for _ in range(5):
        step(model, x)
        x *= 0.5
    np.testing.assert_array_equal(w, x)
    assert len(optimizer.weights) == 3


def test_arrays_that_take_turns_keep_their_own_moments() -> None:
    """Arrays of one shape that alternate, as those of two networks do, are not confused."""
    optimizer, a, b = Adamax(0.1), np.ones(3), np.ones(3)
    for _ in range(20):
        step(optimizer, a)
        step(optimizer, b)
    assert len(optimizer.weights) == 1 + 2 * 2
    np.testing.assert_allclose(optimizer.get_slot(a, "m").value, 1 - 0.9**20, rtol=1e-12)


def test_nothing_but_new_arrays_is_warned_of_once() -> None:
    """Steps on ever new arrays, all of which the caller keeps, lose their moments: one warning."""
    optimizer, kept = Adamax(0.1), [np.ones(3) for _ in range(40)]
    for x in kept[:16]:
        step(optimizer, x)
    with pytest.warns(UserWarning, match="only new arrays in 16 steps") as found:
        step(optimizer, kept[16])
    assert found[0].filename == __file__
    for x in kept[17:]:
        step(optimizer, x)
    assert len(optimizer.weights) == 1 + 2 * 40


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts references")
def test_what_a_failing_call_looked_at_is_let_go() -> None:
    """An array that only a failing call has seen is not held on to."""
    optimizer, x = Adamax(), np.ones(3)
    before = sys.getrefcount(x)
    with pytest.raises(ValueError, match="shape"):
        optimizer.apply_gradients([(np.ones(3), x), (np.ones(2), np.ones(3))])
    gc.collect()
    assert sys.getrefcount(x) == before


def test_names_of_arrays_are_numbers() -> None:
    """Raw arrays are called array_0, array_1 ... as they come, whatever variables come between."""
    optimizer = Adamax()
    a, b, c, w = np.ones(1), np.ones(1), np.ones(1), Variable(np.ones(1), name="w")
    step(optimizer, a, w, a[:], b)
    step(optimizer, b, c, a, c)
    names = [x.name for x in optimizer.weights]
    assert names[1:5] == [f"Adamax/{x}/m" for x in ("array_0", "w", "array_1", "array_2")]
    with pytest.raises(ValueError, match=r"a gradient of shape .*, for array_1"):
        optimizer.apply_gradients([(np.ones(3), b)])


@pytest.mark.parametrize("variable_first", [False, True])
def test_a_variable_and_its_array_are_one(variable_first: bool) -> None:
    """A Variable and the array in it share slots, in one call and in several."""
    w, optimizer, twice, model = (
        Variable(np.ones(2)),
        Adamax(0.1),
        Variable(np.ones(2)),
        Adamax(0.1),
    )
    for _ in range(2):
        step(optimizer, *((w, w.value) if variable_first else (w.value, w)))
        step(model, twice, twice)
    np.testing.assert_array_equal(w.value, twice.value)
    assert len(optimizer.weights) == 3
    assert optimizer.get_slot(w, "v") is optimizer.get_slot(w.value[:], "v")


@pytest.mark.parametrize("known", [False, True])
def test_the_array_of_a_constrained_variable_is_constrained(known: bool) -> None:
    """Given as its array, too, a Variable that is known keeps to its constraint."""
    w, optimizer = Variable(np.ones(2), constraint=np.zeros_like), Adamax()
    if known:
        optimizer.build([w])
        step(optimizer, w.value)
    else:
        step(optimizer, w, w.value)
    np.testing.assert_array_equal(w.value, np.zeros(2))


def read_only(x: Array) -> Array:
    x = x.view()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "closed",
    [read_only, lambda x: np.broadcast_to(x[0], x.shape), lambda x: np.float64(1.0)],
    ids=["view", "broadcast", "scalar"],
)
def test_read_only_arrays_are_refused(closed: Callable[[Array], Array], known: bool) -> None:
    """What cannot be written to is a TypeError, also where another view of it is known."""
    x, optimizer = np.ones(3), Adamax()
    if known:
        step(optimizer, x)
    before = snapshot(optimizer, x)
    for call in (step, lambda opt, y: opt.build([y]), lambda opt, y: opt.add_slot(y, "a")):
        with pytest.raises(TypeError, match=r"(?i)(read-only|writable).* wrap .*Variable"):
            call(optimizer, closed(x))
    assert snapshot(optimizer, x) == before


@pytest.fixture
def immutable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NumPy's arrays pass for those of JAX, which cannot be written to at all."""
    for module in (
        "adamax.variable",
        "adamax_adapters.step.identity",
        "adamax_adapters.step.slots",
        "adamax_adapters.step.pairs",
    ):
        monkeypatch.setattr(f"{module}.is_immutable", lambda x: True)


@pytest.mark.usefixtures("immutable")
def test_immutable_arrays_are_refused_raw() -> None:
    """An array of a library without writable ones is a TypeError that says to wrap it."""
    with pytest.raises(TypeError, match="cannot be written to; wrap it in Variable"):
        step(Adamax(), np.ones(3))
    with pytest.raises(TypeError, match="cannot be written to; wrap it in Variable"):
        Adamax().build([np.ones(3)])


@pytest.mark.usefixtures("immutable")
def test_immutable_arrays_in_variables_are_replaced() -> None:
    """In a Variable such an array is replaced by each step, and the old one is left as it was.

    Two variables may hold one array, and have slots of their own.
    """
    start = np.ones(3)
    a, b = Variable(start), Variable(start)
    optimizer = Adamax(0.5, epsilon=0.0, backend="standard")  # others would write to NumPy arrays
    step(optimizer, a, b)
    optimizer.apply_gradients([(IndexedSlices(np.ones(1), np.array([0])), a)])
    np.testing.assert_array_equal(start, np.ones(3))
    np.testing.assert_allclose(a.value, [0.0, 0.5, 0.5], atol=1e-15)
    np.testing.assert_allclose(b.value, [0.5, 0.5, 0.5], rtol=1e-15)
    assert len(optimizer.weights) == 5


def test_empty_variables_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables without elements have slots of their own, though libraries give them no address."""
    monkeypatch.setattr(
        "adamax_adapters.step.identity.memory_of",
        lambda x: "nowhere" if 0 in x.shape else memory_of(x),
    )
    a, b = (Variable(np.ones((0, 3)), name=name) for name in "ab")
    optimizer = Adamax()
    step(optimizer, a, b, np.ones((0, 3)))
    step(optimizer, b, a)
    assert [x.name.rpartition("Adamax/")[2] for x in optimizer.weights[1:4]] == [
        "a/m",
        "b/m",
        "array_0/m",
    ]


def test_foreign_byte_orders_are_kept() -> None:
    """A big-endian array takes its steps in place and stays big-endian; its slots are native."""
    x, optimizer = np.ones(3, ">f4"), Adamax(0.5, epsilon=0.0)
    step(optimizer, x)
    assert x.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(x, np.full(3, 0.5))
    assert optimizer.get_slot(x, "m").dtype == np.dtype("=f4")
