"""Weights as lists of arrays, and variables of the caller's own: `get_weights` to `add_weight`."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from libraries import Library
from snapshots import snapshot

from adamax import Adamax, IndexedSlices, Variable

Array = Any

pytestmark = pytest.mark.feature("checkpoint")


def step(optimizer: Adamax, *variables: Any) -> None:
    optimizer.apply_gradients([(np.full(x.shape, 0.3), x) for x in variables])


def test_a_fresh_optimizer_has_its_counter() -> None:
    """Before any slot, the weights are iterations alone, by every name."""
    optimizer = Adamax()
    assert optimizer.weights == [optimizer.iterations]
    assert optimizer.variables() == optimizer.weights
    (count,) = optimizer.get_weights()
    assert (count, count.dtype, count.shape) == (0, np.int64, ())
    optimizer.set_weights([7])
    assert optimizer.iterations == 7


def test_weights_cannot_be_replaced() -> None:
    """`weights` is read; the list is new each time, and the variables in it are the optimizer's."""
    optimizer = Adamax()
    with pytest.raises(AttributeError):
        optimizer.weights = []  # type: ignore[misc]
    optimizer.weights.clear()
    assert optimizer.weights[0] is optimizer.iterations


def test_get_weights_are_copies() -> None:
    """Later steps do not reach the arrays that were returned, nor do writes the optimizer."""
    optimizer, x = Adamax(), Variable(np.ones(2))
    step(optimizer, x)
    got = optimizer.get_weights()
    before = [array.copy() for array in got]
    step(optimizer, x)
    for array, old in zip(got, before, strict=True):
        np.testing.assert_array_equal(array, old)
        array += 100
    assert optimizer.iterations == 2
    assert np.all(optimizer.get_slot(x, "v").value < 1)


def trained() -> tuple[Adamax, list[Any]]:
    """Return an optimizer in step 3, of variables of several dtypes and a raw array."""
    optimizer = Adamax(0.1)
    variables: list[Any] = [
        Variable(np.ones((3, 2), np.float32)),
        Variable(np.asarray(1.0)),
        np.ones(2),
        Variable(np.ones(2, np.float16)),
    ]
    for _ in range(3):
        step(optimizer, *variables)
    return optimizer, variables


FORMS: dict[str, Callable[[list[Array]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array of objects": lambda weights: np.fromiter(weights, object, len(weights)),
    "lists of numbers": lambda weights: [weight.tolist() for weight in weights],
    "Variables": lambda weights: [Variable(weight) for weight in weights],
    "float64": lambda weights: [weight.astype("f8") for weight in weights],
    "big-endian": lambda weights: [
        weight.astype(weight.dtype.newbyteorder(">")) for weight in weights
    ],
    "other memory order": lambda weights: [weight.copy(order="F") for weight in weights],
    "other library": lambda weights: [array_api_strict.asarray(weight) for weight in weights],
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_set_from_every_form(form: str) -> None:
    """Whatever holds the numbers: they are copied, and converted to the dtype of each weight."""
    optimizer, variables = trained()
    saved = optimizer.get_weights()
    step(optimizer, *variables)
    given_weights = FORMS[form](saved)
    weights, arrays = optimizer.weights, [weight.value for weight in optimizer.weights]
    optimizer.set_weights(given_weights)
    for weight, array, expected in zip(weights, arrays, saved, strict=True):
        assert weight.value is array
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    step(optimizer, *variables)
    for array, expected in zip(map(np.asarray, given_weights), saved, strict=True):
        if array.dtype != object:
            np.testing.assert_array_equal(array, expected)


def test_counts_are_cut_to_whole_numbers() -> None:
    """As in the reference, 7.9 steps are 7."""
    optimizer = Adamax()
    optimizer.set_weights([np.float64(7.9)])
    assert optimizer.iterations == 7


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_kept(value: float) -> None:
    """NaN and infinity are what a weight may be, and are set as they are."""
    optimizer, x = Adamax(), Variable(np.ones(2, np.float32))
    optimizer.build([x])
    optimizer.set_weights([1, np.full(2, value), np.full(2, value)])
    np.testing.assert_array_equal(optimizer.get_slot(x, "m").value, np.full(2, value, np.float32))


def test_long_lists_are_cut_in_the_message() -> None:
    """The error about the length shows where the list begins, not all of it."""
    with pytest.raises(ValueError, match="You called `set_weights`") as caught:
        Adamax().set_weights([np.zeros(100)] * 100)
    assert len(str(caught.value)) < 300


@given(
    st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), max_size=4),
    st.sampled_from(["f2", "f4", "f8"]),
    st.integers(0, 2**62),
)
def test_weights_make_the_round_trip(shapes: list[Any], dtype: str, count: int) -> None:
    """What get_weights returns, set_weights restores, bit for bit, in a run of any variables."""
    rng = np.random.default_rng(4)
    variables = [Variable(np.ones(shape, dtype)) for shape in shapes]
    first, second = Adamax(), Adamax()
    first.iterations.assign(count)
    for optimizer in (first, second):
        optimizer.build(variables)
        optimizer.apply_gradients([(rng.normal(size=x.shape), x) for x in variables])
    second.set_weights(first.get_weights())
    for mine, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_weights_in_every_library(library: Library) -> None:
    """Weights of every library are read as NumPy's arrays and set from them, on their device."""
    x, optimizer = Variable(library.asarray(np.ones((2, 2)))), Adamax(0.1)
    slices = IndexedSlices(library.asarray(np.ones((1, 2))), library.asarray([1], "int32"))
    optimizer.apply_gradients([(slices, x)])
    saved = optimizer.get_weights()
    assert all(isinstance(weight, np.ndarray) for weight in saved)
    optimizer.set_weights([9, *(weight + 1 for weight in saved[1:])])
    assert optimizer.iterations == 9
    for name, weight in zip("mv", saved[1:], strict=True):
        found = library.read(optimizer.get_slot(x, name).value, library.wide)
        np.testing.assert_array_equal(found, weight + 1)
    before = snapshot(optimizer, x)
    with pytest.raises(ValueError, match="not compatible"):
        optimizer.set_weights([3, saved[1] * 0, np.ones(7)])
    assert snapshot(optimizer, x) == before


# add_weight


def test_add_weight_makes_a_variable_that_is_no_weight() -> None:
    """It is a float32 variable of zeros, trainable, and in none of the lists."""
    optimizer = Adamax()
    weight = optimizer.add_weight("momentum_scale", [2, 3])
    assert (weight.name, weight.shape, weight.dtype) == ("momentum_scale", (2, 3), np.float32)
    assert weight.trainable
    np.testing.assert_array_equal(weight.value, np.zeros((2, 3)))
    assert optimizer.weights == [optimizer.iterations]
    assert optimizer.add_weight("momentum_scale", [2, 3]) is not weight


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (4, (4,)),
        ((), ()),
        ([], ()),
        ((2, 0), (2, 0)),
        (np.int32(3), (3,)),
        ([np.int64(2), 1], (2, 1)),
        (range(2, 4), (2, 3)),
    ],
)
def test_add_weight_of_every_shape(shape: Any, expected: tuple[int, ...]) -> None:
    """A shape is an int or a sequence of them."""
    assert Adamax().add_weight("w", shape).shape == expected


