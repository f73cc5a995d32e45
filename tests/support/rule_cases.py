"""Rules other than the default, with scalars for them: for tests of whatever executes rules."""

from typing import Any, NamedTuple

from adamax.rule import ADAMAX, Coefficients, Rule, coefficients, with_scalars
from adamax.variants import EPSILON_INSIDE, SHARED_SCALE, linked

Array = Any


class Case(NamedTuple):
    rule: Rule
    scalars: dict[str, float] = {}  # noqa: RUF012 - nobody writes to it

    def at(self, t: int) -> Coefficients:
        """Return the scalars of a step, in another order than the rule's, and one more."""
        c = coefficients(t, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-3)
        found: Coefficients = with_scalars(c, unknown=7.0, **dict(reversed(self.scalars.items())))
        return found


def partial_step(p: Array, g: Array, m: Array, u: Array, c: Any, xp: Any) -> tuple[Array, ...]:
    """The default, of which a ``share`` is taken: a rule with one more scalar."""
    new_p, m, u = ADAMAX.formula(p, g, m, u, c, xp)
    return p + (new_p - p) * c.share, m, u


def averaged(
    p: Array, g: Array, m: Array, u: Array, mean: Array, c: Any, xp: Any
) -> tuple[Array, ...]:
    """The default, and a mean of the parameters: a rule with one more state array."""
    p, m, u = ADAMAX.formula(p, g, m, u, c, xp)
    return p, m, u, mean + (p - mean) * c.one_minus_beta_1


def awkward(
    p: Array, g: Array, m: Array, u: Array, old: Array, c: Any, xp: Any
) -> tuple[Array, ...]:
    """A rule whose new arrays are read late, change places, or are what they were."""
    new_m = c.beta_2 - (c.epsilon - u) * xp.maximum(old, g)
    return xp.maximum(p, old) - m, new_m, u, m


MORE_SCALARS = Rule(partial_step, (*ADAMAX.scalars, "share"), ADAMAX.state)
MORE_STATE = Rule(averaged, ADAMAX.scalars, (*ADAMAX.state, "mean"))
AWKWARD = Rule(awkward, ADAMAX.scalars, (*ADAMAX.state, "old"))

SCALES = {"scale": 3.0, "unscale": 0.4}
LINKS = {"factor": 0.7, "l2": 0.03, "keep": 0.99}


def chained(rule: Rule, more: dict[str, float], **links: float) -> Case:
    return Case(linked(rule, **links), more | links)


CASES = {
    "default": Case(ADAMAX),
    "epsilon inside": Case(EPSILON_INSIDE),
    "shared scale": Case(SHARED_SCALE, SCALES),
    "factor": chained(ADAMAX, {}, factor=-0.7),
    "L2": chained(ADAMAX, {}, l2=0.03),
    "decay": chained(ADAMAX, {}, keep=0.99),
    "flag 1": Case(linked(ADAMAX, flag=0.0), {"flag": 1.0}),
    "flag 0": chained(ADAMAX, {}, flag=0.0),
    "epsilon inside, all links": chained(EPSILON_INSIDE, {}, **LINKS, flag=2.0),
    "shared scale, all links": chained(SHARED_SCALE, SCALES, **LINKS, flag=0.5),
    "one more scalar": Case(MORE_SCALARS, {"share": 0.5}),
    "one more state, all links": chained(MORE_STATE, {}, **LINKS, flag=1.5),
    "awkward": Case(AWKWARD),
}
