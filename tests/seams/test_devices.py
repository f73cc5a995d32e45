"""Variables, their slots and all that is computed for them stay on the device that they are on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from array_api_compat import array_namespace, device
from reference_model import NumpyAdamax
from snapshots import host, snapshot
from touched import each_setting, everything

from adamax import (
    Adamax,
    IndexedSlices,
    State,
    Variable,
    init,
    load_checkpoint,
    save_checkpoint,
    update,
)

Array = Any
Made = Callable[..., Array]


def in_strict(x: Any, number: int = 1) -> Array:
    """Return an array on a device of array_api_strict; number 0 is where arrays are by default."""
    name = f"device{number}" if number else "CPU_DEVICE"
    numbers = np.asarray(x, np.float32 if np.asarray(x).dtype.kind == "f" else np.int32)
    return array_api_strict.asarray(numbers, device=array_api_strict.Device(name))


def in_jax(x: Any, number: int = 1) -> Array:
    """Return an array on a device of JAX; number 0 is where arrays are by default."""
    jax = pytest.importorskip("jax")
    return jax.device_put(jax.numpy.asarray(x), jax.devices()[number])


@pytest.fixture(params=[in_strict, in_jax])
def made(request: pytest.FixtureRequest, standard_only: None) -> Made:
    """What makes arrays on a device by its number; 1 where none is given."""
    found: Made = request.param
    found(0.0)  # skips here, and not in the midst of a test, where there is no JAX
    return found


W = np.array([[1.0, -2.0], [3.0, 0.5], [0.25, 4.0]], np.float32)
G = np.array([[0.5, -3.0], [1.0, 0.25], [-2.0, 1.0]], np.float32)
ROWS = np.array([2, 0, 2])


def assert_there(made: Made, *arrays: Any) -> None:
    """Hold arrays and variables to device 1, which is not the one by default."""
    there = device(made(0.0))
    assert there != device(made(0.0, 0))
    assert [device(getattr(x, "value", x)) for x in arrays] == [there] * len(arrays)


@pytest.mark.parametrize("backend", [None, "standard"])
@each_setting
def test_steps_stay(made: Made, settings: dict[str, Any], backend: str | None) -> None:
    """Dense and sparse steps, clipped or not, leave p, m and u where the variable was put."""
    w, table = Variable(made(W)), Variable(made(W))
    optimizer = Adamax(**{"learning_rate": 0.1, "backend": backend} | settings)
    for _ in range(3):
        slices = IndexedSlices(made(G), made(ROWS))
        optimizer.apply_gradients([(made(G), w), (slices, table)])
    assert_there(made, *everything(optimizer, w, table))


def test_results_are_those_of_any_device(made: Made) -> None:
    """On another device the same numbers come out, for dense gradients and for rows."""
    w, table, model = Variable(made(W)), Variable(made(W)), NumpyAdamax([W, W], 0.1)
    optimizer = Adamax(0.1)
    for _ in range(3):
        optimizer.apply_gradients([(made(G), w), (IndexedSlices(made(G), made(ROWS)), table)])
        model.step([G, (G, ROWS)])
    for variable, expected in zip((w, table), model.x, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_the_loss_is_minimised_there(made: Made) -> None:
    """`minimize` and `get_gradients` differentiate where the variable is."""
    w, optimizer = Variable(made(W)), Adamax(0.1)

    def loss() -> Array:
        return array_namespace(w).sum(w**2)

    optimizer.minimize(loss, [w])
    assert_there(made, *everything(optimizer, w), *optimizer.get_gradients(loss, [w]))


def test_numbers_lists_and_constraints_go_there(made: Made) -> None:
    """Gradients in lists, constraints, `assign` and slots by name are made on the device."""
    w = Variable(made(W), constraint=lambda x: array_namespace(x).clip(x, -1.0, 1.0))
    table, optimizer = Variable(made(W)), Adamax(0.1)
    optimizer.build([w, table])
    optimizer.apply_gradients([(G.tolist(), w), (IndexedSlices(G.tolist(), [2, 0, 2]), table)])
    extra = [optimizer.add_slot(w, name, name) for name in ("zeros", "ones")]
    extra.append(optimizer.add_slot(w, "number", 2.0))
    table.assign(W.tolist())
    assert_there(made, *everything(optimizer, w, table), *extra)
    np.testing.assert_array_equal(table.numpy(), W)


def test_weights_and_checkpoints_come_back_there(made: Made, tmp_path: Path) -> None:
    """What is read from the host or from a file goes to the device of its variable."""
    w, optimizer = Variable(made(W), name="w"), Adamax(0.1)
    optimizer.apply_gradients([(made(G), w)])
    save_checkpoint(tmp_path / "saved", optimizer, [w])
    saved = [host(x) for x in everything(optimizer, w)]
    weights = optimizer.get_weights()
    optimizer.apply_gradients([(made(G), w)])
    optimizer.set_weights(weights)
    assert_there(made, *everything(optimizer, w))
    load_checkpoint(tmp_path / "saved", optimizer, [w])
    assert_there(made, *everything(optimizer, w))
    for x, expected in zip(everything(optimizer, w), saved, strict=True):
        np.testing.assert_array_equal(host(x), expected)


def test_the_pure_form_stays(made: Made) -> None:
    """`init` and `update` give parameters and state where the parameters were."""
    params = [made(W), made(W)]
    state = init(params)
    assert_there(made, *state.m, *state.u)
    params, state = update(params, [made(G), IndexedSlices(made(G), made(ROWS))], state)
    assert_there(made, *params, *state.m, *state.u)


def test_several_devices_in_one_step(made: Made) -> None:
    """Variables of two devices advance in one call, each where it is and as if it were alone."""
    variables = [Variable(made(W, number)) for number in (1, 0, 1)]
    optimizer, model = Adamax(0.1), NumpyAdamax([W] * 3, 0.1)
    for _ in range(3):
        gradients = [made(G * scale, n) for scale, n in ((1, 1), (2, 0), (3, 1))]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        model.step([G, 2 * G, 3 * G])
    for number, variable, expected in zip((1, 0, 1), variables, model.x, strict=True):
        for x in everything(optimizer, variable):
            assert device(x) == device(made(0.0, number))
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_a_common_norm_of_two_devices_is_refused(made: Made) -> None:
    """Norms of two devices could only meet on the host; nothing changes."""
    variables = [Variable(made(W, number)) for number in (1, 0)]
    optimizer = Adamax(0.1, global_clipnorm=1.0)
    before = snapshot(optimizer, *variables)
    pairs = [(made(G, number), w) for number, w in zip((1, 0), variables, strict=True)]
    with pytest.raises(ValueError, match="Expected gradients on one device, received "):
        optimizer.apply_gradients(pairs)
    assert snapshot(optimizer, *variables) == before


def test_arrays_of_another_device_are_refused(made: Made) -> None:
    """A gradient or a value of another device is an error that names the variable."""
    v, w = Variable(made(W), name="v"), Variable(made(W), name="w")
    optimizer = Adamax(0.1)
    before = snapshot(optimizer, v, w)
    with pytest.raises(
        ValueError, match="for the gradient of w; move it to the parameter's device"
    ):
        optimizer.apply_gradients([(made(G), v), (made(G, 0), w)])
    with pytest.raises(ValueError, match=r"received one on .*, for the values of the s"):
        optimizer.apply_gradients([(IndexedSlices(made(G, 0), made(ROWS)), w)])
    with pytest.raises(ValueError, match="for the value of w; move it to the parameter's device"):
        w.assign(made(G, 0))
    assert snapshot(optimizer, v, w) == before
    there = made(G)
    with pytest.raises(
        ValueError, match="for the state of params; move it to the parameter's device"
    ):
        update(there, there, State(0, made(G, 0), there))


def test_arrays_that_are_not_committed_follow_the_variable() -> None:
    """JAX makes arrays on the device by default; they follow a committed variable."""
    jnp = pytest.importorskip("jax.numpy")
    w, optimizer = Variable(in_jax(W)), Adamax(0.1)
    optimizer.apply_gradients([(jnp.asarray(G), w)])
    optimizer.apply_gradients([(IndexedSlices(jnp.asarray(G), jnp.asarray(ROWS)), w)])
    w.assign(jnp.asarray(W))
    assert_there(in_jax, *everything(optimizer, w))
    np.testing.assert_array_equal(host(w.value), W)


def test_a_variable_that_is_not_committed_follows_its_gradient() -> None:
    """As everywhere in JAX: if only the gradient is committed, the step is on its device."""
    jnp = pytest.importorskip("jax.numpy")
    w, optimizer = Variable(jnp.asarray(W)), Adamax(0.1)
    for _ in range(2):
        optimizer.apply_gradients([(in_jax(G), w)])
    assert_there(in_jax, *everything(optimizer, w))
