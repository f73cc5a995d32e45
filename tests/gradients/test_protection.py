"""Variables are as they were after a loss that writes: on libraries without read-only views too."""

from collections.abc import Callable, Iterator
from typing import Any

import array_api_strict
import fake_device
import numpy as np
import pytest

from adamax import Variable
from adamax_adapters.gradients import value_and_gradients

Array = Any


def in_torch(x: Array) -> Array:
    return pytest.importorskip("torch", reason="torch is not installed").asarray(x)


LIBRARIES: dict[str, Callable[[Array], Array]] = {
    "numpy": np.asarray,
    "the standard": array_api_strict.asarray,
    "a device": fake_device.namespace.asarray,
    "torch": in_torch,
}


@pytest.fixture(params=LIBRARIES)
def w(request: pytest.FixtureRequest) -> Iterator[Variable]:
    """Return a variable, and see that it is as it was after the test."""
    value = np.arange(1.0, 7.0).reshape(2, 3)
    variable = Variable(LIBRARIES[request.param](value), name="w")
    yield variable
    np.testing.assert_array_equal(variable.numpy(), value)


WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "an element": lambda xp, v: v.__setitem__((0, 0), 7.0),
    "a view": lambda xp, v: v[:1, ...].__setitem__((0, 0), 7.0),
    "a row": lambda xp, v: xp.unstack(v)[0].__setitem__(0, 7.0),
    "a reshaped view": lambda xp, v: xp.reshape(v, (6,)).__setitem__(0, 7.0),
    "the transpose": lambda xp, v: v.T.__setitem__((0, 0), 7.0),
    "a view with axes": lambda xp, v: xp.expand_dims(v, axis=0).__setitem__((0, 0, 0), 7.0),
    "itself": lambda xp, v: xp.asarray(v).__setitem__((0, 0), 7.0),
}


@pytest.mark.parametrize("way", WRITES)
@pytest.mark.parametrize("returned", ["a loss", "gradients"])
def test_views_of_variables_cannot_be_assigned_to(w: Variable, way: str, returned: str) -> None:
    """Assigning to a view names the variable, whatever the loss returns, and changes nothing."""

    def loss() -> Any:
        xp = w.__array_namespace__()
        WRITES[way](xp, w.value)
        return xp.sum(w * w) if returned == "a loss" else (0.0, [None])

    with pytest.raises(RuntimeError, match=r"no assignment .* inside a loss, .* for w;"):
        value_and_gradients(loss, [w], engine="tape")


@pytest.mark.parametrize(
    "copied",
    [lambda xp, v: 2.0 * v, lambda xp, v: xp.take(v, xp.asarray([0, 1]), axis=0)],
    ids=["product", "rows"],
)
def test_what_is_computed_may_be_assigned_to(
    w: Variable, copied: Callable[[Any, Any], Any]
) -> None:
    """A loss with gradients of its own writes to its results, which are not the variable."""

    def loss() -> Any:
        y = copied(w.__array_namespace__(), w.value)
        y[0, 0] = 9.0
        return y[0, 0], [y]

    value, (gradient,) = value_and_gradients(loss, [w], engine="tape")
    assert (float(value), float(gradient[0, 0])) == (9.0, 9.0)


TORCH_WRITES: dict[str, tuple[Callable[[Any, Any], Any], type[Exception]]] = {
    "out": (lambda torch, v: v.__array_namespace__().add(v, v, out=v), RuntimeError),
    "out of constants": (
        lambda torch, v: v.__array_namespace__().add(torch.ones(2, 3), torch.ones(2, 3), out=v),
        RuntimeError,
    ),
    "method": (lambda torch, v: v.mul_(2.0), RuntimeError),
    "method of a view": (lambda torch, v: v[0].zero_(), RuntimeError),
    "detached": (lambda torch, v: v.detach().zero_(), NotImplementedError),
    "reinterpreted": (lambda torch, v: v.view(torch.int64).zero_(), NotImplementedError),
    "NumPy's view": (lambda torch, v: np.asarray(v).fill(0.0), NotImplementedError),
    "method numpy": (lambda torch, v: v.numpy().fill(0.0), NotImplementedError),
    "unbound": (lambda torch, v: v.unbind()[0].zero_(), NotImplementedError),
}


@pytest.mark.parametrize("way", TORCH_WRITES)
def test_methods_of_torch_do_not_write_to_variables(way: str) -> None:
    """Under the tape, no method of torch reaches the memory of a variable."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    write, error = TORCH_WRITES[way]
    w = Variable(torch.ones(2, 3, dtype=torch.float64), name="w")

    def loss() -> Any:
        write(torch, w.value)
        return w.__array_namespace__().sum(w * w)

    with pytest.raises(error):
        value_and_gradients(loss, [w], engine="tape")
    assert w.value.tolist() == [[1.0] * 3] * 2


def test_outputs_that_are_no_variables_may_be_written_to() -> None:
    """An output of the loss's own is written to, though an input is a variable."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    w, out = Variable(torch.ones(3)), torch.zeros(3)

    def loss() -> Any:
        w.__array_namespace__().add(w.value, w.value, out=out)
        return 0.0, [None]

    value_and_gradients(loss, [w], engine="tape")
    assert out.tolist() == [2.0] * 3
