"""Losses composed at random, of arrays of random shapes, held against central differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
from agreement import central_differences, whole
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adamax import Variable
from adamax_adapters.gradients import value_and_gradients

Array = Any
Expression = Callable[[Any, list[Array]], Array]
Grow = Callable[[st.DrawFn, Expression, tuple[int, ...]], tuple[Expression, tuple[int, ...]]]
"""What makes a larger expression of one whose result has a shape that is known."""

ELEMENTWISE = "exp tanh sin cos square atan negative expm1 abs asinh".split()
BINARY = "add subtract multiply maximum minimum atan2 logaddexp hypot".split()
REDUCTIONS = "sum mean max min var".split()
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)


def elementwise(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    name, factor = draw(st.sampled_from(ELEMENTWISE)), draw(st.sampled_from([0.7, -0.4]))
    return lambda xp, v: getattr(xp, name)(x(xp, v) * factor), shape


def powered(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    exponent = draw(st.sampled_from([0, 1, 2, 3, 0.5, -1.0]))
    return lambda xp, v: (xp.abs(x(xp, v)) + 0.5) ** exponent, shape


def clipped(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    low = draw(st.sampled_from([None, -0.31]))
    return lambda xp, v: xp.clip(x(xp, v), low, 0.83), shape


def chosen(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    other = draw(st.sampled_from([0.0, 1.5]))
    return lambda xp, v: xp.where(x(xp, v) > 0.41, x(xp, v), other), shape


def reduced(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    if not shape:
        return x, shape
    axis = draw(st.none() | arrays.valid_tuple_axes(len(shape), min_size=1))
    keepdims, name = draw(st.booleans()), draw(st.sampled_from(REDUCTIONS))
    result = np.sum(np.zeros(shape), axis=axis, keepdims=keepdims).shape
    return lambda xp, v: getattr(xp, name)(x(xp, v), axis=axis, keepdims=keepdims), result


def indexed(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    key = draw(arrays.basic_indices(shape, allow_newaxis=True, max_dims=3))
    return lambda xp, v: x(xp, v)[key], np.zeros(shape)[key].shape


def taken(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    if not shape:
        return x, shape
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    indices = draw(
        arrays.arrays(np.int64, st.integers(1, 4), elements=st.integers(0, shape[axis] - 1))
    )
    result = np.take(np.zeros(shape), indices, axis=axis).shape
    return lambda xp, v: xp.take(x(xp, v), indices, axis=axis), result


def moved(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    axes = draw(st.permutations(range(len(shape))))
    return lambda xp, v: xp.permute_dims(x(xp, v), tuple(axes)), tuple(shape[i] for i in axes)


def reshaped(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    size = int(np.prod(shape))
    result = draw(st.sampled_from([(size,), (1, size), (size, 1), (-1,)]))
    return lambda xp, v: xp.reshape(x(xp, v), result), (size,) if result == (-1,) else result


def flipped(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    shift = draw(st.integers(-2, 2))
    return lambda xp, v: xp.roll(xp.flip(x(xp, v)), shift), shape


def joined(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    if not shape:
        return lambda xp, v: xp.stack([x(xp, v), x(xp, v) ** 2]), (2,)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    result = np.concatenate([np.zeros(shape)] * 2, axis=axis).shape
    return lambda xp, v: xp.concat([x(xp, v), 2.0 * x(xp, v)], axis=axis), result


def multiplied(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    if not shape:
        return x, shape
    columns = draw(st.integers(1, 2))
    matrix = np.linspace(-1.0, 1.0, shape[-1] * columns).reshape(shape[-1], columns)
    return lambda xp, v: xp.matmul(x(xp, v), matrix), (*shape[:-1], columns)


def squared(draw: st.DrawFn, x: Expression, shape: Any) -> Any:
    if len(shape) < 2:
        return x, shape
    result = (*shape[:-2], shape[-2], shape[-2])
    return lambda xp, v: x(xp, v) @ xp.matrix_transpose(x(xp, v)), result


GROWTH: list[Grow] = [
    chosen,
    clipped,
    elementwise,
    flipped,
    indexed,
    joined,
    moved,
    multiplied,
    powered,
    reduced,
    reshaped,
    squared,
    taken,
]


@st.composite
def losses(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], Expression]:
    """Return shapes that broadcast, and a function of the namespace and arrays of these shapes."""
    shapes = draw(arrays.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3))

    def grown(x: Expression, shape: tuple[int, ...]) -> tuple[Expression, tuple[int, ...]]:
        for grow in draw(st.lists(st.sampled_from(GROWTH), max_size=3)):
            if np.prod(shape) == 0 or np.prod(shape) > 60:
                break
            x, shape = grow(draw, x, shape)
        return x, shape

    total, shape = grown(lambda xp, v: v[0], shapes.input_shapes[0])
    for i in (1, 2):
        other, other_shape = grown(lambda xp, v, i=i: v[i], shapes.input_shapes[i])  # type: ignore[misc]
        try:
            shape = np.broadcast_shapes(shape, other_shape)
        except ValueError:
            continue
        name = draw(st.sampled_from(BINARY))
        total = combined(name, total, other)
    total, _ = grown(total, shape)
    return list(shapes.input_shapes), total


def combined(name: str, a: Expression, b: Expression) -> Expression:
    return lambda xp, v: getattr(xp, name)(a(xp, v), b(xp, v))


@given(losses(), st.integers(0, 2**32 - 1))
def test_random_losses(made: tuple[list[tuple[int, ...]], Expression], seed: int) -> None:
    """Any composition of functions, of any shapes, has the gradient of central differences."""
    shapes, expression = made
    rng = np.random.default_rng(seed)
    variables = [Variable(rng.uniform(0.2, 1.2, size=shape)) for shape in shapes]

    def loss() -> Array:
        xp = variables[0].__array_namespace__()
        return xp.sum(xp.tanh(0.3 * expression(xp, [v.value for v in variables])))

    _, gradients = value_and_gradients(loss, variables, engine="tape")
    differences = central_differences(loss, variables)
    for gradient, variable, expected in zip(gradients, variables, differences, strict=True):
        np.testing.assert_allclose(whole(gradient, variable), expected, rtol=1e-5, atol=1e-7)
