"""`Adamax.apply_gradients`: what it accepts as pairs of gradient and variable, and what not."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from libraries import Library
from snapshots import snapshot

from adamax import Adamax, IndexedSlices, Variable


def named(*shapes: tuple[int, ...]) -> list[Variable]:
    return [Variable(np.ones(shape), name=f"x{i}") for i, shape in enumerate(shapes)]


def as_generator(pairs: list[Any]) -> Iterator[Any]:
    yield from pairs


FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "zip": lambda pairs: zip(*map(list, zip(*pairs, strict=True)), strict=True),
    "generator": as_generator,
    "dict values": lambda pairs: dict(enumerate(pairs)).values(),
    "lists in a list": lambda pairs: [list(pair) for pair in pairs],
}


@pytest.mark.parametrize("form", FORMS)
def test_any_iterable_of_pairs_will_do(form: str) -> None:
    """Pairs come in every iterable, which is read once."""
    variables, optimizer = named((2,), (3,)), Adamax(0.1, epsilon=0.0)
    pairs = [(np.full(x.shape, 2.0), x) for x in variables]
    optimizer.apply_gradients(FORMS[form](pairs))
    for x in variables:
        np.testing.assert_allclose(x.value, np.full(x.shape, 0.9), rtol=1e-14)


W = Variable(np.ones(2), name="w")
NO_PAIRS: list[tuple[Any, str]] = [
    (None, "iterable of .* pairs, received NoneType"),
    (7, "iterable of .* pairs, received int"),
    (np.asarray(1.0), "iterable of .* pairs, received numpy.ndarray"),
    (Variable(np.asarray(1.0)), "iterable of .* pairs, received adamax.Variable"),
    ([None], r"a \(gradient, variable\) pair, received NoneType, for grads_and_vars\[0\]"),
    ([1, 2], r"received int, for grads_and_vars\[0\]"),
    ({0: 1}, r"received int, for grads_and_vars\[0\]"),
    (["ab"], r"grads_and_vars\[0\].*pair"),
    ("ab", r"grads_and_vars\[0\].*pair"),
    ([{np.ones(2).tobytes(): W}], r"received dict, for grads_and_vars\[0\]"),
    (
        (np.ones(2), W),
        r"received numpy.ndarray, for grads_and_vars\[0\]; pass a single pair as a l",
    ),
    ([(np.ones(2), W), W], r"received adamax.Variable, for grads_and_vars\[1\]"),
    (W, r"grads_and_vars\[0\].*pair"),
    ([IndexedSlices(np.ones(1), np.array([0]))], r"received 3 items, for grads_and_vars\[0\]"),
]


@pytest.mark.parametrize(("pairs", "message"), NO_PAIRS)
def test_what_is_no_iterable_of_pairs_is_a_type_error(pairs: Any, message: str) -> None:
    """Whatever else is given, a TypeError says what it is and where it stands."""
    optimizer = Adamax()
    before = snapshot(optimizer, W)
    with pytest.raises(TypeError, match=message):
        optimizer.apply_gradients(pairs)
    assert snapshot(optimizer, W) == before


def test_errors_of_the_caller_are_the_callers() -> None:
    """A TypeError in the generator that makes the pairs is not taken for a missing iterator."""

    def pairs() -> Iterator[Any]:
        yield np.ones(2), W
        raise TypeError("unsupported operand in the caller's own code")

    with pytest.raises(TypeError, match="the caller's own code"):
        Adamax().apply_gradients(pairs())


@pytest.mark.parametrize("variable", [[1.0, 1.0], 1.0, "w", object()])
def test_what_is_no_variable_is_a_type_error(variable: Any) -> None:
    """A list or a number cannot be updated; the error says how to make a variable of it."""
    with pytest.raises(
        TypeError, match=r"Expected an adamax.Variable or a writable array.*wrap it"
    ):
        Adamax().apply_gradients([(np.ones(2), W), (np.ones(2), variable)])
    np.testing.assert_array_equal(W.value, np.ones(2))


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "complex128"])
def test_variables_of_other_dtypes_are_refused(dtype: str) -> None:
    """Only real floating dtypes can take a step; the error names the variable and those."""
    x = Variable(np.ones(2, dtype), name="x")
    told = f"Invalid type {dtype} for x: expected one of float16, bfloat16, float32, float64"
    with pytest.raises(ValueError, match=told):
        Adamax().apply_gradients([(np.ones(2), x)])


def test_frozen_variables_are_refused_in_time() -> None:
    """A Variable whose array was made read-only stops the step before another is updated."""
    first, frozen = named((2,), (2,))
    frozen.value.flags.writeable = False
    optimizer = Adamax()
    before = snapshot(optimizer, first, frozen)
    with pytest.raises(TypeError, match=r"received a read-only one, for x1"):
        optimizer.apply_gradients([(np.ones(2), first), (np.ones(2), frozen)])
    assert snapshot(optimizer, first, frozen) == before


def test_no_gradient_at_all_is_an_error() -> None:
    """If every gradient is None, the error lists the variables; raw arrays have names too."""
    optimizer, a, raw = Adamax(), Variable(np.ones(1), name="a"), np.ones(1)
    with pytest.raises(
        ValueError, match=r"No gradients provided for any variable: \['a', 'array_0'\]"
    ):
        optimizer.apply_gradients([(None, a), (None, raw)])
    assert optimizer.get_slot_names() == []


def test_variables_without_gradient_are_skipped_with_a_warning() -> None:
    """They keep their values and get no slots; the warning names them, at the caller's line."""
    a, b, c = named((2,), (2,), (2,))
    optimizer = Adamax(clipnorm=1.0)
    with pytest.warns(UserWarning, match=r"do not exist for variables \['x0', 'x2'\]") as caught:
        optimizer.apply_gradients([(None, a), (np.ones(2), b), (None, c)])
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_array_equal([a.value, c.value], np.ones((2, 2)))
    assert [x.name for x in optimizer.weights] == ["Adamax/iter", "Adamax/x1/m", "Adamax/x1/v"]


