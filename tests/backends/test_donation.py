"""JAX: steps donate arrays that steps have made, and leave alone what anybody may still look at."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, Variable
from adamax_adapters.backends import BackendName

jax = pytest.importorskip("jax")

each_backend = pytest.mark.parametrize("backend", ["jax", "jax_donated"])


def stepped(backend: BackendName, steps: int = 2) -> tuple[Variable, Adamax]:
    """Return a variable whose arrays steps have made, and its optimizer."""
    w, optimizer = Variable(jax.numpy.ones(100)), Adamax(0.1, backend=backend)
    for _ in range(steps):
        step(w, optimizer)
    return w, optimizer


def step(w: Variable, optimizer: Adamax) -> None:
    optimizer.apply_gradients([(jax.numpy.ones(100), w)])


def memory_of(w: Variable) -> int:
    return int(w.held.unsafe_buffer_pointer())


@each_backend
def test_a_step_reuses_the_memory_of_the_step_before(backend: BackendName) -> None:
    """Parameters that nobody reads, and their slots, stay where they are."""
    w, optimizer = stepped(backend)
    parts = [w, optimizer.get_slot(w, "m"), optimizer.get_slot(w, "v")]
    before = [memory_of(part) for part in parts]
    step(w, optimizer)
    assert [memory_of(part) for part in parts] == before


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "name": lambda x: x,
    "list": lambda x: [x],
    "tree": lambda x: {"layer": (x, None)},
    "closure": lambda x: lambda: x,
    "default": lambda x: lambda y=x: y,
    "generator": lambda x: (y for y in [x]),
    "object": lambda x: Variable.of_array(x, "other"),
}


def held_in(holder: Any) -> Any:
    """Return the array that is in a holder."""
    if callable(holder):
        return holder()
    if isinstance(holder, Variable):
        return holder.held
    if isinstance(holder, dict):
        return holder["layer"][0]
    return holder if isinstance(holder, jax.Array) else next(iter(holder))


@each_backend
@pytest.mark.parametrize("how", HOLDERS)
@pytest.mark.parametrize("part", ["variable", "m", "v"])
def test_what_python_refers_to_stays_whole(backend: BackendName, how: str, part: str) -> None:
    """A value that was read, and is held by anything whatever, is what it was after more steps."""
    w, optimizer = stepped(backend)
    read = w if part == "variable" else optimizer.get_slot(w, part)
    expected = read.numpy()
    holder = HOLDERS[how](read.value)
    for _ in range(3):
        step(w, optimizer)
    np.testing.assert_array_equal(np.asarray(held_in(holder)), expected)


@each_backend
def test_a_copy_of_a_variable_keeps_its_array(backend: BackendName) -> None:
    """A shallow copy holds the same array, and a deep one another: both stay."""
    w, optimizer = stepped(backend)
    expected = w.numpy()
    copies = copy.copy(w), copy.deepcopy(w)
    for _ in range(3):
        step(w, optimizer)
    for made in copies:
        np.testing.assert_array_equal(made.numpy(), expected)


ALIASES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "device_put": lambda x: jax.device_put(x, jax.devices()[0]),
    "to_device": lambda x: x.to_device(jax.devices()[0]),
    "addressable_data": lambda x: x.addressable_data(0),
}


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("part", ["variable", "slot"])
def test_the_memory_of_an_alias_stays(alias: str, part: str) -> None:
    """An array of the same memory, which no count of references shows, outlives later steps."""
    w, optimizer = stepped("jax")
    read = w if part == "variable" else optimizer.get_slot(w, "m")
    expected = read.numpy()
    kept = ALIASES[alias](read.value)
    for _ in range(3):
        step(w, optimizer)
    np.testing.assert_array_equal(np.asarray(kept), expected)


@each_backend
@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("way", ["constructor", "assign"])
def test_what_a_caller_has_brought_stays(backend: BackendName, alias: str, way: str) -> None:
    """Of an array that a variable was given, an alias that the caller keeps is never lost."""
    w, optimizer = stepped(backend)
    brought = jax.numpy.full(100, 5.0)
    kept = ALIASES[alias](brought)
    if way == "assign":
        w.assign(brought)
    else:
        w = Variable(brought)
    del brought
    for _ in range(3):
        step(w, optimizer)
    np.testing.assert_array_equal(np.asarray(kept), np.full(100, 5.0))


def test_what_was_read_is_donated_if_one_asks_for_it() -> None:
    """A step deletes the parameter that was read, and let go, with jax_donated alone."""
    for backend in ("jax", "jax_donated"):
        w, optimizer = stepped(backend)
        alias = w.value.addressable_data(0)
        step(w, optimizer)
        assert alias.is_deleted() == (backend == "jax_donated")
