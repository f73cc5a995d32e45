"""The trace of the rule: what it notes, what it refuses, and where its results may be written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adamax.rule import Coefficients, coefficients, rule
from adamax_adapters.backends.trace import ARRAYS, OUTPUTS, SCALARS, places, trace

Rule = Callable[..., Any]


def late_moments(p: Any, g: Any, m: Any, u: Any, c: Coefficients, xp: Any) -> tuple[Any, Any, Any]:
    """A rule that reads the old m and u after the new ones, so that these cannot be in place."""
    new_m = c.beta_2 / m
    new_u = abs(u - g) + new_m
    p = xp.maximum(p, new_u) * (m + u)
    return p / g, new_m, new_u


def dead_results(p: Any, g: Any, m: Any, u: Any, c: Coefficients, xp: Any) -> tuple[Any, Any, Any]:
    """A rule with a result that nothing uses, and with an output that is an input."""
    _ = m + g
    return c.epsilon - p, m, c.beta_2 + (u + g) / u


def replayed(traced: Any, arrays: dict[str, Any], scalars: Coefficients) -> tuple[Any, ...]:
    """Return the outputs of a trace, every result written where `places` says."""
    chosen, count = places(traced)
    memory = {name: array.copy() for name, array in arrays.items()}
    memory |= {f"s{i}": np.full_like(arrays["p"], np.nan) for i in range(count)}
    held: dict[str, Any] = {name: memory[name] for name in ARRAYS} | scalars._asdict()
    for (op, operands, result), place in zip(traced.instructions, chosen, strict=True):
        held[result] = getattr(np, op)(*map(held.__getitem__, operands), out=memory[place])
    assert np.array_equal(memory["g"], arrays["g"])
    return tuple(held[name] for name in traced.outputs)


@pytest.mark.parametrize("function", [rule, late_moments, dead_results])
def test_the_trace_computes_what_the_rule_computes(function: Rule) -> None:
    """Replayed into as few buffers as `places` asks for, a trace gives the rule's own bits."""
    rng = np.random.default_rng(5)
    arrays = {name: rng.standard_normal(50) for name in ARRAYS}
    c = coefficients(3, learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
    new = replayed(trace(function), arrays, c)
    for got, expected in zip(new, function(*arrays.values(), c, np), strict=True):
        assert np.array_equal(got, expected)


def test_the_rule_needs_one_scratch_buffer() -> None:
    """Ten instructions, and each new array takes the place of the old one."""
    traced = trace()
    chosen, count = places(traced)
    assert len(traced.instructions) == 10
    assert count == 1
    results = [instruction.result for instruction in traced.instructions]
    assert [chosen[results.index(name)] for name in traced.outputs] == list(OUTPUTS)


def test_every_instruction_has_an_array_operand() -> None:
    """No instruction combines scalars alone, and every operand is defined before it is used."""
    known = {*ARRAYS, *SCALARS}
    for _, operands, result in trace().instructions:
        assert set(operands) <= known
        assert not set(operands) <= set(SCALARS)
        known.add(result)


REFUSED: list[tuple[Rule, type[Exception], str]] = [
    (lambda p, g, m, u, c, xp: (p * (1 / c.beta_2), m, u), TypeError, "must be a coefficient"),
    (lambda p, g, m, u, c, xp: (p * (c.beta_2 * c.epsilon), m, u), TypeError, "only meet an array"),
    (lambda p, g, m, u, c, xp: (p * abs(c.epsilon), m, u), TypeError, "abs.*only meet an array"),
    (lambda p, g, m, u, c, xp: (p * 2.0, m, u), TypeError, "multiply.*2.0"),
    (lambda p, g, m, u, c, xp: (xp.sqrt(p), m, u), AttributeError, "calls sqrt"),
    (lambda p, g, m, u, c, xp: (p**c.beta_2, m, u), TypeError, r"\*\*"),
    (lambda p, g, m, u, c, xp: (-p, m, u), TypeError, "unary -"),
    (lambda p, g, m, u, c, xp: (p if c.epsilon else g, m, u), TypeError, "epsilon.*not branch"),
    (lambda p, g, m, u, c, xp: (p if c.epsilon == 0 else g, m, u), TypeError, "epsilon.*branch"),
    (lambda p, g, m, u, c, xp: (p, m, p > u), TypeError, "value of p"),
]


@pytest.mark.parametrize(("function", "error", "message"), REFUSED)
def test_what_a_trace_cannot_follow_is_named(
    function: Rule, error: type[Exception], message: str
) -> None:
    """A rule that a kernel could not compute is an error that names the operation."""
    with pytest.raises(error, match=message):
        trace(function)
