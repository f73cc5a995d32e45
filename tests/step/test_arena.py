"""Moments of many variables lie side by side, and every variable still has its own."""

import copy
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, IndexedSlices, Variable

Array = Any

SHAPES = [(3,), (), (2, 4), (0, 2), (5,), (40, 40)]


def variables(dtype: str = "float64") -> list[Variable]:
    rng = np.random.default_rng(1)
    return [Variable(rng.standard_normal(s).astype(dtype), name=f"w{s}") for s in SHAPES]


def step(optimizer: Adamax, params: list[Any], t: int) -> None:
    rng = np.random.default_rng(t)
    grads = [rng.standard_normal(tuple(p.shape)) for p in params]
    optimizer.apply_gradients(zip(grads, params, strict=True))


def weights_after(count: int) -> list[Array]:
    """Return parameters and weights of an optimizer that executes the plain rule."""
    params, optimizer = variables(), Adamax(0.1, backend="standard")
    for t in range(count):
        step(optimizer, params, t)
    return [p.numpy() for p in params] + optimizer.get_weights()


def assert_ends_as_the_plain_rule(params: list[Variable], optimizer: Adamax, count: int) -> None:
    ends = [p.numpy() for p in params] + optimizer.get_weights()
    for got, expected in zip(ends, weights_after(count), strict=True):
        np.testing.assert_array_equal(got, expected)


def owner(slot: Variable) -> int:
    base = slot.value
    while base.base is not None:
        base = base.base
    return id(base)


def test_slots_share_a_buffer_and_no_element() -> None:
    """All m have one buffer, all v another; no two overlap, and the smallest come first."""
    params, optimizer = variables(), Adamax()
    optimizer.build(params)
    for name in ("m", "v"):
        slots = [optimizer.get_slot(p, name) for p in params if 0 not in p.shape]
        assert len({owner(slot) for slot in slots}) == 1
        places = sorted((s.value.__array_interface__["data"][0], s.value.nbytes) for s in slots)
        assert [size for _, size in places] == sorted(size for _, size in places)
        for (start, size), (following, _) in pairwise(places):
            assert start + size == following


def test_dtypes_have_buffers_of_their_own() -> None:
    """float32 and float64 variables of one step do not share; those of 16 bits use float32."""
    params = [Variable(np.ones(4, d)) for d in ("float32", "float64", "float16", "float32")]
    optimizer = Adamax()
    optimizer.apply_gradients([(np.ones(4), p) for p in params])
    owners = [owner(optimizer.get_slot(p, "m")) for p in params]
    assert owners[0] == owners[3]
    assert owners[1] not in (owners[0], owners[2])
    assert optimizer.get_slot(params[2], "m").dtype == np.float32


@pytest.mark.parametrize(
    "changed",
    [
        copy.deepcopy,
        lambda both: pickle.loads(pickle.dumps(both)),
    ],
    ids=["deep copy", "pickle"],
)
def test_copies_go_on_alike(changed: Callable[[Any], Any]) -> None:
    """A copy of optimizer and variables ends as the original does, which it does not touch."""
    params, optimizer = variables(), Adamax(0.1)
    for t in range(2):
        step(optimizer, params, t)
    copied, copied_params = changed((optimizer, params))
    for t in range(2, 4):
        step(copied, copied_params, t)
    assert_ends_as_the_plain_rule(copied_params, copied, 4)
    assert_ends_as_the_plain_rule(params, optimizer, 2)
    slots = [copied.get_slot(p, "m") for p in copied_params if 0 not in p.shape]
    assert len({owner(slot) for slot in slots}) == 1


def test_slots_made_in_other_ways_are_advanced_too() -> None:
    """Slots from add_slot, from a later build and from set_weights take the same steps."""
    params, optimizer = variables(), Adamax(0.1)
    optimizer.add_slot(params[2], "v")
    optimizer.add_slot(params[0], "m", lambda shape, dtype: np.zeros(shape, dtype))
    optimizer.build(params[3:])
    optimizer.build(params)
    step(optimizer, params, 0)
    saved = optimizer.get_weights()
    for weight in optimizer.weights[1:]:
        weight.value[...] = 7.0
    order = [p for p in params if p is params[2]]
    assert len(order) == 1
    optimizer.set_weights(saved)
    step(optimizer, params, 1)
    reference, plain = variables(), Adamax(0.1, backend="standard")
    for t in range(2):
        step(plain, reference, t)
    for mine, other in zip(params, reference, strict=True):
        np.testing.assert_array_equal(mine.value, other.value)
        for name in ("m", "v"):
            np.testing.assert_array_equal(
                optimizer.get_slot(mine, name).value, plain.get_slot(other, name).value
            )


