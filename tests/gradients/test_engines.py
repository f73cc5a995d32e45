"""Engines against each other, on every library that is installed, and what all of them share.

The session `libraries` has JAX and torch; without them their part is skipped.
"""

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import array_api_strict
import fake_device
import numpy as np
import pytest
from agreement import assert_close, central_differences, whole
from libraries import Usage
from losses import BEYOND_AUTOGRAD, CASES

from adamax import Adamax, IndexedSlices, Variable, check_gradients
from adamax_adapters.gradients import EngineName, value_and_gradients

Array = Any

needs_jax = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")
needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")


@pytest.fixture
def jax() -> Iterator[Any]:
    """Return JAX with float64, which it has to be told to have."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(True):
        yield jax


def in_jax(x: Array) -> Array:
    from jax import numpy as jnp

    return jnp.asarray(x)


def in_torch(x: Array) -> Array:
    import torch

    return torch.asarray(x)


Engine = tuple[EngineName, Callable[[Array], Array]]
ENGINES: dict[str, Engine] = {
    "tape on NumPy": ("tape", np.asarray),
    "autograd on NumPy": ("autograd", np.asarray),
    "tape on the standard": ("tape", array_api_strict.asarray),
    "tape on a device": ("tape", fake_device.namespace.asarray),
}
JAX_ENGINES: dict[str, Engine] = {"tape on JAX": ("tape", in_jax), "jax": ("jax", in_jax)}
TORCH_ENGINES: dict[str, Engine] = {
    "tape on torch": ("tape", in_torch),
    "torch": ("torch", in_torch),
}


def gradients_of(name: str, engine: Engine) -> tuple[float, list[Array]]:
    """Return value and gradients of a case as NumPy's."""
    variables, loss = CASES[name](engine[1], np.random.default_rng(5))
    value, gradients = value_and_gradients(loss, variables, engine=engine[0])
    return float(value), [whole(g, v) for g, v in zip(gradients, variables, strict=True)]