def test_a_warning_made_an_error_stops_the_step() -> None:
    """Where warnings are errors, a skipped variable stops the step before it has begun."""
    a, b = named((2,), (2,))
    optimizer = Adamax()
    before = snapshot(optimizer, a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="x0"):
            optimizer.apply_gradients([(None, a), (np.ones(2), b)])
    assert snapshot(optimizer, a, b) == before


@pytest.mark.parametrize(
    "gradient",
    [
        [2.0, -4.0],
        (2, -4),
        [np.float32(2.0), -4],
        np.array([2.0, -4.0], np.float16),
        np.array([9.0, 2.0, 9.0, -4.0])[1::2],
        Variable(np.array([2.0, -4.0])),
        np.array([2.0, -4.0], ">f8"),
    ],
    ids=["list", "tuple", "scalars", "float16", "strided", "Variable", "big-endian"],
)
def test_gradients_of_every_kind(gradient: Any) -> None:
    """Lists, ints, views, Variables and foreign byte orders are all the same gradient."""
    (x,) = named((2,))
    optimizer = Adamax()
    optimizer.apply_gradients([(gradient, x)])
    np.testing.assert_allclose(optimizer.get_slot(x, "m").value, [0.2, -0.4], rtol=1e-15)
    np.testing.assert_array_equal(optimizer.get_slot(x, "v").value, [2.0, 4.0])


@pytest.mark.feature("dense")
def test_numbers_are_gradients_of_scalars(library: Library) -> None:
    """A 0-d variable takes a number, and its slots are 0-d arrays."""
    x, optimizer = Variable(library.asarray(1)), Adamax(0.1, epsilon=0.0)
    for number in (-4.0, np.float32(-4) if library.name == "numpy" else -4):
        optimizer.apply_gradients([(number, x)])
    library.assert_close(x.value, 1.2)
    library.assert_close(optimizer.get_slot(x, "m").value, -0.4 - 0.1 * 3.6, library.wide)
    library.assert_close(optimizer.get_slot(x, "v").value, 4, library.wide)


def test_trainable_is_the_callers_business() -> None:
    """A variable that is not trainable is updated if it is given."""
    x = Variable(np.ones(1), trainable=False)
    Adamax(0.1, epsilon=0.0).apply_gradients([(np.ones(1), x)])
    np.testing.assert_allclose(x.value, [0.9])


@pytest.mark.feature("dense", "sparse", "clipping")
def test_gradients_are_not_written_to(library: Library) -> None:
    """Neither a step nor clipping changes the caller's gradients."""
    gradient, rows = library.asarray(np.full((3, 2), 5)), library.asarray([2, 0, 2], "int32")
    a, b = (Variable(library.asarray(np.ones((3, 2)))) for _ in range(2))
    optimizer = Adamax(clipnorm=1.0, clipvalue=0.5, global_clipnorm=0.1)
    optimizer.apply_gradients([(gradient, a), (IndexedSlices(gradient, rows), b)])
    assert optimizer.iterations == 1
    library.assert_close(gradient, np.full((3, 2), 5), roundings=0)
    np.testing.assert_array_equal(library.read(rows, "int32"), [2, 0, 2])
