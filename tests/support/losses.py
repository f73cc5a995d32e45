"""Losses as users write them, each on variables and constants of any array library.

A case is a function ``make(asarray, rng) -> (variables, loss)``. The loss finds the functions it
calls in the namespace of its variables at the time it runs: the engines differ in what that is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from adamax import Variable

Array = Any
Case = Callable[[Any, Any], tuple[list[Variable], Callable[[], Array]]]

CASES: dict[str, Case] = {}
BEYOND_AUTOGRAD: dict[str, str] = {}
"""Why HIPS autograd cannot be asked for the gradients of a case."""


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def beyond_autograd(reason: str) -> Callable[[Case], Case]:
    def mark(function: Case) -> Case:
        BEYOND_AUTOGRAD[function.__name__] = reason
        return case(function)

    return mark


def normals(asarray: Any, rng: Any, *shapes: tuple[int, ...]) -> list[Variable]:
    return [
        Variable(asarray(rng.normal(size=shape)), name=f"x{i}") for i, shape in enumerate(shapes)
    ]


def log_softmax(z: Array) -> Array:
    xp = array_namespace(z)
    z = z - xp.max(z, axis=-1, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))


def matmul(a: Array, b: Variable) -> Array:
    """Return a @ b, in the order that libraries which refuse other types on their right accept."""
    return array_namespace(b).matmul(a, b.value)


def take(table: Variable, indices: Array, axis: int = 0) -> Array:
    """Return rows or columns of a table; autograd has a derivative of indexing, but not of take."""
    xp = array_namespace(table)
    if xp.__name__.startswith("autograd"):
        return table.value[(slice(None),) * axis + (indices,)]
    return xp.take(table.value, indices, axis=axis)


def cross_entropy(logits: Array, labels: Array) -> Array:
    xp = array_namespace(logits)
    classes = xp.arange(logits.shape[1], dtype=labels.dtype, device=device(labels))
    is_label = classes == labels[:, None]
    return -xp.sum(xp.where(is_label, log_softmax(logits), 0.0)) / logits.shape[0]


@case
def linear_regression(asarray: Any, rng: Any) -> Any:
    w, b = normals(asarray, rng, (3, 1), (1,))
    x, y = asarray(rng.normal(size=(7, 3))), asarray(rng.normal(size=(7, 1)))
    return [w, b], lambda: array_namespace(w).mean((matmul(x, w) + b.value - y) ** 2)


@case
def logistic_regression(asarray: Any, rng: Any) -> Any:
    w, b = normals(asarray, rng, (4,), ())
    x, y = asarray(rng.normal(size=(9, 4))), asarray((rng.random(9) < 0.5) * 2.0 - 1.0)

    def loss() -> Array:
        xp = array_namespace(w)
        return xp.mean(xp.logaddexp(xp.zeros_like(y), (matmul(x, w) + b.value) * -y))

    return [w, b], loss


@case
def poisson_regression(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (3,))
    x, y = asarray(rng.normal(size=(6, 3))), asarray(rng.integers(0, 4, size=6) * 1.0)

    def loss() -> Array:
        xp = array_namespace(w)
        eta = matmul(x, w)
        return xp.sum(xp.exp(eta) - eta * y)

    return [w], loss


@case
def mlp_softmax(asarray: Any, rng: Any) -> Any:
    w1, b1, w2, b2 = normals(asarray, rng, (5, 8), (8,), (8, 3), (3,))
    x, y = asarray(rng.normal(size=(10, 5))), asarray(rng.integers(0, 3, size=10))

    def loss() -> Array:
        xp = array_namespace(w1)
        return cross_entropy(xp.tanh(matmul(x, w1) + b1.value) @ w2.value + b2.value, y)

    return [w1, b1, w2, b2], loss


@case
def relu_network(asarray: Any, rng: Any) -> Any:
    w1, w2 = normals(asarray, rng, (4, 6), (6, 1))
    x = asarray(rng.normal(size=(5, 4)))

    def loss() -> Array:
        xp = array_namespace(w1)
        hidden = xp.maximum(matmul(x, w1), 0.0)
        return xp.sum(xp.where(hidden > 1.0, hidden, 0.5 * hidden) @ w2.value)

    return [w1, w2], loss


@case
def embedding_bag(asarray: Any, rng: Any) -> Any:
    table, w = normals(asarray, rng, (8, 4), (4, 3))
    bags, y = asarray(rng.integers(0, 8, size=(6, 5))), asarray(rng.integers(0, 3, size=6))

    def loss() -> Array:
        xp = array_namespace(table)
        rows = take(table, xp.reshape(bags, (-1,)))
        return cross_entropy(xp.mean(xp.reshape(rows, (6, 5, 4)), axis=1) @ w.value, y)

    return [table, w], loss


@case
def two_lookups_of_one_table(asarray: Any, rng: Any) -> Any:
    (table,) = normals(asarray, rng, (7, 3))
    a, b = asarray(rng.integers(0, 7, size=5)), asarray(rng.integers(0, 7, size=5))

    return [table], lambda: array_namespace(table).sum(take(table, a) * take(table, b))


@case
def table_looked_up_and_decayed(asarray: Any, rng: Any) -> Any:
    (table,) = normals(asarray, rng, (6, 2))
    rows = asarray(rng.integers(0, 6, size=4))

    def loss() -> Array:
        xp = array_namespace(table)
        return xp.sum(xp.square(take(table, rows))) + 0.1 * xp.sum(table.value**2)

    return [table], loss


@case
def columns_taken(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (3, 5))
    columns, scale = asarray(rng.integers(0, 5, size=4)), asarray(rng.normal(size=(3, 4)))
    return [w], lambda: array_namespace(w).sum(take(w, columns, axis=1) ** 2 * scale)


@case
def layer_norm(asarray: Any, rng: Any) -> Any:
    w, gain, shift = normals(asarray, rng, (4, 6), (6,), (6,))
    x, y = asarray(rng.normal(size=(5, 4))), asarray(rng.normal(size=(5, 6)))

    def loss() -> Array:
        xp = array_namespace(w)
        h = matmul(x, w)
        mean, var = xp.mean(h, axis=-1, keepdims=True), xp.var(h, axis=-1, keepdims=True)
        return xp.mean(((h - mean) / xp.sqrt(var + 1e-5) * gain.value + shift.value - y) ** 2)

    return [w, gain, shift], loss


@case
def standardised_by_std(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (5, 4))

    def loss() -> Array:
        xp = array_namespace(w)
        return xp.sum((w - xp.mean(w.value)) ** 3 / xp.std(w.value, axis=0))

    return [w], loss


@case
def attention_head(asarray: Any, rng: Any) -> Any:
    q, k, v = normals(asarray, rng, (6, 4), (6, 4), (6, 4))
    x, mask = asarray(rng.normal(size=(2, 5, 6))), asarray(np.tril(np.ones((5, 5))) > 0.5)

    def loss() -> Array:
        xp = array_namespace(q)
        scores = matmul(x, q) @ xp.moveaxis(matmul(x, k), -1, -2) / 2.0
        weights = xp.exp(log_softmax(xp.where(mask, scores, -1e9)))
        return xp.sum((weights @ matmul(x, v)) ** 2)

    return [q, k, v], loss


@case
def convolution_by_indexing(asarray: Any, rng: Any) -> Any:
    (kernel,) = normals(asarray, rng, (3,))
    x = asarray(rng.normal(size=(4, 10)))

    def loss() -> Array:
        xp = array_namespace(kernel)
        y = kernel[0] * x[:, :-2] + kernel[1] * x[:, 1:-1] + kernel[2] * x[:, 2:]
        return xp.mean(xp.tanh(y) ** 2)

    return [kernel], loss


@case
def convolution_of_variable_image(asarray: Any, rng: Any) -> Any:
    image, kernel = normals(asarray, rng, (6, 6), (2, 2))

    def loss() -> Array:
        xp = array_namespace(image)
        patches = xp.stack(
            [image[i : i + 5, j : j + 5] * kernel[i, j] for i in range(2) for j in range(2)]
        )
        return xp.sum(xp.abs(xp.sum(patches, axis=0)))

    return [image, kernel], loss


@case
def unrolled_rnn(asarray: Any, rng: Any) -> Any:
    w, u, start = normals(asarray, rng, (3, 4), (4, 4), (4,))
    x, zeros = asarray(rng.normal(size=(5, 2, 3))), asarray(np.zeros((2, 4)))

    def loss() -> Array:
        xp = array_namespace(w)
        h = start.value + zeros
        states = []
        for i in range(5):
            h = xp.tanh(matmul(x[i, ...], w) + h @ u.value)
            states.append(h)
        return xp.mean(xp.stack(states, axis=1) ** 2) + xp.sum(h)

    return [w, u, start], loss


@case
def matrix_factorisation(asarray: Any, rng: Any) -> Any:
    users, items, bias = normals(asarray, rng, (5, 3), (4, 3), (4, 1))
    u, i = asarray(rng.integers(0, 5, size=8)), asarray(rng.integers(0, 4, size=8))
    rating = asarray(rng.normal(size=8))

    def loss() -> Array:
        xp = array_namespace(users)
        scores = xp.sum(take(users, u) * take(items, i), axis=-1)
        return xp.mean((scores + xp.squeeze(take(bias, i), axis=1) - rating) ** 2)

    return [users, items, bias], loss


@case
def masked_mean(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (4, 5))
    mask = asarray(rng.random((4, 5)) < 0.6)

    def loss() -> Array:
        xp = array_namespace(w)
        weights = xp.astype(mask, w.dtype)
        return xp.sum(w * w * weights) / xp.sum(weights)

    return [w], loss


@case
def clipped_ratio(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (6,))
    advantage = asarray(rng.normal(size=6))

    def loss() -> Array:
        xp = array_namespace(w)
        ratio = xp.exp(w.value)
        return -xp.mean(xp.minimum(ratio * advantage, xp.clip(ratio, 0.8, 1.2) * advantage))

    return [w], loss


@case
def huber(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (8,))
    y = asarray(rng.normal(size=8) * 3)

    def loss() -> Array:
        xp = array_namespace(w)
        e = xp.abs(w - y)
        return xp.sum(xp.where(e < 1.0, 0.5 * e**2, e - 0.5))

    return [w], loss


@case
def gaussian_likelihood(asarray: Any, rng: Any) -> Any:
    mean, log_std = normals(asarray, rng, (3,), (3,))
    x = asarray(rng.normal(size=(10, 3)))

    def loss() -> Array:
        xp = array_namespace(mean)
        z = (mean - x) / xp.exp(log_std.value)
        return xp.mean(0.5 * z * z + log_std.value)

    return [mean, log_std], loss


@case
def variational_bound(asarray: Any, rng: Any) -> Any:
    mean, rho = normals(asarray, rng, (4,), (4,))
    noise = asarray(rng.normal(size=(6, 4)))

    def loss() -> Array:
        xp = array_namespace(mean)
        std = xp.log1p(xp.exp(rho.value))
        sample = mean + std * noise
        return xp.mean(sample**4) - xp.sum(xp.log(std)) + 0.5 * xp.sum(mean**2 + std**2)

    return [mean, rho], loss


@case
def every_elementwise_function(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (5,))

    def loss() -> Array:
        xp = array_namespace(w)
        x = xp.tanh(w.value) * 0.5
        functions = (
            "acos asin atan atanh cos cosh exp expm1 log1p sin sinh tan tanh asinh square "
            "negative abs"
        )
        total = xp.sum(xp.sqrt(x + 2) + xp.reciprocal(x + 2) + xp.acosh(x + 3))
        total = total + xp.sum(xp.log(x + 1) + xp.log2(x + 1) + xp.log10(x + 1))
        for i, name in enumerate(functions.split()):
            total = total + (i + 1) * xp.sum(getattr(xp, name)(x))
        return total

    return [w], loss


@case
def every_binary_function(asarray: Any, rng: Any) -> Any:
    a, b = normals(asarray, rng, (3, 4), (4,))

    def loss() -> Array:
        xp = array_namespace(a)
        x, y = xp.exp(a.value * 0.3), xp.exp(b.value * 0.3)
        parts = [x + y, x - y, x * y, x / y, x**y, x % y]
        names = "atan2 hypot logaddexp maximum minimum"
        parts += [getattr(xp, name)(x, y) for name in names.split()]
        parts += [2.0 - x, 3.0 / x, x**3, x**0.5, 2.0**y, -x, abs(y - 1.0)]
        return sum((i + 1.0) * xp.sum(part) for i, part in enumerate(parts))

    return [a, b], loss


@case
def every_shape_function(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (2, 3, 4))
    weights = asarray(rng.normal(size=24))

    def loss() -> Array:
        xp = array_namespace(w)
        x = w.value
        parts = [
            xp.permute_dims(x, (2, 0, 1)),
            xp.moveaxis(x, 0, 2),
            xp.roll(x, 2, axis=2),
            xp.roll(x, 1),
            xp.expand_dims(x, axis=1),
            xp.squeeze(x[:, :1, :], axis=1)[:, None, :] + x,
            xp.stack([x[0, ...], x[1, ...]], axis=-1),
            xp.astype(x, x.dtype),
            xp.broadcast_to(x[:, :, :1], (2, 3, 4)),
        ]
        return sum(
            xp.sum((i + 1.0) * xp.reshape(p, (-1,)) ** 2 * weights) for i, p in enumerate(parts)
        )

    return [w], loss


@beyond_autograd("it has no derivative of these functions, nor of broadcast_to with a new axis")
def every_other_function(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (2, 3, 4))
    weights = asarray(rng.normal(size=24))

    def loss() -> Array:
        xp = array_namespace(w)
        x = w.value
        parts = [
            +x,
            xp.positive(x),
            xp.flip(x, axis=1),
            xp.flip(x),
            xp.matrix_transpose(x),
            x.mT,
            xp.tril(x, k=1),
            xp.triu(x),
            xp.cumulative_sum(x, axis=1),
            xp.cumulative_sum(x, axis=-1),
            xp.concat([x[:1, ...], x[1:, ...] * 2.0], axis=0),
            xp.concat([x * 3.0, x[:, :0, :]], axis=-2),
            xp.concat([x * 3.0], axis=None),
            xp.broadcast_arrays(x, x[:1, :1, :1])[1],
            xp.broadcast_to(x[0, 0, :], (2, 3, 4)),
            xp.stack(list(xp.unstack(x, axis=1)), axis=0),
        ]
        return sum(
            xp.sum((i + 1.0) * xp.reshape(p, (-1,)) ** 2 * weights) for i, p in enumerate(parts)
        )

    return [w], loss


@beyond_autograd("it has no derivative of take_along_axis")
def picked_log_likelihood(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (4, 3))
    x, y = asarray(rng.normal(size=(6, 4))), asarray(rng.integers(0, 3, size=6))

    def loss() -> Array:
        xp = array_namespace(w)
        return -xp.mean(xp.take_along_axis(log_softmax(matmul(x, w)), y[:, None], axis=1))

    return [w], loss


@beyond_autograd("it has no derivative of vecdot, and leaves out the correction of std")
def correlation(asarray: Any, rng: Any) -> Any:
    a, b = normals(asarray, rng, (3, 5), (3, 5))

    def loss() -> Array:
        xp = array_namespace(a)
        x, y = (v - xp.mean(v.value, axis=1, keepdims=True) for v in (a, b))
        spread = xp.std(x, axis=1, correction=1) * xp.var(y, axis=-1, correction=1) ** 0.5
        return xp.sum(xp.vecdot(x, y) / spread) + xp.sum(xp.vecdot(x, y, axis=-2) ** 2)

    return [a, b], loss


@beyond_autograd("it has no derivative of the limits of clip")
def clipped_to_learned_limits(asarray: Any, rng: Any) -> Any:
    x, low, width = normals(asarray, rng, (4, 6), (6,), ())

    def loss() -> Array:
        xp = array_namespace(x)
        high = low.value + xp.exp(width.value)
        return xp.sum(xp.clip(x.value, low.value, high) ** 3)

    return [x, low, width], loss


@case
def every_reduction(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (3, 4, 2))

    def loss() -> Array:
        xp = array_namespace(w)
        total = xp.sum(w.value) * xp.mean(w.value) + xp.max(w.value) + xp.min(w.value)
        for axis in (0, -1, (0, 2)):
            for keepdims in (False, True):
                for name in ("sum", "mean", "max", "min", "var", "std"):
                    part = getattr(xp, name)(w.value, axis=axis, keepdims=keepdims)
                    total = total + xp.sum(part * part)
        return total

    return [w], loss


@case
def vectors_and_matrices(asarray: Any, rng: Any) -> Any:
    v, a, b = normals(asarray, rng, (3,), (3, 4), (2, 4, 3))

    def loss() -> Array:
        xp = array_namespace(v)
        x, y, z = v.value, a.value, b.value
        parts = [x @ x, x @ y, y.T @ x, y @ z, z @ x, z @ y, x @ (y @ z)]
        return sum(xp.sum(xp.sin(part)) for part in parts)

    return [v, a, b], loss


@beyond_autograd("it takes a Variable on the right of another for a constant")
def variables_in_expressions(asarray: Any, rng: Any) -> Any:
    v, a, b = normals(asarray, rng, (3,), (3, 4), (4,))

    def loss() -> Array:
        xp = array_namespace(v)
        parts = [v @ a, (v @ a) * b, a.T @ v - b, a / (b * b + 1.0), 2.0 - b, v[0] * b, abs(-v)]
        return sum(xp.sum(xp.sin(part)) for part in parts)

    return [v, a, b], loss


@case
def slices_of_all_kinds(asarray: Any, rng: Any) -> Any:
    (w,) = normals(asarray, rng, (5, 6))

    def loss() -> Array:
        xp = array_namespace(w)
        parts = [w[1, :], w[-1, 2], w[:, 3], w[1:4, ::2], w[..., 0], w[0:4:3, 1]]
        return sum((i + 1) * xp.sum(part**2) for i, part in enumerate(parts))

    return [w], loss


@case
def bilinear_form_with_constant_branch(asarray: Any, rng: Any) -> Any:
    a, unused = normals(asarray, rng, (3, 3), (2,))
    x = asarray(rng.normal(size=3))

    def loss() -> Array:
        xp = array_namespace(a)
        return matmul(x, a) @ x + xp.sum(xp.sign(a.value) * xp.floor(a.value))

    return [a, unused], loss