@pytest.mark.parametrize(
    "shape", [None, -1, [2, -1], 2.5, [2.0], "12", {2}, [[2]], np.ones((2, 2))]
)
def test_add_weight_refuses_other_shapes(shape: Any) -> None:
    """Lengths that are missing, negative or no ints are an error with the name."""
    with pytest.raises(ValueError, match="Expected the shape of w to be an int >= 0 or a sequence"):
        Adamax().add_weight("w", shape)


@pytest.mark.parametrize("dtype", ["float64", np.float16, np.dtype("int64"), "bool"])
def test_add_weight_of_every_dtype(dtype: Any) -> None:
    """A dtype is whatever names one to NumPy."""
    weight = Adamax().add_weight("w", [2], dtype=dtype, initializer="ones")
    assert weight.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(weight.value, [1, 1])


@pytest.mark.parametrize(
    ("initializer", "expected"),
    [
        ("ones", [1, 1]),
        (np.ones, [1, 1]),
        ([3, 4], [3, 4]),
        (array_api_strict.asarray([3.0, 4.0]), [3, 4]),
        (Variable(np.array([3, 4])), [3, 4]),
    ],
)
def test_add_weight_from_every_initializer(initializer: Any, expected: list[int]) -> None:
    """Initial values are those of add_slot, in the dtype that was asked for."""
    weight = Adamax().add_weight("w", [2], initializer=initializer)
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight.value, expected)


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        ("glorot", "Unknown initializer"),
        (None, "Expected an initializer"),
        (3.0, r"initial value of w has the shape \(\), which is not compatible with \(2,\)"),
        ([1, 2, 3], r"has the shape \(3,\), which is not compatible"),
        (lambda shape, dtype: np.zeros(5, dtype), r"has the shape \(5,\), which is not compatible"),
    ],
)
def test_add_weight_refuses_other_initializers(initializer: Any, message: str) -> None:
    """What is no initial value of that shape is an error."""
    with pytest.raises(ValueError, match=message):
        Adamax().add_weight("w", [2], initializer=initializer)


@pytest.mark.parametrize(
    ("trainable", "synchronization", "expected"),
    [
        (None, "auto", True),
        (True, "auto", True),
        (False, "auto", False),
        (None, "on_read", False),
        (False, "ON_READ", False),
        (None, "VariableSynchronization.ON_READ", False),
        (True, "on_write", True),
    ],
)
def test_add_weight_is_trainable_unless_it_is_summed_on_read(
    trainable: bool | None, synchronization: str, expected: bool
) -> None:
    """trainable is True unless given or the variable is only summed up when it is read."""
    optimizer = Adamax()
    weight = optimizer.add_weight(
        "w", [], trainable=trainable, synchronization=synchronization, aggregation="mean"
    )
    assert weight.trainable is expected


def test_add_weight_cannot_be_trainable_and_summed_on_read() -> None:
    """Both together are an error, as in the reference."""
    with pytest.raises(ValueError, match="ON_READ"):
        Adamax().add_weight("w", [], trainable=True, synchronization="on_read")
