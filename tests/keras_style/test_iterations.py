"""The step counter of the optimizer: what it is, what may stand in for it, how far it goes."""

import copy
from typing import Any

import array_api_strict
import numpy as np
import pytest
from snapshots import snapshot

from adamax import Adamax, Variable


def counter(value: int = 0, dtype: str = "int64") -> Variable:
    return Variable(np.asarray(value, dtype), name="global_step")


def step(optimizer: Adamax, *variables: Variable) -> Any:
    return optimizer.apply_gradients([(np.ones(x.shape), x) for x in variables])


def test_counter_is_an_int64_variable() -> None:
    """Steps are counted from 0 in a 0-d int64 variable, which is no trainable one."""
    iterations = Adamax().iterations
    assert (iterations.name, iterations.dtype, iterations.shape) == ("Adamax/iter", np.int64, ())
    assert iterations == 0
    assert not iterations.trainable


def test_a_step_returns_the_counter_one_higher() -> None:
    """apply_gradients adds one, however many variables there are, and returns the counter."""
    optimizer = Adamax()
    variables = [Variable(np.ones(2)) for _ in range(3)]
    iterations = optimizer.iterations
    for t in (1, 2, 3):
        assert step(optimizer, *variables) is iterations is optimizer.iterations
        assert iterations == t


def test_assigning_a_number_sets_the_step() -> None:
    """After assign(n) the next step is n + 1, and its bias correction is that of n + 1."""
    optimizer, w = Adamax(0.1, epsilon=0.0), Variable(np.zeros(1))
    optimizer.iterations.assign(9)
    assert step(optimizer, w) == 10
    np.testing.assert_allclose(w.value, [-0.1 * 0.1 / (1 - 0.9**10)], rtol=1e-14)


def test_variables_share_the_counter() -> None:
    """A variable first seen at t = 2 is corrected for t = 2: .947368 instead of .9."""
    optimizer, w = Adamax(0.1, epsilon=0.0), Variable(np.ones(1))
    step(optimizer, Variable(np.ones(1)))
    step(optimizer, w)
    np.testing.assert_allclose(w.value, [1 - 0.1 * 0.1 / (1 - 0.9**2)], rtol=1e-14)


def test_two_optimizers_may_count_in_one_variable() -> None:
    """The steps of both add up in a counter that both were given."""
    a, b, shared = Adamax(), Adamax(), counter(5)
    a.iterations = b.iterations = shared
    step(a, Variable(np.ones(1)))
    step(b, Variable(np.ones(1)))
    assert shared == a.iterations == b.iterations == 7
    assert a.weights[0] is b.weights[0] is shared


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_counters_of_every_integer_dtype(dtype: str) -> None:
    """Any signed integer counts, and keeps its dtype."""
    optimizer = Adamax()
    optimizer.iterations = counter(3, dtype)
    step(optimizer, Variable(np.ones(1)))
    assert optimizer.iterations == 4
    assert optimizer.iterations.dtype == dtype


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        np.int64(5),
        np.asarray(5),
        None,
        Variable(np.asarray(5.0)),
        Variable(np.asarray([5])),
        Variable(np.asarray(5, np.uint8)),
        Variable(np.asarray(False)),
        Variable(array_api_strict.asarray(5)),
    ],
)
def test_what_cannot_count_is_refused(wrong: Any) -> None:
    """A counter is a Variable of a 0-d signed integer of NumPy; the error shows what was given."""
    optimizer = Adamax()
    with pytest.raises(TypeError, match="Expected iterations to be a Variable of a 0-d NumPy"):
        optimizer.iterations = wrong
    optimizer.iterations = counter(3)
    assert optimizer.iterations == 3


@pytest.mark.parametrize("use", ["iterations", "weights", "current_learning_rate"])
def test_a_counter_in_use_is_not_replaced(use: str) -> None:
    """Once the counter has been read, another would leave its readers behind."""
    optimizer = Adamax()
    getattr(optimizer, use)
    with pytest.raises(RuntimeError, match=r"Cannot set `iterations`.*iterations\.assign\(n\)"):
        optimizer.iterations = counter()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int8", 127), ("int32", 2**31 - 1), ("int64", 2**63 - 1), ("int64", -1), ("int8", -128)],
)
def test_a_counter_that_cannot_count_on_stops_the_step(dtype: str, value: int) -> None:
    """A counter that is full or below 0 is an error that names it, and nothing has changed.

    With decay 1 and -1 steps the learning rate would be divided by 0.
    """
    optimizer, w = Adamax(decay=1.0), Variable(np.ones(2))
    optimizer.iterations = counter(0, dtype)
    step(optimizer, w)
    optimizer.iterations.assign(value)
    before = snapshot(optimizer, w)
    with pytest.raises(ValueError, match=rf"Expected global_step in \[0, .*received: {value}"):
        step(optimizer, w)
    assert snapshot(optimizer, w) == before


def test_a_counter_that_cannot_be_written_to_stops_the_step() -> None:
    """A read-only counter is an error before the variables move, in the first step and later."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    for steps in range(2):
        optimizer.iterations.value.flags.writeable = False
        before = snapshot(optimizer, w)
        with pytest.raises(ValueError, match=r"counter that can be written to.*Adamax/iter"):
            step(optimizer, w)
        assert snapshot(optimizer, w) == before
        optimizer.iterations.value.flags.writeable = True
        assert step(optimizer, w) == steps + 1


def test_last_step_that_a_counter_holds_is_taken() -> None:
    """The limit is the number itself, not one before it."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    optimizer.iterations = counter(126, "int8")
    assert step(optimizer, w) == 127


def test_copies_count_alone() -> None:
    """A deep copy has a counter of its own, which begins where the original's was."""
    optimizer, w = Adamax(), Variable(np.ones(2))
    step(optimizer, w)
    copied = copy.deepcopy(optimizer)
    step(copied, w)
    assert optimizer.iterations == 1
    assert copied.iterations == 2
