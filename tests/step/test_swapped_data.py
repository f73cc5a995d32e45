"""Tensors whose `data` is another: the optimizer steps what they name by now, and keeps moments."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adamax import Adamax, Variable
from adamax_adapters.backends import BackendName

torch = pytest.importorskip("torch")

GIVEN: dict[str, Callable[[], Any]] = {
    "variable": lambda: Variable(torch.ones(3), name="w"),
    "parameter": lambda: torch.nn.Parameter(torch.ones(3)),
}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("clipped", [False, True])
def test_a_step_goes_to_the_memory_of_now(kind: str, backend: BackendName, clipped: bool) -> None:
    """After ``tensor.data = other``, steps change the other memory, with the moments so far."""
    w, optimizer = GIVEN[kind](), Adamax(0.1, backend=backend, clipvalue=9.0 if clipped else None)
    tensor = w.value if kind == "variable" else w
    old = tensor.data
    for step in range(6):
        if step == 2:
            tensor.data = torch.full((3,), 5.0)
        optimizer.apply_gradients([(torch.ones(3), w)])
    np.testing.assert_allclose(tensor.detach().numpy(), 5.0 - 4 * 0.1, rtol=1e-5)
    np.testing.assert_allclose(old.numpy(), 1.0 - 2 * 0.1, rtol=1e-5)
    assert len(optimizer.weights) == 3
    np.testing.assert_allclose(optimizer.get_slot(w, "m").numpy(), 1 - 0.9**6, rtol=1e-5)


def test_memory_that_was_given_up_belongs_to_nobody() -> None:
    """A tensor in the memory that another one has left has moments of its own."""
    memory = torch.ones(3)
    first = torch.nn.Parameter(torch.ones(0))
    first.data = memory
    optimizer = Adamax(0.1)
    optimizer.apply_gradients([(torch.ones(3), first)])
    first.data = torch.ones(3)
    second = torch.nn.Parameter(memory)
    optimizer.apply_gradients([(torch.ones(3), second)])
    assert len(optimizer.weights) == 1 + 2 * 2
    np.testing.assert_allclose(optimizer.get_slot(second, "m").numpy(), 0.1, rtol=1e-6)


def test_another_shape_is_another_variable() -> None:
    """A tensor whose data has another shape has other moments, of that shape."""
    w, optimizer = torch.ones(6), Adamax(0.1)
    optimizer.apply_gradients([(torch.ones(6), w)])
    w.data = w.data[:2]
    optimizer.apply_gradients([(torch.ones(2), w)])
    assert optimizer.get_slot(w, "m").shape == (2,)
