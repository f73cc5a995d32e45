"""On arrays of a device that the host does not see into: the tape and a step never look."""

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import assert_close, whole
from array_api_compat import array_namespace
from fake_device import DEVICE, DeviceArray, namespace, synchronisations
from libraries import Usage
from losses import CASES

from adamax import Adamax, IndexedSlices, Variable, check_gradients
from adamax_adapters.gradients import value_and_gradients

Array = Any
WAITS: dict[str, Any] = {
    "bool": bool,
    "float": float,
    "int": int,
    "index": lambda x: range(5)[x],
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "get": lambda x: x.get(),
    "to_device": lambda x: x.to_device("cpu"),
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: namespace.nonzero(namespace.reshape(x, (1,))),
    "variable": lambda x: Variable(x).numpy(),
}


@pytest.mark.parametrize("way", WAITS)
def test_fake_device_records_what_waits(way: str) -> None:
    """Whatever brings a number of the device to the host is recorded once."""
    x = namespace.asarray(3)
    with synchronisations() as noted:
        WAITS[way](x)
    assert len(noted) == 1


REFUSED: dict[str, Any] = {
    "conversion": np.asarray,
    "mixing": lambda x: x + np.ones(2),
    "mixing on the left": lambda x: np.ones(2) * x,
    "mixing with a number of NumPy": lambda x: x * np.float64(2.0),
    "mixing in a function": lambda x: namespace.maximum(x, np.ones(2)),
    "mixing in a list": lambda x: namespace.concat([x, np.ones(2)]),
    "assigning": lambda x: x.__setitem__(0, np.ones(1)),
    "a variable": lambda x: namespace.sum(Variable(x)),
    "indexing": lambda x: x[np.array([0])],
}


@pytest.mark.parametrize("way", REFUSED)
def test_fake_device_refuses_arrays_of_numpy(way: str) -> None:
    """Nothing becomes an array of NumPy, or meets one, without being asked to."""
    with pytest.raises(TypeError, match=r"NumPy"):
        REFUSED[way](namespace.asarray(np.ones(2)))


def test_fake_device_is_an_array_library() -> None:
    """It has the standard's functions alone, gives arrays and never scalars, and one device."""
    x = namespace.asarray(np.array([1.0, 2.0], np.float32))
    for result in (namespace.sum(x), x @ x, x[0], -x[1], 2.0 - x[0], np.tanh(x), namespace.max(x)):
        assert type(result) is DeviceArray
        assert result.dtype == np.float32
        assert result.device == DEVICE
    with pytest.raises(AttributeError, match="no float_power"):
        _ = namespace.float_power
    with pytest.raises(ValueError, match="Unsupported device"):
        namespace.zeros(2, device="cpu")
    y = x
    y += 1.0
    np.testing.assert_array_equal(x.get(), [2.0, 3.0])


@pytest.mark.feature("gradients", usage=Usage.FAKE_DEVICE)
@pytest.mark.parametrize("name", CASES)
def test_tape_never_waits(name: str) -> None:
    """Value and gradients of every loss are those of NumPy, without one look at the device."""
    variables, loss = CASES[name](namespace.asarray, np.random.default_rng(5))
    with synchronisations() as noted:
        value, gradients = value_and_gradients(loss, variables)
    assert noted == []
    on_numpy, numpy_loss = CASES[name](np.asarray, np.random.default_rng(5))
    expected_value, expected = value_and_gradients(numpy_loss, on_numpy)
    assert float(value) == pytest.approx(float(expected_value), rel=1e-14)
    assert_close(
        [whole(g, v) for g, v in zip(gradients, variables, strict=True)],
        [whole(g, v) for g, v in zip(expected, on_numpy, strict=True)],
        1e-13,
    )


@pytest.mark.parametrize("name", CASES)
def test_steps_never_wait(name: str) -> None:
    """Three steps of minimize are those of NumPy, without one look at the device."""
    found = []
    for asarray in (namespace.asarray, np.asarray):
        variables, loss = CASES[name](asarray, np.random.default_rng(5))
        optimizer = Adamax(0.1, clipvalue=2.0)
        with synchronisations() as noted, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of variables that a loss does not read
            for _ in range(3):
                optimizer.minimize(loss, variables)
        assert noted == []
        found.append([variable.numpy() for variable in variables])
    for on_device, on_numpy in zip(*found, strict=True):
        np.testing.assert_allclose(on_device, on_numpy, rtol=1e-13)


def test_losses_in_numpys_functions_stay_on_the_device() -> None:
    """NumPy's own functions hand over to the arrays' library, as for CuPy."""
    w = Variable(namespace.asarray(np.array([0.5, 2.0])), name="w")
    with synchronisations() as noted:
        _, (gradient,) = value_and_gradients(lambda: np.sum(np.tanh(w) ** 2), [w])
    assert noted == []
    t = np.tanh([0.5, 2.0])
    np.testing.assert_allclose(gradient.get(), 2 * t * (1 - t**2))


def test_gradients_are_checked_on_a_device() -> None:
    """check_gradients moves elements without writing into arrays, on any library."""
    rng = np.random.default_rng(0)
    table = Variable(namespace.asarray(rng.normal(size=(3, 2)).astype(np.float32)), name="table")
    rows = namespace.asarray(np.array([2, 0, 2]))

    def loss() -> Array:
        xp = array_namespace(table)
        return xp.sum(xp.take(table.value, rows, axis=0) ** 2) + xp.exp(table[1, 0])

    before = table.value
    check_gradients(loss, [table])
    row = IndexedSlices(namespace.ones((1, 2)), namespace.asarray([1]))
    with pytest.raises(AssertionError, match=r"received gradient 0, for table at \(0, 0\)"):
        check_gradients(lambda: (loss(), [row]), [table])
    assert table.value is before
