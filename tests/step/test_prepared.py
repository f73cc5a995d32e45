"""A step is prepared once for a set of variables, and many sets are remembered."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from counting import Counting

from adamax import Adamax, IndexedSlices, Variable
from adamax_adapters.step.prepared import KEPT_STEPS, Recent


def of_torch(x: Any) -> Any:
    return pytest.importorskip("torch").asarray(x)


each_kind = pytest.mark.parametrize(
    "make", [Variable, np.asarray, of_torch], ids=["variables", "raw arrays", "raw tensors"]
)


def sets(count: int, make: Callable[[Any], Any]) -> list[list[Any]]:
    """Return sets of two arrays, which overlap as the layers of a network that thaws do not."""
    return [[make(np.ones(3)), make(np.ones(2))] for _ in range(count)]


def step(optimizer: Adamax, arrays: list[Any]) -> None:
    optimizer.apply_gradients([(x * 0.5, x) for x in arrays])


@each_kind
@pytest.mark.filterwarnings("ignore:Expected the arrays of earlier steps")  # in the first round
@pytest.mark.parametrize("count", [17, 64, 200, KEPT_STEPS])
def test_sets_that_alternate_are_prepared_once_each(count: int, make: Callable[[Any], Any]) -> None:
    """However the turns go, no set within the bound is prepared a second time."""
    backend, some = Counting(), sets(count, make)
    optimizer = Adamax(backend=backend)
    for _ in range(3):
        for arrays in some:
            step(optimizer, arrays)
    for i in np.random.default_rng(0).permutation(count):
        step(optimizer, some[i])
    assert backend.prepared == count


def test_the_least_recently_used_goes_first() -> None:
    """One set more than the bound: the one that was not used for longest is prepared again."""
    backend, some = Counting(), sets(KEPT_STEPS + 1, Variable)
    optimizer = Adamax(backend=backend)
    for arrays in some[:-1]:
        step(optimizer, arrays)
    step(optimizer, some[0])
    step(optimizer, some[-1])  # in place of some[1]
    assert backend.prepared == KEPT_STEPS + 1
    for arrays in (some[0], *some[2:]):
        step(optimizer, arrays)
    assert backend.prepared == KEPT_STEPS + 1
    step(optimizer, some[1])
    assert backend.prepared == KEPT_STEPS + 2


def test_fresh_views_find_what_is_prepared_for_their_memory() -> None:
    """New views of the same arrays at every step neither prepare again nor crowd others out."""
    backend, arrays = Counting(), [np.ones(3), np.ones(2)]
    optimizer = Adamax(backend=backend)
    for _ in range(3):
        step(optimizer, [x[:] for x in arrays])
    step(optimizer, arrays)
    assert backend.prepared == 1


def test_rows_and_whole_gradients_of_one_set_are_two_steps() -> None:
    """Which gradients list rows is a part of the set; both are remembered."""
    backend, table = Counting(), Variable(np.ones((4, 2)))
    optimizer = Adamax(backend=backend)
    rows = IndexedSlices(np.ones((1, 2)), np.array([1]))
    for _ in range(3):
        optimizer.apply_gradients([(rows, table)])
        optimizer.apply_gradients([(np.ones((4, 2)), table)])
    assert backend.prepared == 1


def test_a_constraint_that_comes_later_is_applied() -> None:
    """What was prepared without a constraint is not used for a variable that has one by now."""
    w, optimizer = Variable(np.ones(2)), Adamax()
    step(optimizer, [w])
    w.constraint = lambda x: np.full_like(x, 7.0)
    step(optimizer, [w])
    np.testing.assert_array_equal(w.value, [7.0, 7.0])
    w.constraint = None
    step(optimizer, [w])
    assert (w.value != 7.0).all()


def test_an_array_that_becomes_read_only_is_refused() -> None:
    """A prepared step does not write to an array that its owner has protected since."""
    x, optimizer = np.ones(3), Adamax()
    optimizer.apply_gradients([(np.ones(3), x)])
    x.flags.writeable = False
    before = x.copy()
    with pytest.raises(TypeError, match="read-only"):
        optimizer.apply_gradients([(np.ones(3), x)])
    np.testing.assert_array_equal(x, before)
    assert optimizer.iterations.numpy() == 1


@pytest.mark.parametrize("dtype", ["float16", ">f8", "float32"])
def test_a_raw_array_is_stepped_in_its_own_memory(dtype: str) -> None:
    """Whatever its dtype and strides, a raw array is updated where it is."""
    whole = np.ones((6, 4), dtype)
    part = whole[::2, 1:].T
    Adamax(0.5).apply_gradients([(np.ones(part.shape), part)])
    np.testing.assert_allclose(whole[::2, 1:], 0.5, rtol=1e-3)
    np.testing.assert_array_equal(whole[1::2], 1)
    np.testing.assert_array_equal(whole[:, 0], 1)


def test_recent_forgets_by_use_and_not_by_age() -> None:
    """A key that was found again outlives those that came after it."""
    recent: Recent[str] = Recent(2)
    recent.keep("first", "a")
    recent.keep("second", "b", "also b")
    assert recent.find("a") == "first"
    recent.keep("third", "c")
    assert recent.find("b") is recent.find("also b") is None
    assert recent.find("a") == "first"
    assert len(recent) == 2
