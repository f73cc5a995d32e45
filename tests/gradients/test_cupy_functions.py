"""CuPy's own functions in losses: those that can be traced are, the others are refused by name."""

import operator
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from any_cupy import FAKE, cupy, fake

from adamax import Variable, check_gradients
from adamax_adapters.gradients import value_and_gradients

__all__ = ["cupy"]  # a fixture

Array = Any
Loss = Callable[[Any, Any, Any, Any], Array]

LOSSES: dict[str, Loss] = {
    "network": lambda cp, w, b, x: cp.mean((cp.tanh(x @ w + b) - 0.5) ** 2),
    "logistic": lambda cp, w, b, x: cp.mean(cp.log1p(cp.exp(-(x @ w) * b))),
    "relu": lambda cp, w, b, x: cp.sum(cp.maximum(x @ w + b, 0.0)),
    "where": lambda cp, w, b, x: cp.sum(cp.where(w > b, cp.square(w - b), 2.0 * b)),
    "where of variables": lambda cp, w, b, x: cp.sum(cp.where(w, w, b)),
    "clip": lambda cp, w, b, x: cp.sum(cp.clip(w, -0.5, 0.5) * b),
    "clip between variables": lambda cp, w, b, x: cp.sum(cp.clip(x[:, :3], b - 0.5, b + 0.5)),
    "logaddexp": lambda cp, w, b, x: cp.sum(cp.logaddexp(w, b)),
    "log-softmax": lambda cp, w, b, x: cp.sum(
        (x @ w - cp.log(cp.sum(cp.exp(x @ w), axis=1, keepdims=True)))[:, 0]
    ),
    "largest": lambda cp, w, b, x: cp.max(w) + cp.sum(cp.amax(w, axis=1)) * cp.min(b),
    "spread": lambda cp, w, b, x: cp.std(w) + cp.sum(cp.var(w, axis=0, ddof=1)) * cp.mean(b),
    "dot": lambda cp, w, b, x: cp.sum(cp.dot(w, b)) * cp.dot(b, b),
    "shapes": lambda cp, w, b, x: cp.sum(
        cp.reshape(cp.transpose(w), (4, 3)) @ b * cp.ravel(cp.squeeze(w[:, :1]))
    ),
    "swapped axes": lambda cp, w, b, x: cp.sum(cp.sin(cp.swapaxes(w, 0, 1)) @ (w @ b)),
    "positions": lambda cp, w, b, x: cp.sum(w * cp.argmax(w) + cp.argmin(w, axis=0)),
    "take": lambda cp, w, b, x: cp.sum(cp.take(w, cp.asarray([0, 2, 0]), axis=0) * b),
    "norm": lambda cp, w, b, x: cp.linalg.norm(w) + 0.1 * cp.linalg.norm(b),
    "powers": lambda cp, w, b, x: cp.sum(cp.power(cp.abs(w) + 1.0, b) + cp.sqrt(cp.exp(w))),
    "trigonometry": lambda cp, w, b, x: cp.sum(cp.arctan2(cp.sin(w), 2.0 + cp.cos(b))),
    "hypot": lambda cp, w, b, x: cp.sum(cp.hypot(w, b) / cp.cosh(b) - cp.expm1(-w)),
    "comparisons": lambda cp, w, b, x: cp.sum(cp.multiply(w, cp.greater(w, b) & (w < 1))),
    "numpy's names": lambda cp, w, b, x: np.sum(np.concatenate([w, w * w]) @ np.tanh(b)),
    "numpy's matmul": lambda cp, w, b, x: np.mean(np.matmul(x, w)) + np.sum(np.cumsum(b) * b),
    "an array first": lambda cp, w, b, x: cp.sum(cp.add(x[0, :3], cp.subtract(1.0, b)) * w),
}


def variables(cp: Any) -> tuple[Any, Any, Any]:
    """Return two variables, and data that goes with them."""
    rng = np.random.default_rng(3)
    w, b = (Variable(cp.asarray(rng.normal(size=n)), name=f"x{n}") for n in ((4, 3), 3))
    return w, b, cp.asarray(rng.normal(size=(5, 4)))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_in_functions_of_cupy_have_right_gradients(name: str, cupy: Any) -> None:
    """Functions of CuPy, called as on its pages, give the gradients of central differences."""
    w, b, x = variables(cupy)
    check_gradients(lambda: LOSSES[name](cupy, w, b, x), [w, b])
    check_gradients(lambda: LOSSES[name](cupy, 1.0 * w, b.value, x), [w, b])


@pytest.mark.parametrize("name", ["tanh", "exp", "absolute", "log1p", "sum", "mean", "max", "std"])
def test_variables_are_arrays_to_functions(name: str, cupy: Any) -> None:
    """Outside a loss, too, a function of a variable is that of its value."""
    w, _, _ = variables(cupy)
    w.assign(abs(w))
    found = getattr(cupy, name)(w)
    assert type(found) is cupy.ndarray
    np.testing.assert_array_equal(found.get(), getattr(cupy, name)(w.value).get())
    np.testing.assert_allclose(found.get(), getattr(np, name)(w.numpy()))
    np.testing.assert_array_equal(cupy.add(w.value, w).get(), 2 * w.numpy())


