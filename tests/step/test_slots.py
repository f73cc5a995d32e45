"""Slots: made by steps, `build` and `add_slot`, found by `get_slot`, named by their variables."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from libraries import Library
from snapshots import snapshot

from adamax import Adamax, Variable

Array = Any

pytestmark = pytest.mark.feature("dense")


def x_of(*shape: int, dtype: Any = float) -> Variable:
    return Variable(np.ones(shape, dtype), name="x")


def step(optimizer: Adamax, *variables: Any) -> None:
    optimizer.apply_gradients([(np.ones(x.shape), x) for x in variables])


def test_names_are_in_the_order_of_their_making() -> None:
    """Names are listed as slots were first made; the list is the caller's to change."""
    optimizer = Adamax()
    assert optimizer.get_slot_names() == []
    optimizer.add_slot(x_of(2), "extra")
    step(optimizer, x_of(2))
    assert optimizer.get_slot_names() == ["extra", "m", "v"]
    optimizer.get_slot_names().clear()
    assert optimizer.get_slot_names() == ["extra", "m", "v"]


def test_slots_are_found_again_and_kept() -> None:
    """add_slot returns the slot that is there, whatever initializer it is given then."""
    optimizer, x = Adamax(), x_of(2)
    slot = optimizer.add_slot(x, "extra", 3.0)
    assert optimizer.add_slot(x, "extra", "ones") is slot is optimizer.get_slot(x, "extra")
    assert slot.value == 3.0
    step(optimizer, x)
    m = optimizer.get_slot(x, "m")
    step(optimizer, x)
    assert optimizer.get_slot(x, "m") is m is optimizer.add_slot(x, "m")


def test_slots_are_variables_of_their_own() -> None:
    """A slot is no trainable variable, called after optimizer, variable and itself."""
    slot = Adamax(name="mine").add_slot(x_of(2), "extra")
    assert isinstance(slot, Variable)
    assert not slot.trainable
    assert slot.name == "mine/x/extra"


def test_slots_made_early_take_part_in_steps() -> None:
    """An m that was made before the first step is where the step starts from."""
    optimizer, x = Adamax(0.1, epsilon=0.0), x_of(2)
    m = optimizer.add_slot(x, "m", [5.0, 0.0])
    step(optimizer, x)
    assert optimizer.get_slot(x, "m") is m
    np.testing.assert_allclose(m.value, [5 + (1 - 5) * 0.1, 0.1], rtol=1e-14)


def test_a_failing_step_leaves_the_slots_that_were_there() -> None:
    """Of a variable that had an m alone, the v that a failing step made is gone again."""

    def refuse(x: Array) -> Array:
        raise ArithmeticError

    x, optimizer = Variable(np.ones(2), name="x", constraint=refuse), Adamax()
    m = optimizer.add_slot(x, "m", "ones")
    with pytest.raises(ArithmeticError):
        step(optimizer, x)
    assert optimizer.get_slot_names() == ["m"]
    assert optimizer.weights == [optimizer.iterations, m]
    with pytest.raises(KeyError, match=r"Expected one of the slots \['m'\], received 'v', for x"):
        optimizer.get_slot(x, "v")


@pytest.mark.parametrize("name", [7, None, ("a", 1)])
def test_slot_names_may_be_anything(name: Any) -> None:
    """A slot may be called by what is no text; its variable's name shows it."""
    optimizer, x = Adamax(), x_of(2)
    slot = optimizer.add_slot(x, name)
    step(optimizer, x)
    assert optimizer.get_slot(x, name) is slot is optimizer.weights[-1]
    assert slot.name == f"Adamax/x/{name}"


def filled(shape: tuple[int, ...], dtype: Any) -> Array:
    return np.full(shape, 7.0, dtype)


@pytest.mark.parametrize(("given", "expected"), [(filled, [7, 7]), (np.ones, [1, 1])])
def test_functions_are_given_shape_and_dtype(given: Any, expected: list[int]) -> None:
    """A callable is called as (shape, dtype=dtype), with a dtype of the variable's library."""
    slot = Adamax().add_slot(x_of(2, dtype=np.float32), "extra", given)
    assert slot.dtype == np.float32
    np.testing.assert_array_equal(slot.value, expected)