def test_sets_of_variables_may_alternate() -> None:
    """Steps of one set, of another and of both: each variable keeps its own moments."""
    params, optimizer = variables(), Adamax(0.1)
    reference, plain = variables(), Adamax(0.1, backend="standard")
    for t, places in enumerate([(0, 1), (2, 3, 4), (5, 1), (4, 0), (0, 1), (2, 3, 4)] * 2):
        step(optimizer, [params[i] for i in places], t)
        step(plain, [reference[i] for i in places], t)
    for mine, other in zip(params, reference, strict=True):
        np.testing.assert_array_equal(mine.value, other.value)


def test_raw_arrays_that_overlap_are_advanced_in_turn() -> None:
    """Of two views that share elements, the second starts from what the first has written."""
    results = []
    for backend in ("numpy", "standard"):
        whole = np.arange(8.0)
        optimizer = Adamax(0.1, backend=backend)
        for _ in range(2):
            overlapping = (whole[:5], whole[3:], whole[::2])
            optimizer.apply_gradients([(p + 1.0, p) for p in overlapping])
        results.append(whole)
    np.testing.assert_array_equal(results[0], results[1])


def test_no_step_inside_a_loss() -> None:
    """An optimizer that knows its variables does not touch them while a loss is differentiated."""
    w, optimizer = Variable(np.ones(3), name="w"), Adamax()
    optimizer.apply_gradients([(np.ones(3), w)])
    before = w.numpy()

    def loss() -> Array:
        optimizer.apply_gradients([(np.ones(3), w)])
        return np.sum(w.value**2)

    with pytest.raises(RuntimeError, match="inside a loss"):
        optimizer.minimize(loss, [w])
    np.testing.assert_array_equal(w.value, before)
    assert optimizer.iterations.value == 1


def test_a_slot_may_be_a_gradient() -> None:
    """A gradient that is a slot of the same optimizer is read before any slot changes."""
    results = []
    for backend in ("numpy", "standard"):
        a, b = Variable(np.ones(3)), Variable(np.ones(3))
        optimizer = Adamax(0.1, backend=backend)
        optimizer.apply_gradients([(np.array([1.0, 2.0, 3.0]), a), (np.ones(3), b)])
        for _ in range(2):
            m = optimizer.get_slot(a, "m").value
            optimizer.apply_gradients([(m, a), (m, b)])
        results.append([a.numpy(), b.numpy(), *optimizer.get_weights()])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("spoilt", "error"),
    [
        (lambda g, p: g.__setitem__(3, np.ones(7)), ValueError),
        (lambda g, p: g.__setitem__(3, np.ones((2, 4), int)), ValueError),
        (lambda g, p: g.__setitem__(3, "gradient"), TypeError),
        (lambda g, p: p[0].value.setflags(write=False), TypeError),
    ],
    ids=["shape", "dtype", "kind", "read-only"],
)
def test_variables_that_are_known_are_still_checked(
    spoilt: Callable[[list[Any], list[Variable]], None], error: type[Exception]
) -> None:
    """After good steps a bad one raises as ever, and nothing has changed."""
    params, optimizer = variables(), Adamax(0.1)
    for t in range(2):
        step(optimizer, params, t)
    grads: list[Any] = [np.ones(p.shape) for p in params]
    spoilt(grads, params)
    with pytest.raises(error):
        optimizer.apply_gradients(zip(grads, params, strict=True))
    assert_ends_as_the_plain_rule(params, optimizer, 2)


def test_what_changes_between_steps_is_seen() -> None:
    """A constraint that is set late, a gradient in another dtype or None, rows: as ever."""
    results = []
    for backend in ("numpy", "standard"):
        params, optimizer = variables(), Adamax(0.1, backend=backend)
        step(optimizer, params, 0)
        params[0].constraint = lambda x: np.clip(x, 0, None)
        step(optimizer, params, 1)
        params[0].constraint = None
        grads: list[Any] = [np.ones(p.shape, np.float32) for p in params]
        grads[4] = IndexedSlices(np.ones(2), np.array([1, 1]))
        grads[2] = None
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            optimizer.apply_gradients(zip(grads, params, strict=True))
        step(optimizer, params, 3)
        results.append([p.numpy() for p in params] + optimizer.get_weights())
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_tensors_are_pickled_without_the_whole_buffer() -> None:
    """Of a buffer that many slots share, each takes only its own part along."""
    torch = pytest.importorskip("torch")
    params, optimizer = [torch.ones(1000) for _ in range(20)], Adamax()
    optimizer.apply_gradients([(torch.ones(1000), p) for p in params])
    assert len(pickle.dumps(optimizer)) < 2 * 3 * 20 * 1000 * 4


def test_torch_knows_what_was_written() -> None:
    """A graph that needs an old value of a parameter refuses to use the new one."""
    torch = pytest.importorskip("torch")
    w = torch.nn.Parameter(torch.ones(3))
    loss = (w**2).sum()
    loss.backward(retain_graph=True)
    Adamax().apply_gradients([(w.grad, w)])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