def assert_all_agree(name: str, engines: dict[str, Engine]) -> None:
    """Hold every pair of engines that support a loss to each other."""
    found = {
        engine: gradients_of(name, how)
        for engine, how in engines.items()
        if engine != "autograd on NumPy" or name not in BEYOND_AUTOGRAD
    }
    for value, gradients in found.values():
        for other_value, expected in found.values():
            assert value == pytest.approx(other_value, rel=1e-12)
            assert_close(gradients, expected, 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_engines_agree(name: str) -> None:
    """Value and gradients are the same from tape and autograd, on three libraries."""
    assert_all_agree(name, ENGINES)


@needs_jax
@needs_torch
@pytest.mark.feature("gradients", usage=Usage.JAX)
@pytest.mark.feature("gradients", usage=Usage.TORCH_32)
@pytest.mark.parametrize("name", CASES)
def test_engines_of_jax_and_torch_agree(name: str, jax: Any) -> None:
    """So are those of JAX and torch, pairwise with all others, and of the tape on their arrays."""
    assert_all_agree(name, ENGINES | JAX_ENGINES | TORCH_ENGINES)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_jax_itself(name: str, jax: Any) -> None:
    """The tape on NumPy has the gradients of jax.grad, called as its users call it."""
    variables, loss = CASES[name](in_jax, np.random.default_rng(5))

    def of_values(values: list[Array]) -> Array:
        for variable, value in zip(variables, values, strict=True):
            variable.held = value
        return loss()

    start = [variable.value for variable in variables]
    expected = jax.grad(of_values)(start)
    of_values(start)
    _, found = gradients_of(name, ENGINES["tape on NumPy"])
    assert_close(found, [np.asarray(gradient) for gradient in expected], 1e-10)
    on_numpy, numpy_loss = CASES[name](np.asarray, np.random.default_rng(5))
    differences = central_differences(numpy_loss, on_numpy)
    assert_close([np.asarray(gradient) for gradient in expected], differences, 1e-6)


def test_few_losses_are_beyond_autograd() -> None:
    """Each that is has its reason, and really is beyond it."""
    assert len(BEYOND_AUTOGRAD) <= 5
    for name, reason in BEYOND_AUTOGRAD.items():
        assert reason
        try:
            _, gradients = gradients_of(name, ENGINES["autograd on NumPy"])
        except (KeyError, NotImplementedError, TypeError):
            continue
        _, expected = gradients_of(name, ENGINES["tape on NumPy"])
        with pytest.raises(AssertionError):
            assert_close(gradients, expected, 1e-10)


EVERY_ENGINE = [
    pytest.param(*ENGINES["tape on NumPy"], id="tape"),
    pytest.param(*ENGINES["autograd on NumPy"], id="autograd"),
    pytest.param(*JAX_ENGINES["jax"], id="jax", marks=needs_jax),
    pytest.param(*TORCH_ENGINES["torch"], id="torch", marks=needs_torch),
]
each_engine = pytest.mark.parametrize(("engine", "asarray"), EVERY_ENGINE)


@each_engine
def test_loss_is_called_once(engine: EngineName, asarray: Any) -> None:
    """No engine calls the loss twice, and a variable given twice has its gradient twice."""
    w, calls = Variable(asarray(np.ones(2, np.float32))), []

    def loss() -> Array:
        calls.append(1)
        return (w.value * w.value).sum()

    value, gradients = value_and_gradients(loss, [w, w], engine=engine)
    assert calls == [1]
    assert float(value) == 2.0
    for gradient in gradients:
        assert gradient.dtype == w.dtype
        np.testing.assert_array_equal(whole(gradient, w), [2.0, 2.0])


@each_engine
def test_variables_that_are_not_read_have_no_gradient(engine: EngineName, asarray: Any) -> None:
    """Unused variables, and those of whole numbers, have None; constants have no gradient."""
    w, unused = Variable(asarray(np.ones(2, np.float32))), Variable(asarray(np.ones(1)))
    rows = Variable(asarray(np.array([1, 0], np.int32)))
    _, gradients = value_and_gradients(
        lambda: (w.value[rows.value] * 3).sum(), [w, unused, rows], engine=engine
    )
    np.testing.assert_array_equal(whole(gradients[0], w), [3.0, 3.0])
    assert gradients[1:] == [None, None]
    assert value_and_gradients(lambda: 3.0, [w], engine=engine) == (3.0, [None])


@each_engine
def test_given_gradients_are_taken_as_they_are(engine: EngineName, asarray: Any) -> None:
    """A pair is returned without what the engine attached to it, nested as it was."""
    w = Variable(asarray(np.array([1.0, 2.0], np.float32)))
    table = Variable(asarray(np.ones((3, 1), np.float32)))

    def loss() -> Any:
        x = w.value * 2
        rows = IndexedSlices(x[:1, None], asarray(np.array([2])))
        return x.sum(), {"w": [x, None], "table": rows}

    tree = {"w": [w, Variable(asarray(np.ones(1)))], "table": table}
    value, (rows, gradient, none) = value_and_gradients(loss, tree, engine=engine)
    assert none is None
    assert type(value + 0) is type(asarray(np.float32(1.0)).sum() + 0)
    for array, expected in ((gradient, [2.0, 4.0]), (rows.values, [[2.0]])):
        assert type(array) is type(w.value)
        assert not getattr(array, "requires_grad", False)
        np.testing.assert_array_equal(np.asarray(array), expected)


@each_engine
def test_grad_loss_reaches_every_engine(engine: EngineName, asarray: Any) -> None:
    """The elements of a loss are weighed whatever differentiates it."""
    w = Variable(asarray(np.array([1.0, 2.0], np.float32)))
    weights = asarray(np.array([42.0, -42.0], np.float32))
    _, (gradient,) = value_and_gradients(
        lambda: w.value * 5.0, [w], engine=engine, grad_loss=weights
    )
    np.testing.assert_array_equal(whole(gradient, w), [210.0, -210.0])


@each_engine
def test_variables_survive_any_exception(engine: EngineName, asarray: Any) -> None:
    """Whatever the loss raises, or if it differentiates itself, the variable is as it was."""
    w = Variable(asarray(np.ones(2, np.float32)))
    before = w.value

    def interrupted() -> Array:
        _ = w * 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        value_and_gradients(interrupted, [w], engine=engine)
    with pytest.raises(RuntimeError, match="inside a loss"):
        value_and_gradients(
            lambda: value_and_gradients(lambda: (w.value * 2).sum(), [w], engine=engine)[0],
            [w],
            engine=engine,
        )
    assert w.value is before


@each_engine
def test_minimize_with_every_engine(engine: EngineName, asarray: Any) -> None:
    """The engine is named in minimize, and a callable may give the variables."""
    rng = np.random.default_rng(0)
    x, slope = asarray(rng.normal(size=(20, 3))), asarray(np.array([1.0, -2.0, 3.0]))
    w = Variable(asarray(np.zeros(3)))
    optimizer = Adamax(0.1)
    for _ in range(200):
        optimizer.minimize(
            lambda: ((x @ (w.value - slope)) ** 2).mean(), lambda: [w], engine=engine
        )
    np.testing.assert_allclose(w.numpy(), [1.0, -2.0, 3.0], atol=0.05)


def test_autograd_refuses_what_it_would_take_for_a_constant() -> None:
    """A Variable to the right of a box is an error, not a gradient that is silently wrong."""
    v, w = Variable(np.ones(2)), Variable(np.ones(2))
    with pytest.raises(TypeError, match=r"write v\.value"):
        value_and_gradients(lambda: np.sum(v.value * w), [v, w], engine="autograd")


def test_engine_may_be_a_callable() -> None:
    """An engine of one's own is given the loss and the variables, and what it returns is taken."""
    w, x = Variable(np.ones(2)), np.ones(2)
    optimizer = Adamax(learning_rate=0.5, epsilon=0)

    def engine(loss: Callable[[], Any], variables: list[Any]) -> tuple[Any, list[Array]]:
        return loss(), [np.full(v.shape, 7.0) for v in variables]

    optimizer.minimize(lambda: np.sum(w * w), {"x": x, "w": [w]}, engine=engine)
    np.testing.assert_allclose([w.value, x], [[0.5, 0.5], [0.5, 0.5]])


def test_unknown_engine_is_told() -> None:
    """The error lists the engines that there are."""
    w, engine = Variable(np.ones(2)), "magic"
    with pytest.raises(ValueError, match=r"Expected one of autograd, jax, .* received 'magic'"):
        value_and_gradients(lambda: np.sum(w * w), [w], engine=engine)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["autograd", "jax", "torch"])