INITIALIZERS: dict[str, tuple[Any, Any]] = {
    "zeros": ("zeros", [0, 0]),
    "Ones": ("Ones", [1, 1]),
    "array": (np.array([1.0, 2.0]), [1, 2]),
    "other dtype": (np.array([1, 2], np.int8), [1, 2]),
    "other library": (array_api_strict.asarray([1.0, 2.0]), [1, 2]),
    "Variable": (Variable(np.array([1.0, 2.0])), [1, 2]),
    "list": ([1.0, 2.0], [1, 2]),
    "callable that returns a list": (lambda shape, dtype: [3.0] * shape[0], [3, 3]),
}


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_initial_values(library: Library, initializer: str) -> None:
    """An initializer is a name, a callable or the value of any library."""
    given, expected = INITIALIZERS[initializer]
    slot = Adamax().add_slot(Variable(library.asarray([1, 1])), "extra", given)
    library.assert_close(slot.value, expected, library.wide, roundings=0)


def test_initial_values_are_copied() -> None:
    """A slot shares no memory with the array that it was made of."""
    start, x = np.zeros(2), x_of(2)
    slot = Adamax().add_slot(x, "extra", start)
    of_itself = Adamax().add_slot(x, "extra", x)
    start += 1
    x.value[...] = 9.0
    np.testing.assert_array_equal(slot.value, [0, 0])
    np.testing.assert_array_equal(of_itself.value, [1, 1])


def test_other_slots_may_have_any_shape() -> None:
    """A slot of the caller's own may be a scalar or longer than its variable."""
    optimizer, x = Adamax(), x_of(2)
    assert optimizer.add_slot(x, "scalar", 3).shape == ()
    assert optimizer.add_slot(x, "long", np.zeros(9)).shape == (9,)


WRONG: list[tuple[str, Any, str]] = [
    ("extra", "glorot_uniform", "Unknown initializer 'glorot_uniform'"),
    ("extra", None, "Expected an initializer.*None"),
    ("extra", {"class_name": "Zeros"}, "Expected an initializer.*class_name"),
    ("extra", [[1.0], [1.0, 2.0]], "Expected an initializer"),
    ("extra", 1j, "Expected an initializer"),
    ("extra", lambda shape, dtype: None, "Expected an initializer"),
    ("m", 3.0, r"the slot 'm' of x must have its shape, \(2,\), got \(\)"),
    ("v", np.zeros((2, 1)), r"the slot 'v' of x must have its shape, \(2,\), got \(2, 1\)"),
]


@pytest.mark.parametrize(("name", "initializer", "message"), WRONG)
def test_wrong_initializers_make_nothing(name: str, initializer: Any, message: str) -> None:
    """What gives no value, or a moment of another shape, is an error, and no slot comes of it."""
    optimizer, x = Adamax(), x_of(2)
    before = snapshot(optimizer, x)
    with pytest.raises(ValueError, match=message):
        optimizer.add_slot(x, name, initializer)
    assert snapshot(optimizer, x) == before
    with pytest.raises(KeyError, match="a variable with slots, received x"):
        optimizer.get_slot(x, name)


def test_errors_of_an_initializer_are_the_callers() -> None:
    """What a callable raises is what the caller sees."""

    def positional_only(shape: Any, dtype: Any, /) -> Array:
        return np.zeros(shape, dtype)

    with pytest.raises(TypeError, match="positional"):
        Adamax().add_slot(x_of(2), "extra", positional_only)


@pytest.mark.parametrize("given", [None, 1.0, [1.0], "x"])
@pytest.mark.parametrize("method", ["add_slot", "get_slot"])
def test_what_is_no_variable_has_no_slots(method: str, given: Any) -> None:
    """A list or a name in the place of the variable is a TypeError."""
    with pytest.raises(TypeError, match=r"Expected an adamax\.Variable or a writable array"):
        getattr(Adamax(), method)(given, "m")


