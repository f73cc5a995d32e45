"""Task 4: train an `nn.Module` by ``loss.backward()``, with names in files, and resume."""

import copy
from pathlib import Path
from typing import Any

import pytest

from adamax import Adamax, Variable, inspect_checkpoint, load_checkpoint, save_checkpoint

torch = pytest.importorskip("torch", exc_type=ImportError)


def new_model() -> Any:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    return torch.nn.Sequential(*layers).double()


def backward(model: Any, step: int) -> float:
    """Leave the gradients of a batch in the module's parameters; return the loss."""
    generator = torch.Generator().manual_seed(step)
    x = 4 * torch.rand(50, 2, generator=generator, dtype=torch.float64) - 2
    loss = torch.nn.functional.mse_loss(model(x), x[:, :1] * x[:, 1:])
    model.zero_grad()
    loss.backward()
    return float(loss.detach())


def named(model: Any) -> list[Variable]:
    return [Variable.of_array(p, name) for name, p in model.named_parameters()]


def test_a_module_takes_the_steps_of_torch() -> None:
    """With an epsilon that does not matter, the trajectory is that of torch.optim.Adamax."""
    ours = new_model()
    theirs = copy.deepcopy(ours)
    optimizer = Adamax(0.02, epsilon=1e-300)
    expected = torch.optim.Adamax(theirs.parameters(), lr=0.02, eps=1e-300)
    losses = []
    for step in range(200):
        losses.append(backward(ours, step))
        optimizer.apply_gradients([(p.grad, p) for p in ours.parameters()])
        backward(theirs, step)
        expected.step()
    assert losses[-1] < 0.1 * losses[0]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_files_have_the_names_of_the_module(tmp_path: Path) -> None:
    """Tensors in a file are called as in `named_parameters`, and a run resumes bit for bit."""

    def train(model: Any, variables: list[Variable], optimizer: Adamax, steps: range) -> None:
        for step in steps:
            backward(model, step)
            gradients = [p.grad for p in model.parameters()]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

    through, optimizer = new_model(), Adamax(0.02)
    train(through, named(through), optimizer, range(20))

    model, optimizer = new_model(), Adamax(0.02)
    train(model, named(model), optimizer, range(10))
    file = tmp_path / "module.safetensors"
    save_checkpoint(file, optimizer)
    names = [name for name, _ in model.named_parameters()]
    assert inspect_checkpoint(file)["variables"] == names
    assert f"m/{names[0]}" in inspect_checkpoint(file)["tensors"]

    resumed, optimizer = new_model(), Adamax(0.02)
    variables = named(resumed)
    load_checkpoint(file, optimizer, variables)
    train(resumed, variables, optimizer, range(int(optimizer.iterations), 20))
    for a, b in zip(resumed.parameters(), through.parameters(), strict=True):
        assert torch.equal(a, b)


def test_autograd_is_called_by_minimize() -> None:
    """`minimize` on a list of parameters takes the steps of ``backward`` and `apply_gradients`."""
    by_hand, minimized = new_model(), new_model()
    x = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(10, 2)
    first, second = Adamax(0.02), Adamax(0.02)
    for _ in range(5):
        by_hand.zero_grad()
        (by_hand(x) ** 2).mean().backward()
        first.apply_gradients([(p.grad, p) for p in by_hand.parameters()])
        second.minimize(lambda: (minimized(x) ** 2).mean(), minimized.parameters())
    for a, b in zip(by_hand.parameters(), minimized.parameters(), strict=True):
        assert torch.equal(a, b)


def test_habits_of_torch_are_told_what_to_write() -> None:
    """Parameters in the constructor, `step` and `zero_grad` are errors that show the way."""
    model = new_model()
    with pytest.raises(TypeError, match="apply_gradients"):
        Adamax(model.parameters(), lr=0.01)
    for habit in ("step", "zero_grad"):
        with pytest.raises((AttributeError, TypeError), match="gradients"):
            getattr(Adamax(), habit)()
