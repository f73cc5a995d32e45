"""What a user of PyTorch writes, checked with the types of PyTorch."""

from typing import assert_type

import pytest

pytest.importorskip("torch", exc_type=ImportError)
import torch

from adamax import Adamax, State, Variable, clipping, init, update
from adamax.typing import Array


def scaled(x: Array) -> Array:
    return x


def test_a_module_and_its_gradients() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = Adamax(learning_rate=0.1, global_clipnorm=1.0)
    model(torch.ones(3, 2)).sum().backward()
    optimizer.apply_gradients([(p.grad, p) for p in model.parameters()])
    optimizer.build(model.parameters())
    assert scaled(model.weight).shape == (1, 2)


def test_variables_of_tensors() -> None:
    w = Variable(torch.ones(3), constraint=lambda x: x.clamp(min=0))
    assert_type(w, Variable[torch.Tensor])
    assert_type(w.value, torch.Tensor)
    Adamax().minimize(lambda: (w.value**2).sum(), [w])
    assert_type(clipping.clip_by_norm(w.value, 1.0), torch.Tensor)


def test_the_pure_form_of_tensors() -> None:
    params = {"w": torch.ones(2)}
    params, state = update(params, params, init(params), learning_rate=torch.tensor(0.1))
    assert_type(params, dict[str, torch.Tensor])
    assert_type(state, State[dict[str, torch.Tensor]])