def test_slots_that_are_not_there_are_key_errors() -> None:
    """The error says whether the variable or the slot is unknown; nothing is made by asking."""
    optimizer, x = Adamax(), x_of(2)
    with pytest.raises(KeyError, match="received x, which has none; call build or add_slot first"):
        optimizer.get_slot(x, "m")
    with pytest.raises(KeyError, match="a variable with slots, received this array"):
        optimizer.get_slot(np.ones(2), "m")
    optimizer.build(x)
    with pytest.raises(KeyError, match=r"slots \['m', 'v'\], received 'momentum', for x"):
        optimizer.get_slot(x, "momentum")
    assert optimizer.get_slot_names() == ["m", "v"]


BUILDS: dict[str, Callable[[Variable, Variable], Any]] = {
    "list": lambda a, b: [a, b],
    "tuple of a list": lambda a, b: (a, [b]),
    "dict in sorted order": lambda a, b: {"2": b, "1": a},
    "twice": lambda a, b: [a, b, a],
}


@pytest.mark.parametrize("form", BUILDS)
def test_build_makes_zeros(form: str) -> None:
    """build takes variables nested in any way, makes m and v as zeros, and counts no step."""
    a, b = Variable(np.ones(2), name="a"), Variable(np.ones((2, 2)), name="b")
    optimizer = Adamax()
    optimizer.build(BUILDS[form](a, b))
    names = [weight.name for weight in optimizer.weights]
    assert names == ["Adamax/iter", *(f"Adamax/{x}" for x in ("a/m", "b/m", "a/v", "b/v"))]
    assert not any(np.any(weight) for weight in optimizer.get_weights())


def test_build_keeps_what_is_there() -> None:
    """Building again changes no slot."""
    optimizer, x = Adamax(), x_of(2)
    step(optimizer, x)
    before = snapshot(optimizer, x)
    optimizer.build([x])
    assert snapshot(optimizer, x) == before


@pytest.mark.parametrize("wrong", [None, 1.0, "x", object()])
def test_build_refuses_what_is_no_variable(wrong: Any) -> None:
    """Nothing is made if one of them is no variable."""
    optimizer = Adamax()
    with pytest.raises(TypeError, match=r"Expected an adamax\.Variable or a writable array"):
        optimizer.build([x_of(2), wrong])
    assert optimizer.get_slot_names() == []


def test_build_refuses_integers() -> None:
    """Nothing is made if one of them could not take a step."""
    optimizer = Adamax()
    with pytest.raises(ValueError, match="Invalid type int64 for x"):
        optimizer.build([x_of(2), x_of(2, dtype=int)])
    assert optimizer.get_slot_names() == []


@pytest.mark.parametrize(
    ("dtype", "of_slot"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int16", "int16")],
)
def test_dtype_of_slots(dtype: str, of_slot: str) -> None:
    """Slots have the dtype of the step: float32 for 16 bits; of an integer variable, its own."""
    assert Adamax().add_slot(x_of(2, dtype=dtype), "extra").dtype == of_slot


def test_slots_are_where_their_variables_are(library: Library) -> None:
    """Every way to make a slot makes it in its variable's library and on its device."""
    x, optimizer = Variable(library.asarray(np.ones(2))), Adamax()
    optimizer.build([x])
    for initializer in ("ones", np.ones(2), [1.0, 1.0], x, library.asarray(np.ones(2))):
        slot = optimizer.add_slot(x, f"from {type(initializer)}", initializer)
        np.testing.assert_array_equal(library.read(slot.value, library.wide), [1, 1])
    for name in "mv":
        slot = optimizer.get_slot(x, name)
        np.testing.assert_array_equal(library.read(slot.value, library.wide), [0, 0])


def test_optimizers_have_slots_of_their_own() -> None:
    """Two optimizers on one variable do not see each other's slots."""
    a, b, x = Adamax(), Adamax(), x_of(2)
    step(a, x)
    with pytest.raises(KeyError):
        b.get_slot(x, "m")
    step(b, x)
    assert a.get_slot(x, "m") is not b.get_slot(x, "m")