REFUSED: dict[str, tuple[Loss, str]] = {
    "matmul": (lambda cp, w, b, x: cp.matmul(x, w), "use @ or numpy.matmul"),
    "concatenate": (lambda cp, w, b, x: cp.concatenate([w, w]), "use numpy.concatenate"),
    "stack": (lambda cp, w, b, x: cp.stack([w, w]), "use numpy.stack"),
    "vstack": (lambda cp, w, b, x: cp.vstack([w, w]), "such as @"),
    "einsum": (lambda cp, w, b, x: cp.einsum("ij,j->i", w, b), "such as @"),
    "tensordot": (lambda cp, w, b, x: cp.tensordot(w, b, axes=1), "such as @"),
    "inner": (lambda cp, w, b, x: cp.inner(w, b), "such as @"),
    "dot": (lambda cp, w, b, x: cp.dot(x, w), "use numpy.dot"),
    "cumsum": (lambda cp, w, b, x: cp.cumsum(b), "use numpy.cumsum"),
    "expand_dims": (lambda cp, w, b, x: cp.expand_dims(b, 0), "use numpy.expand_dims"),
    "broadcast_to": (lambda cp, w, b, x: cp.broadcast_to(b, (4, 3)), "use numpy.broadcast_to"),
    "moveaxis": (lambda cp, w, b, x: cp.moveaxis(w, 0, 1), "use numpy.moveaxis"),
    "nansum": (lambda cp, w, b, x: cp.nansum(w), "such as @"),
    "all": (lambda cp, w, b, x: w * cp.all(w), "use numpy.all"),
    "zeros_like": (lambda cp, w, b, x: w + cp.zeros_like(w), "use numpy.zeros_like"),
    "asarray": (lambda cp, w, b, x: cp.asarray(w), "such as @"),
    "__setitem__": (lambda cp, w, b, x: x.__setitem__(0, w), "such as @"),
}


@pytest.mark.parametrize("inside", ["a Variable", "its value", "what depends on it"])
@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_cannot_be_traced_are_refused_by_name(
    name: str, inside: str, cupy: Any
) -> None:
    """The error names the function of CuPy and a way that works; CuPy's own is its cause."""
    w, b, x = variables(cupy)
    call, advice = REFUSED[name]

    def loss() -> Array:
        parts = {"a Variable": (w, b), "its value": (w.value, b.value)}
        return cupy.sum(call(cupy, *parts.get(inside, (1.0 * w, 1.0 * b)), x))

    with pytest.raises(TypeError, match=rf"cupy\.{name}: .*{advice}") as caught:
        value_and_gradients(loss, [w, b])
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("name", [name for name in REFUSED if "numpy" in REFUSED[name][1]])
def test_the_advised_functions_of_numpy_work(name: str, cupy: Any) -> None:
    """What the error advises, with the same arguments, has the right gradient."""
    w, b, x = variables(cupy)
    check_gradients(lambda: np.sum(np.sin(REFUSED[name][0](np, w, b, x))), [w, b])


UNTRACED: dict[str, tuple[Loss, str]] = {
    "no rule": (lambda cp, w, b, x: cp.cbrt(w), "cbrt"),
    "a kernel": (
        lambda cp, w, b, x: cp.ElementwiseKernel("T x", "T y", "y = 2 * x", "own")(w),
        "the kernel own",
    ),
    "out by name": (lambda cp, w, b, x: cp.tanh(b, out=x[0, :3]), "tanh with out"),
    "out by position": (lambda cp, w, b, x: cp.add(b, b, x[0, :3]), "add with out"),
    "out of a method": (lambda cp, w, b, x: cp.sum(w, 0, out=x[0, :3]), "sum in a way .*out"),
    "out of a product": (lambda cp, w, b, x: cp.dot(b, b, out=x[0, 0]), "dot with out"),
    "an option": (lambda cp, w, b, x: cp.add(b, 1.0, dtype="float32"), "add with dtype"),
    "a product": (lambda cp, w, b, x: cp.prod(w), "prod"),
}


@pytest.mark.parametrize("name", UNTRACED)
def test_calls_without_a_rule_are_refused_by_name(name: str, cupy: Any) -> None:
    """Kernels of the user's own, options and outputs have no derivative, and the error says so."""
    w, b, x = variables(cupy)
    call, what = UNTRACED[name]
    with pytest.raises(NotImplementedError, match=what):
        value_and_gradients(lambda: cupy.sum(call(cupy, w.value, b.value, x)), [w, b])


@pytest.mark.parametrize("by", ["name", "position"])
def test_a_variable_is_not_written_to(by: str, cupy: Any) -> None:
    """A variable as the output of a function is an error before anything is written."""
    w, b, _ = variables(cupy)
    before = b.numpy()
    out = {"out": b} if by == "name" else {}

    def loss() -> Array:
        return cupy.sum(cupy.add(1.0 * b, b, *([] if out else [b.value]), **out))

    with pytest.raises(RuntimeError, match="no assignment to a variable inside a loss"):
        value_and_gradients(loss, [w, b])
    np.testing.assert_array_equal(b.numpy(), before)


