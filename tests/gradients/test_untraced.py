"""Numbers that leave the trace: a loss that takes them is refused, and one way notes them down."""

import array
import copy
import math
import pickle
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, Variable, check_gradients
from adamax_adapters.gradients import EngineName, value_and_gradients

Array = Any


def buffer(write: Callable[[Array, Any], Any]) -> Callable[[Any], Array]:
    """Return the sum of the squares of a NumPy buffer that a loss writes to."""

    def total(x: Any) -> Array:
        buffer = np.zeros(2)
        write(buffer, x)
        return np.sum(buffer**2)

    return total


TAKEN: dict[str, Callable[[Any], Any]] = {
    "an element": buffer(lambda b, x: b.__setitem__(0, x)),
    "an element of a field": buffer(lambda b, x: b.view([("x", float)]).__setitem__(0, (x,))),
    "a slice": buffer(lambda b, x: b.__setitem__(slice(None), x)),
    "a list": buffer(lambda b, x: b.__setitem__(slice(None), [x, x])),
    "flat": buffer(lambda b, x: b.flat.__setitem__(0, x)),
    "fill": buffer(lambda b, x: b.fill(x)),
    "put": buffer(lambda b, x: b.put([0], x)),
    "np.put": buffer(lambda b, x: np.put(b, [0], x)),
    "copyto": buffer(lambda b, x: np.copyto(b, x)),
    "place": buffer(lambda b, x: np.place(b, [True, False], x)),
    "in place": buffer(lambda b, x: b.__iadd__(x)),
    "full": lambda x: np.full(2, x).sum(),
    "full_like": lambda x: np.full_like(np.ones(2), x).sum(),
    "array": lambda x: np.array([x, x]).sum(),
    "asarray": lambda x: np.asarray(x),
    "fromiter": lambda x: np.fromiter([x, x], float).sum(),
    "vectorize": lambda x: np.vectorize(math.exp)(x),
    "random": lambda x: np.random.default_rng(0).normal(x),
    "float": float,
    "complex": lambda x: complex(x).real,
    "float64": np.float64,
    "float32": np.float32,
    "math": lambda x: math.exp(x),
    "fsum": lambda x: math.fsum([x, x]),
    "tolist": lambda x: x.tolist(),
    "array.array": lambda x: array.array("d", [x])[0],
    "struct": lambda x: struct.unpack("d", struct.pack("d", x))[0],
    "copy": lambda x: copy.copy(x) * 1.0,
    "deepcopy": lambda x: copy.deepcopy(x) * 1.0,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)) * 1.0,
}


@pytest.mark.parametrize("of", ["a tracer", "a variable"])
@pytest.mark.parametrize("way", TAKEN)
def test_numbers_that_are_taken_are_refused(way: str, of: str) -> None:
    """A loss whose other parts have gradients is refused too, and nothing has changed."""
    w, optimizer = Variable(np.array(0.7), name="w"), Adamax()

    def loss() -> Array:
        return TAKEN[way](w if of == "a variable" else w * 1.0) + w * w

    with pytest.raises(NotImplementedError, match=r"^Expected .* received "):
        optimizer.minimize(loss, [w])
    assert w.value == 0.7
    assert optimizer.iterations == 0


@pytest.mark.parametrize("way", TAKEN)
def test_numbers_may_be_taken_of_what_is_constant(way: str) -> None:
    """A variable that is not asked for, and a loss with gradients of its own, give numbers away."""
    w, frozen = Variable(np.array(0.7)), Variable(np.array(0.5))
    check_gradients(lambda: TAKEN[way](frozen * 1.0) * w, [w])
    value, _ = value_and_gradients(lambda: (TAKEN[way](w * 1.0), [None]), [w])
    assert value == TAKEN[way](w.value)


def test_item_notes_a_number_down() -> None:
    """`item()` of a variable or of what depends on it is a number, and a constant."""
    w, noted = Variable(np.array(3.0)), []

    def loss() -> Array:
        noted.append((w.item(), (w * 2).item(), f"{w * 2:.1f}", f"{w:.1f}"))
        return w * w

    _, (gradient,) = value_and_gradients(loss, [w])
    assert gradient == 6.0
    assert noted == [(3.0, 6.0, "6.0", "3.0")]


def test_whole_numbers_and_conditions_may_be_taken() -> None:
    """`int` and `bool` change in steps, as `floor` and comparisons do: they have no gradient."""
    w = Variable(np.array(2.5))
    check_gradients(lambda: w**2 if w > 1 and w else w, [w])
    check_gradients(lambda: sum(w**i for i in range(int(w * 1.7))), [w])


def test_a_recurrence_in_a_list_has_gradients() -> None:
    """States of a recurrent network in a list, stacked at the end, are traced."""
    a, b = Variable(np.array(0.9)), Variable(np.array(0.8))
    x = np.linspace(-1, 1, 20)

    def loss() -> Array:
        states = [np.tanh(b * x[0])]
        for t in range(1, 20):
            states.append(np.tanh(a * states[-1] + b * x[t]))
        return np.mean((np.stack(states) - np.sin(x)) ** 2)

    check_gradients(loss, [a, b])


def in_jax(x: Array) -> Array:
    return pytest.importorskip("jax", reason="JAX is not installed").numpy.asarray(x)


