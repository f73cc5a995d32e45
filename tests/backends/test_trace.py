"""The trace of a rule: what it notes, what it refuses, and where its results may be written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rule_cases import CASES, Case

from adamax.rule import ADAMAX, Coefficients, Rule
from adamax_adapters.backends.trace import Trace, buffers, trace

Formula = Callable[..., Any]


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


def exchange(p: Any, g: Any, m: Any, u: Any, c: Coefficients, xp: Any) -> tuple[Any, Any, Any]:
    """A rule whose arrays change places, and which is the same twice."""
    return u, g, p


def twice_the_same(p: Any, g: Any, m: Any, u: Any, c: Any, xp: Any) -> tuple[Any, Any, Any]:
    """A rule with one result for two arrays."""
    return p * c.beta_2, (new := m + u), new


FORMULAS = (late_moments, dead_results, exchange, twice_the_same)
RULES = CASES | {x.__name__: Case(ADAMAX._replace(formula=x)) for x in FORMULAS}

DONE = {"where": lambda flag, x, y: np.where(bool(flag), x, y)}
"""Operations that NumPy spells in another way."""


def replayed(traced: Trace, arrays: dict[str, Any], c: Any) -> list[Any]:
    """Return what the arrays hold at the end, every result written where `buffers` says."""
    chosen, count = buffers(traced)
    memory = {name: array.copy() for name, array in arrays.items()}
    memory |= {f"s{i}": np.full_like(arrays["p"], np.nan) for i in range(count)}
    held = {name: memory[name] for name in traced.arrays}
    held |= {name: getattr(c, name) for name in traced.scalars}
    for (op, operands, result), buffer in zip(traced.instructions, chosen, strict=True):
        function = DONE.get(op) or getattr(np, op)
        memory[buffer][:] = function(*map(held.__getitem__, operands))
        held[result] = memory[buffer]
    for name, output in zip(traced.written, traced.outputs, strict=True):
        memory[name][:] = held[output]
    assert np.array_equal(memory["g"], arrays["g"])
    return [memory[name] for name in traced.written]


@pytest.mark.parametrize("case", RULES.values(), ids=RULES)
def test_the_trace_computes_what_the_rule_computes(case: Case) -> None:
    """Replayed into as few buffers as `buffers` asks for, a trace gives the rule's own bits."""
    rng, c, traced = np.random.default_rng(5), case.at(3), trace(case.rule)
    arrays = {name: rng.standard_normal(50) for name in traced.arrays}
    expected = case.rule.formula(*arrays.values(), c, np)
    for got, wanted in zip(replayed(traced, arrays, c), expected, strict=True):
        assert np.array_equal(got, wanted)


def test_the_rule_needs_one_scratch_buffer() -> None:
    """Ten instructions, and each new array is written over the old one."""
    traced = trace()
    chosen, count = buffers(traced)
    assert len(traced.instructions) == 10
    assert count == 1
    results = [instruction.result for instruction in traced.instructions]
    assert tuple(chosen[results.index(name)] for name in traced.outputs) == traced.written


@pytest.mark.parametrize("case", RULES.values(), ids=RULES)
def test_every_instruction_has_an_array_operand(case: Case) -> None:
    """No instruction combines scalars alone, and every operand is defined before it is used."""
    traced = trace(case.rule)
    known = {*traced.arrays, *traced.scalars}
    for _, operands, result in traced.instructions:
        assert set(operands) <= known
        assert not set(operands) <= set(traced.scalars)
        known.add(result)
    assert set(traced.outputs) <= known


def test_a_neutral_scalar_is_not_in_the_trace() -> None:
    """Ten instructions are those of the default; a link adds its own, and no other."""
    lengths = {name: len(trace(case.rule).instructions) for name, case in CASES.items()}
    assert lengths["default"] == lengths["epsilon inside"] == 10
    assert lengths["factor"] == lengths["decay"] == 11
    assert lengths["L2"] == lengths["shared scale"] == 12
    assert lengths["flag 0"] == 13


REFUSED: list[tuple[Formula, type[Exception], str]] = [
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
    (lambda p, g, m, u, c, xp: (p, m, xp.where(g, m, u)), TypeError, "value of g"),
    (lambda p, g, m, u, c, xp: (p, m), ValueError, "longer"),
]


@pytest.mark.parametrize(("function", "error", "message"), REFUSED)
def test_what_a_trace_cannot_follow_is_named(
    function: Formula, error: type[Exception], message: str
) -> None:
    """A rule that a kernel could not compute is an error that names the operation."""
    with pytest.raises(error, match=message):
        trace(Rule(function, ADAMAX.scalars, ADAMAX.state))
