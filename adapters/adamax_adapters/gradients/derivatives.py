"""The table of derivatives: for every function of the array API that losses use, one line.

An entry is a rule for each argument that may depend on variables. A rule takes the namespace `xp`,
the gradient `g` of the result `y`, and the arguments of the call, and returns the gradient of its
argument. Where the argument was broadcast or converted, the tape sums and converts back.
"""

import math
from collections.abc import Callable
from typing import Any

from adamax_adapters.gradients import indexing
from adamax_adapters.gradients.axes import inverse, kept, split, transposed

__all__ = ["CONSTANT", "NUMPY_NAMES", "RULES", "SEQUENCE_RULES"]

Rule = Callable[..., Any]


def _pow_base(xp: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return the gradient of a in a**b, which is 0 where b is 0, also at a = 0."""
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b else xp.zeros_like(g)
    return g * xp.where(b == 0, 0.0, b * a ** xp.where(b == 0, 1.0, b - 1))


def _pow_exponent(xp: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return the gradient of b in a**b, which is 0 where a is 0."""
    if isinstance(a, int | float):
        return g * y * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan)
    return g * y * xp.log(xp.where(a == 0, 1.0, a))


def _chosen(xp: Any, g: Any, y: Any, mine: Any, other: Any) -> Any:
    """Return the gradient where `mine` is the result, half of it where both are."""
    return g * xp.astype(mine == y, g.dtype) / (1.0 + xp.astype(mine == other, g.dtype))


def _sum(
    xp: Any, g: Any, y: Any, x: Any, axis: Any = None, *, dtype: Any = None, keepdims: bool = False
) -> Any:
    return xp.broadcast_to(kept(xp, g, x, axis, keepdims), x.shape)


def _mean(xp: Any, g: Any, y: Any, x: Any, *axis: Any, **how: Any) -> Any:
    return _sum(xp, g * (math.prod(y.shape) / max(1, math.prod(x.shape))), y, x, *axis, **how)