def in_torch(x: Array) -> Array:
    return pytest.importorskip("torch", reason="torch is not installed").asarray(x)


ENGINES: dict[str, tuple[EngineName, Callable[[Array], Array]]] = {
    "tape on NumPy": ("tape", np.asarray),
    "tape on JAX": ("tape", in_jax),
    "tape on torch": ("tape", in_torch),
    "jax": ("jax", in_jax),
    "torch": ("torch", in_torch),
    "autograd": ("autograd", np.asarray),
}


def in_a_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


PAST_THE_READER: dict[str, Callable[[Variable], Any]] = {
    "value in a thread": lambda v: in_a_thread(lambda: v.value * 1.0),
    "method in a thread": lambda v: in_a_thread(lambda: v.item()),
    "numpy": lambda v: v.numpy(),
    "copy": lambda v: copy.copy(v).value,
    "pickle": lambda v: pickle.loads(pickle.dumps(v)).value,
}


@pytest.mark.parametrize("way", PAST_THE_READER)
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_refuse_what_is_read_past_them(engine: str, way: str) -> None:
    """Reads in other threads and copies are no constants, whichever engine differentiates."""
    name, convert = ENGINES[engine]
    pytest.importorskip("autograd" if name == "autograd" else "numpy")
    w, other = (Variable(convert(np.array(0.5)), name=x) for x in ("w", "other"))
    read = PAST_THE_READER[way]
    with pytest.raises(NotImplementedError, match=r"compute with w itself, received a .*traced; "):
        value_and_gradients(lambda: (read(w), w.value * w.value)[1], [other, w], engine=name)
    _, (gradient,) = value_and_gradients(
        lambda: (read(other), w.value * w.value)[1], [w], engine=name
    )
    assert gradient == 1.0


@pytest.mark.parametrize("engine", ENGINES)
def test_variables_that_a_loss_makes_hold_their_own_values(engine: str) -> None:
    """A variable that a loss makes and drops lends its identity, and not its value, to the next."""
    name, convert = ENGINES[engine]
    pytest.importorskip("autograd" if name == "autograd" else "numpy")
    w = Variable(convert(np.array(1.0)))

    def loss() -> Array:
        total = 0.0
        for i in range(5):
            scale = Variable(convert(np.array(float(i))))
            total = total + w.value * scale.value
            del scale
        return total

    value, (gradient,) = value_and_gradients(loss, [w], engine=name)
    assert (float(value), float(gradient)) == (10.0, 10.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_variables_that_a_loss_makes_of_others_are_traced_or_refused(engine: str) -> None:
    """A new variable of what depends on variables does not cut the gradient in silence."""
    name, convert = ENGINES[engine]
    pytest.importorskip("autograd" if name == "autograd" else "numpy")
    w = Variable(convert(np.array(3.0)))

    def loss() -> Array:
        return Variable(w.value * 2).value * w.value

    if name in ("torch", "autograd"):
        with pytest.raises(NotImplementedError):
            value_and_gradients(loss, [w], engine=name)
    else:
        assert value_and_gradients(loss, [w], engine=name)[1][0] == 12.0


def test_a_variable_of_a_callable_is_known_after_the_loss() -> None:
    """Reads in another thread are refused of variables that the loss itself makes known."""
    found: list[Variable] = []

    def loss() -> Array:
        w = Variable(np.array(1.0), name="late")
        found[:] = [w]
        return w * w + in_a_thread(lambda: w.value * 2.0)

    with pytest.raises(NotImplementedError, match=r"compute with late itself, .*another thread"):
        Adamax().minimize(loss, lambda: found)


@pytest.mark.parametrize("function", ["sum", "mean", "max", "negative", "concatenate"])
@pytest.mark.parametrize("factor", [None, 1.0, 2.0])
def test_functions_of_dask_itself_lose_no_gradient(function: str, factor: float | None) -> None:
    """dask.array takes an unknown array for a constant: such a loss is refused, or right."""
    da = pytest.importorskip("dask.array")
    v = Variable(da.ones(3), name="v")

    def loss() -> Any:
        x = v if factor is None else factor * v
        return getattr(da, function)([x] if function == "concatenate" else x).sum() + (v**2).sum()

    if function == "negative":  # which asks its argument, as NumPy's functions do
        _, (gradient,) = value_and_gradients(loss, [v])
        np.testing.assert_allclose(gradient.compute(), np.full(3, 2.0 - (factor or 1.0)))
    else:
        with pytest.raises(NotImplementedError, match=r"cop(y|ies)"):
            value_and_gradients(loss, [v])


def test_steps_in_other_threads_do_not_disturb() -> None:
    """While one thread differentiates, another may take steps on the same variables."""
    w, optimizer = Variable(np.array([1.0, 2.0])), Adamax()

    def loss() -> Array:
        x = np.sum(w**2)
        in_a_thread(lambda: optimizer.minimize(lambda: np.sum(w**2), [w]))
        in_a_thread(lambda: optimizer.apply_gradients([(np.ones(2), w)]))
        in_a_thread(optimizer.get_weights)
        return x

    Adamax().minimize(loss, [w])
    assert optimizer.iterations == 2