def test_missing_library_of_an_engine_is_told(
    engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine whose library is not installed says how to install it."""
    monkeypatch.setitem(sys.modules, engine, None)
    monkeypatch.delitem(sys.modules, f"adamax_adapters.gradients.{engine}", raising=False)
    w = Variable(np.ones(2))
    with pytest.raises(ModuleNotFoundError, match=rf"'\.\[{engine}\]'"):
        value_and_gradients(lambda: np.sum(w * w), [w], engine=engine)


def chosen_engine(variables: list[Any], read: Variable) -> str:
    """Return the engine of the default, by the values that a loss gets from it."""
    seen: list[str] = []

    def loss() -> Array:
        seen.append(type(read.value).__module__.partition(".")[0])
        return read.value

    value_and_gradients(loss, variables)
    return "tape" if seen == ["adamax_adapters"] else seen[0]


def test_default_engine_is_the_tape() -> None:
    """Arrays of a library without derivatives go to the tape."""
    for asarray in (np.asarray, array_api_strict.asarray, fake_device.namespace.asarray):
        w = Variable(asarray(np.ones(1)))
        assert chosen_engine([w], w) == "tape"
        assert chosen_engine([], w) == "tape"


@needs_jax
@needs_torch
def test_default_engine_is_the_librarys_own() -> None:
    """Variables of JAX go to JAX and of torch to torch; mixed ones to the tape."""
    numpy, jax, torch = (Variable(f(np.ones(1))) for f in (np.asarray, in_jax, in_torch))
    assert chosen_engine([jax, jax], jax) == "jax"
    assert chosen_engine([torch, in_torch(np.ones(1))], torch) == "torch"
    assert chosen_engine([torch, numpy], torch) == "tape"
    assert chosen_engine([torch, jax], jax) == "tape"


def test_jax_differentiates_only_what_it_is_asked_to(jax: Any) -> None:
    """A loss of JAX that returns its gradients may hold what has no reverse mode."""
    w = Variable(in_jax(np.ones(2)))

    def loss() -> Any:
        x = jax.lax.while_loop(lambda x: x[0] < 10.0, lambda x: x * 2.0, w.value)
        return x.sum(), [x]

    value, (gradient,) = value_and_gradients(loss, [w])
    assert float(value) == 32.0
    np.testing.assert_array_equal(np.asarray(gradient), [16.0, 16.0])


@needs_torch
def test_parameters_of_torch_are_minimised_over() -> None:
    """A tensor that requires a gradient needs no Variable; other tensors have no gradient."""
    import torch

    parameter = torch.nn.Parameter(torch.ones(2))
    constant, w = torch.ones(2), Variable(torch.ones(2))
    with torch.no_grad():
        value, gradients = value_and_gradients(
            lambda: (parameter * constant * 3 + w * 2).sum(), [parameter, constant, w]
        )
    assert not value.requires_grad
    assert gradients[1] is None
    np.testing.assert_array_equal(np.asarray(gradients[0]), [3.0, 3.0])
    np.testing.assert_array_equal(np.asarray(gradients[2]), [2.0, 2.0])
    Adamax(0.5, epsilon=0.0).minimize(lambda: parameter.sum(), [parameter])
    np.testing.assert_allclose(parameter.detach().numpy(), [0.5, 0.5])
    with pytest.raises(TypeError, match="wrap them in Variable"):
        value_and_gradients(lambda: w.value * 2, [parameter, w], engine="tape")


@needs_torch
@pytest.mark.parametrize("call", ["std", "transpose", "sum"])
def test_tape_refuses_methods_of_torch(call: str) -> None:
    """torch's methods are not the standard's functions of the same name: std is of n - 1, say."""
    w = Variable(in_torch(np.arange(6.0).reshape(2, 3)))
    arguments = (0, 1) if call == "transpose" else ()
    with pytest.raises(NotImplementedError, match=f"calls Tensor.{call}"):
        value_and_gradients(lambda: getattr(w.value, call)(*arguments) * 2, [w], engine="tape")


def test_gradients_are_checked_with_jax(jax: Any) -> None:
    """check_gradients asks JAX's engine of JAX's variables, and needs its float64."""
    w = Variable(in_jax(np.array([1.0, 2.0], np.float32)), name="w")
    check_gradients(lambda: (w.value**3).sum(), [w])
    with pytest.raises(AssertionError, match=r"Expected 3 .* received gradient 0, for w at \(0,\)"):
        check_gradients(lambda: (jax.lax.stop_gradient(w.value) ** 3).sum(), [w])
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        check_gradients(lambda: (w.value**3).sum(), [w])
    assert w.dtype == np.float32


@needs_torch
def test_gradients_are_checked_with_torch() -> None:
    """check_gradients asks torch's engine of torch's variables."""
    w = Variable(in_torch(np.array([1.0, 2.0], np.float32)), name="w")
    check_gradients(lambda: (w.value**3).sum(), [w])
    with pytest.raises(AssertionError, match=r"Expected 3 .* received gradient 0, for w at \(0,\)"):
        check_gradients(lambda: (w.value.detach() ** 3).sum(), [w])