@pytest.mark.parametrize(
    ("loss", "error", "text"),
    [
        (lambda cp, w: cp.sum(w @ w), ValueError, "matmul"),
        (lambda cp, w: cp.sum(w, axis=5), ValueError, "axis 5"),
        (lambda cp, w: cp.sum(w, axis="rows"), TypeError, "integer"),
        (lambda cp, w: cp.sum(w) + None, TypeError, "NoneType"),
        (lambda cp, w: cp.where(w > 0, w), ValueError, "Must provide both"),
        (lambda cp, w: w.no_such_method(), AttributeError, "no_such_method"),
    ],
)
def test_other_errors_of_a_loss_stay_as_they_are(
    loss: Any, error: type[Exception], text: str, cupy: Any
) -> None:
    """Mistakes that have nothing to do with tracing are not explained away."""
    w, _, _ = variables(cupy)
    with pytest.raises(error, match=text) as caught:
        value_and_gradients(lambda: loss(cupy, w.value), [w])
    assert caught.value.__cause__ is None


class Seen(BaseException):
    """What a function has asked an argument for."""


class Probe:
    """An argument that stops at the first question of a function, and says what it was."""

    shape, ndim, size = (2, 3), 2, 6
    dtype = np.dtype(float)

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        raise Seen("kernel", kernel.name, kernel.nin, len(args), kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        raise Seen("numpy", ufunc, method, [arg is self for arg in args], kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise Seen("array")

    def __mul__(self, other: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "flags":
            raise AttributeError(f"no {name}")

        def method(*args: Any, **kwargs: Any) -> Any:
            raise Seen("method", name, args, kwargs)

        return method


def asked(function: Any, args: Any) -> Any:
    """Return what a function asks of its arguments, or how it refuses them."""
    try:
        function(*args)
    except Seen as seen:
        return seen.args
    except (AttributeError, TypeError) as error:
        return type(error), str(error)
    except RuntimeError as error:
        return "device" if "cudaError" in str(error) else error
    raise AssertionError("the function has not looked at its argument")


ARGUMENTS: dict[str, Any] = {
    "array_split": lambda p: (p, 2),
    "broadcast_to": lambda p: (p, (2, 3)),
    "clip": lambda p: (p, 0, 1),
    "concatenate": lambda p: ([p, p],),
    "dot": lambda p: (p, 1),
    "dstack": lambda p: ([p, p],),
    "einsum": lambda p: ("ij->i", p),
    "expand_dims": lambda p: (p, 0),
    "hstack": lambda p: ([p, p],),
    "inner": lambda p: (p, p),
    "matmul": lambda p: (p, p),
    "moveaxis": lambda p: (p, 0, 1),
    "repeat": lambda p: (p, 2),
    "reshape": lambda p: (p, (3, 2)),
    "rollaxis": lambda p: (p, 1),
    "split": lambda p: (p, 2),
    "stack": lambda p: ([p, p],),
    "swapaxes": lambda p: (p, 0, 1),
    "take": lambda p: (p, 0),
    "tensordot": lambda p: (p, p),
    "vdot": lambda p: (p, p),
    "vstack": lambda p: ([p, p],),
    "where": lambda p: (p, 1, 2),
}
NAMES = [*fake(FAKE).FUNCTIONS.keys() - fake(FAKE).CREATION.keys(), "asarray", "zeros_like"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_fake_asks_what_the_wheel_asks(name: str) -> None:
    """Each function of the fake calls, or refuses, an object exactly as the real CuPy does."""
    wheel = pytest.importorskip("cupy")
    functions = [getattr(module, name) for module in (fake(FAKE), wheel)]
    if name in fake(FAKE).UFUNCS:
        assert functions[0].nin == functions[1].nin
    arguments = ARGUMENTS.get(name, lambda p: (1.0,) * (getattr(functions[0], "nin", 1) - 1) + (p,))
    answers = [asked(function, arguments(Probe())) for function in functions]
    if answers[1] == "device":  # which it looks for first, where it would convert
        assert answers[0] in (("array",), (TypeError, f"Unsupported type {Probe}"))
    else:
        assert answers[0] == answers[1]


@pytest.mark.parametrize("name", "add sub mul truediv floordiv mod pow matmul gt lt".split())
def test_operators_of_the_fake_hand_over_as_those_of_the_wheel(name: str) -> None:
    """An array of CuPy's on the left calls NumPy's function, which asks what is on the right."""
    pytest.importorskip("cupy")
    as_cupy = import_module("emulated_cupy").as_cupy
    answers = [
        asked(getattr(operator, name), (array, Probe()))
        for array in (fake(FAKE).ndarray(np.ones(2)), as_cupy(np.ones(2)))
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == "numpy"


def test_the_wheel_does_not_broadcast_what_it_does_not_know() -> None:
    """CuPy's broadcast_arrays cannot be hooked and does not refuse, as its page warns."""
    wheel = pytest.importorskip("cupy")
    probe = Probe()
    assert wheel.broadcast_arrays(probe, 1.0)[0] is probe