def _extreme(xp: Any, g: Any, y: Any, x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return the gradient of a maximum or minimum, shared equally between equal elements."""
    is_extreme = xp.astype(x == kept(xp, y, x, axis, keepdims), g.dtype)
    share = g / xp.sum(is_extreme, axis=axis, keepdims=keepdims)
    return kept(xp, share, x, axis, keepdims) * is_extreme


def _var(
    xp: Any,
    g: Any,
    y: Any,
    x: Any,
    axis: Any = None,
    *,
    correction: float = 0.0,
    ddof: float = 0.0,
    keepdims: bool = False,
) -> Any:
    """Return the gradient of a variance, whose sum was divided by a count less a correction."""
    count = math.prod(x.shape) / max(1, math.prod(y.shape)) - correction - ddof
    distance = x - xp.mean(x, axis=axis, keepdims=True)
    return kept(xp, g, x, axis, keepdims) * (2.0 * distance) / count


def _std(xp: Any, g: Any, y: Any, x: Any, *axis: Any, **how: Any) -> Any:
    return _var(xp, g * 0.5 / y, y, x, *axis, **how)


def _matmul_left(xp: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return the gradient of a in a @ b, where either may be a vector."""
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return xp.matmul(b, g[..., None])[..., 0]
    return xp.matmul(g, transposed(xp, b))


def _matmul_right(xp: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return the gradient of b in a @ b, where either may be a vector."""
    if a.ndim == 1:
        return a[:, None] * g[..., None, :] if b.ndim > 1 else a * g
    if b.ndim == 1 and a.ndim > 2:
        return a * g[..., None]
    return xp.matmul(transposed(xp, a), g)


def _same(xp: Any, g: Any, *_: Any, **__: Any) -> Any:
    return g


def _none(xp: Any, g: Any, y: Any, x: Any, *_: Any, **__: Any) -> Any:
    return xp.zeros_like(x)


def _back(xp: Any, g: Any, y: Any, x: Any, *how: Any, order: str = "C", **_: Any) -> Any:
    """Return `g` in the shape of the argument: the elements kept their order."""
    if {order, *(given for given in how if isinstance(given, str))} != {"C"}:
        raise TypeError("order must be 'C'")
    return xp.reshape(g, x.shape)


def _permuted(xp: Any, g: Any, y: Any, x: Any, *axes: Any, **how: Any) -> Any:
    """Return `g` permuted back; NumPy's method takes the axes one by one."""
    order = how.get("axes", axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)
    return xp.permute_dims(g, inverse(order or None, x.ndim))


def _rolled(xp: Any, g: Any, y: Any, x: Any, shift: Any, axis: Any = None) -> Any:
    back = tuple(-n for n in shift) if isinstance(shift, tuple | list) else -shift
    return xp.roll(g, back, axis=axis)


def _cumulated(xp: Any, g: Any, y: Any, x: Any, axis: Any = None, *, dtype: Any = None) -> Any:
    axis = 0 if axis is None else axis
    reverse = xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis)
    return xp.reshape(reverse, x.shape)


RULES: dict[str, tuple[Rule | None, ...]] = {
    # one argument
    "abs": (lambda xp, g, y, x: g * xp.sign(x),),
    "acos": (lambda xp, g, y, x: -g / xp.sqrt(1.0 - x * x),),
    "acosh": (lambda xp, g, y, x: g / xp.sqrt(x * x - 1.0),),
    "asin": (lambda xp, g, y, x: g / xp.sqrt(1.0 - x * x),),
    "asinh": (lambda xp, g, y, x: g / xp.sqrt(x * x + 1.0),),
    "atan": (lambda xp, g, y, x: g / (1.0 + x * x),),
    "atanh": (lambda xp, g, y, x: g / (1.0 - x * x),),
    "cos": (lambda xp, g, y, x: -g * xp.sin(x),),
    "cosh": (lambda xp, g, y, x: g * xp.sinh(x),),
    "exp": (lambda xp, g, y, x: g * y,),
    "expm1": (lambda xp, g, y, x: g * (y + 1.0),),
    "log": (lambda xp, g, y, x: g / x,),
    "log10": (lambda xp, g, y, x: g / (x * math.log(10.0)),),
    "log1p": (lambda xp, g, y, x: g / (1.0 + x),),
    "log2": (lambda xp, g, y, x: g / (x * math.log(2.0)),),
    "negative": (lambda xp, g, y, x: -g,),
    "positive": (_same,),
    "reciprocal": (lambda xp, g, y, x: -g * y * y,),
    "sin": (lambda xp, g, y, x: g * xp.cos(x),),
    "sinh": (lambda xp, g, y, x: g * xp.cosh(x),),
    "sqrt": (lambda xp, g, y, x: g * 0.5 / y,),
    "square": (lambda xp, g, y, x: g * (2.0 * x),),
    "tan": (lambda xp, g, y, x: g * (1.0 + y * y),),
    "tanh": (lambda xp, g, y, x: g * (1.0 - y * y),),
    # two or three arguments
    "add": (_same, _same),
    "atan2": (
        lambda xp, g, y, a, b: g * b / (a * a + b * b),
        lambda xp, g, y, a, b: -g * a / (a * a + b * b),
    ),
    "clip": (
        lambda xp, g, y, x, *_, **__: g * xp.astype(x == y, g.dtype),
        lambda xp, g, y, x, *_, **__: g * xp.astype(x < y, g.dtype),
        lambda xp, g, y, x, *_, **__: g * xp.astype(x > y, g.dtype),
    ),
    "divide": (lambda xp, g, y, a, b: g / b, lambda xp, g, y, a, b: -g * y / b),
    "hypot": (lambda xp, g, y, a, b: g * a / y, lambda xp, g, y, a, b: g * b / y),
    "logaddexp": (
        lambda xp, g, y, a, b: g * xp.exp(a - y),
        lambda xp, g, y, a, b: g * xp.exp(b - y),
    ),
    "maximum": (_chosen, lambda xp, g, y, a, b: _chosen(xp, g, y, b, a)),
    "minimum": (_chosen, lambda xp, g, y, a, b: _chosen(xp, g, y, b, a)),
    "multiply": (lambda xp, g, y, a, b: g * b, lambda xp, g, y, a, b: g * a),
    "pow": (_pow_base, _pow_exponent),
    "remainder": (_same, lambda xp, g, y, a, b: -g * xp.floor(a / b)),
    "subtract": (_same, lambda xp, g, y, a, b: -g),
    "where": (
        None,
        lambda xp, g, y, condition, a, b: xp.where(condition, g, 0.0),
        lambda xp, g, y, condition, a, b: xp.where(condition, 0.0, g),
    ),
    # products and sums
    "cumulative_sum": (_cumulated,),
    "matmul": (_matmul_left, _matmul_right),
    "max": (_extreme,),
    "mean": (_mean,),
    "min": (_extreme,),
    "std": (_std,),
    "sum": (_sum,),
    "var": (_var,),
    "vecdot": (
        lambda xp, g, y, a, b, axis=-1: xp.expand_dims(g, axis=axis) * b,
        lambda xp, g, y, a, b, axis=-1: xp.expand_dims(g, axis=axis) * a,
    ),
    # shapes; what broadcasting repeated is summed by the tape
    "asarray": (_same,),
    "astype": (_same,),
    "broadcast_to": (_same,),
    "expand_dims": (_back,),
    "full_like": (_none, _same),
    "flip": (lambda xp, g, y, x, axis=None: xp.flip(g, axis=axis),),
    "matrix_transpose": (lambda xp, g, y, x: transposed(xp, g),),
    "moveaxis": (lambda xp, g, y, x, source, destination: xp.moveaxis(g, destination, source),),
    "permute_dims": (_permuted,),
    "reshape": (_back,),
    "roll": (_rolled,),
    "squeeze": (_back,),
    "tril": (lambda xp, g, y, x, k=0: xp.tril(g, k=k),),
    "triu": (lambda xp, g, y, x, k=0: xp.triu(g, k=k),),
    # elements and rows
    "getitem": (indexing.of_item,),
    "take": (indexing.of_take,),
    "take_along_axis": (indexing.of_take_along_axis,),
}
"""Name of a function in the standard: the gradient of each of its arguments, None for none."""

SEQUENCE_RULES: dict[str, Rule] = {
    "concat": lambda xp, g, y, parts, axis=0: split(xp, g, parts, axis),
    "stack": lambda xp, g, y, parts, axis=0: xp.unstack(g, axis=axis),
}
"""Functions of a sequence of arrays: the gradients of all of them."""

CONSTANT = frozenset(
    "all allclose any argmax argmin argsort array_equal bitwise_and bitwise_invert bitwise_or "
    "bitwise_xor can_cast ceil count_nonzero empty_like equal finfo floor floor_divide greater "
    "greater_equal isclose isdtype isfinite isinf isnan less less_equal logical_and logical_not "
    "logical_or logical_xor ndim nonzero not_equal ones_like result_type round searchsorted shape "
    "sign signbit size trunc zeros_like".split()
)
"""Functions whose results do not change where they have a derivative: they leave the tape."""

NUMPY_NAMES = {
    "absolute": "abs",
    "amax": "max",
    "amin": "min",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "concatenate": "concat",
    "copy": "positive",
    "cumsum": "cumulative_sum",
    "fabs": "abs",
    "flatten": "reshape",
    "invert": "bitwise_invert",
    "power": "pow",
    "ravel": "reshape",
    "transpose": "permute_dims",
    "true_divide": "divide",
}
"""What NumPy calls the functions that have another name in the standard."""
