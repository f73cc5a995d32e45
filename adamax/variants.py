"""Variants of the rule, made from it by small functions of arrays: links before and after it.

Whatever executes a variant compiles or traces it as a whole: it stays one kernel, and one pass
over memory. A link that would change nothing is left out.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from adamax._arrays import Array, Namespace, is_array
from adamax.rule import ADAMAX, Rule, rule

__all__ = [
    "EPSILON_INSIDE",
    "SHARED_SCALE",
    "linked",
    "with_decay",
    "with_factor",
    "with_flag",
    "with_l2",
]


def _raised(g: Array, c: Any, xp: Namespace) -> Array:
    return xp.abs(g) + c.epsilon


def _itself(u: Array, c: Any) -> Array:
    return u


EPSILON_INSIDE = ADAMAX._replace(formula=partial(rule, magnitude=_raised, divisor=_itself))
"""Epsilon is added to ``|g|`` inside the maximum, as in PyTorch and optax, and not to u."""


def _scaled(g: Array, c: Any, xp: Namespace) -> Array:
    return xp.abs(g) * c.scale


def _unscaled(u: Array, c: Any) -> Array:
    return u * c.unscale + c.epsilon


SHARED_SCALE = ADAMAX._replace(
    formula=partial(rule, magnitude=_scaled, divisor=_unscaled),
    scalars=(*ADAMAX.scalars, "scale", "unscale"),
)
"""u is kept in units that all elements share, ``scale`` of them for one of the gradient.

With beta_2 = 1 and a scale that grows instead, nothing decays, so that nothing rounds away in 16
bits. With a scale of 1 it is the default rule, bit by bit.
"""


@cache
def with_factor(rule: Rule) -> Rule:
    """Return a rule that multiplies the gradient by the scalar ``factor``, as clipping does."""
    return _before(rule, "factor", lambda p, g, c: (p, g * c.factor))


@cache
def with_l2(rule: Rule) -> Rule:
    """Return a rule that adds ``p * l2`` to the gradient: the penalty that PyTorch has."""
    return _before(rule, "l2", lambda p, g, c: (p, g + p * c.l2))


@cache
def with_decay(rule: Rule) -> Rule:
    """Return a rule that multiplies p by ``keep`` before the step: decoupled weight decay."""
    return _before(rule, "keep", lambda p, g, c: (p * c.keep, g))


def _before(rule: Rule, scalar: str, change: Callable[..., tuple[Array, Array]]) -> Rule:
    def formula(p: Array, g: Array, *state_and_scalars: Any) -> tuple[Array, ...]:
        *state, c, xp = state_and_scalars
        return rule.formula(*change(p, g, c), *state, c, xp)

    return rule._replace(formula=formula, scalars=(*rule.scalars, scalar))


@cache
def with_flag(rule: Rule) -> Rule:
    """Return a rule by which nothing changes, no bit of NaN, where the scalar ``flag`` is 0."""

    def formula(p: Array, g: Array, *state_and_scalars: Any) -> tuple[Array, ...]:
        *state, c, xp = state_and_scalars
        new = rule.formula(p, g, *state_and_scalars)
        return tuple([_where(c.flag, x, y, xp) for x, y in zip(new, (p, *state), strict=True)])

    return rule._replace(formula=formula, scalars=(*rule.scalars, "flag"))


def _where(flag: Any, new: Array, old: Array, xp: Namespace) -> Array:
    """Return `new`, or `old` where the flag is 0; the host decides if it knows the flag."""
    if type(flag) is float:
        return new if flag else old
    return xp.where(xp.astype(flag, xp.bool) if is_array(flag) else flag, new, old)


LINKS: dict[str, tuple[Callable[[Rule], Rule], float]] = {
    "keep": (with_decay, 1.0),
    "l2": (with_l2, 0.0),
    "factor": (with_factor, 1.0),
    "flag": (with_flag, 1.0),
}
"""By the name of its scalar: a link, and the number with which it changes nothing.

From the innermost to the outermost: a gradient is multiplied before the penalty is added to it.
"""


def linked(rule: Rule, **scalars: Any) -> Rule:
    """Return a rule with a link for every scalar that is not neutral.

    Examples
    --------
    >>> linked(ADAMAX, factor=1.0, l2=0.0) is ADAMAX
    True
    >>> linked(ADAMAX, factor=0.5).scalars[-1]
    'factor'
    """
    for name, (link, neutral) in LINKS.items():
        if not (type(given := scalars.pop(name, neutral)) is float and given == neutral):
            rule = link(rule)
    if scalars:
        raise TypeError(f"Expected scalars of {', '.join(LINKS)}, received: {', '.join(scalars)}")
    return rule
