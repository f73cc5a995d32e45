"""Ours stays within stated bounds of float64; `nox -s fidelity` compares it with others."""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from exact import EPSILON, Run, exact_run
from measure import OURS, Figures, complaints, figures, ulp, ulp_at_largest
from numpy_run import numpy_run
from problems import DTYPES, LEARNING_RATE, Problem, problems, rounded

PROBLEMS = [problem for problem in problems(steps=1000) if problem.set_back or problem.wide]
SHORT = [problem for problem in problems(steps=200) if not problem.wide]


def title(problem: Problem) -> str:
    return problem.title + ("" if problem.set_back else ", kept")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=title)
def test_steps_stay_close_to_float64(problem: Problem, dtype: str) -> None:
    """Steps in 16 bits err by less than an ulp, in float32 by some, and u is true in both."""
    exact = exact_run(problem, dtype, "outside")
    found = figures(numpy_run(problem, dtype), exact, ulp_at_largest(problem, dtype, [exact]))
    assert found.largest < (60 if dtype == "float32" else 1)
    assert not found.frozen
    # The gradients of a copy in 16 bits are others than those of the float64 run.
    assert found.u < (0.1 if problem.wide else 2e-5)


@pytest.mark.parametrize("problem", SHORT, ids=title)
def test_ours_in_float64_is_the_exact_run(problem: Problem) -> None:
    """In float64 ours and the formula written apart agree but for the last digits."""
    agree(numpy_run(problem, "float64"), exact_run(problem, "float64", "outside"))


@pytest.mark.parametrize("problem", SHORT, ids=title)
def test_torch_in_float64_is_the_exact_run(problem: Problem) -> None:
    """With epsilon inside of the maximum, the formula written apart is that of torch."""
    pytest.importorskip("torch", reason="torch is not installed")
    from torch_run import torch_run

    if problem.rows is not None:
        pytest.skip("torch.optim.Adamax takes no listed rows")
    agree(torch_run(problem, "float64"), exact_run(problem, "float64", "inside"))


@pytest.mark.parametrize("form", EPSILON)
@pytest.mark.parametrize("problem", [SHORT[0], SHORT[6]], ids=title)
def test_exact_run_is_exact(problem: Problem, form: str) -> None:
    """The float64 run agrees with one in 50 decimal digits."""
    run = exact_run(problem, "float16", form)
    for row, column in [(0, 0), (1, 2), (20, 3)]:
        moved, u = decimal_run(problem, row, column, form)
        element = np.ravel_multi_index((row, column), (len(run.u[0]) // 4, 4))
        np.testing.assert_allclose(run.moved[-1, element], moved, rtol=1e-11)
        np.testing.assert_allclose(run.u[-1, element], u, rtol=1e-12)


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
@pytest.mark.parametrize("x", [0.75, 1.0, 1.75, 6.0])
def test_ulp_is_the_distance_of_neighbours(x: float, dtype: str) -> None:
    """One ulp above a number is the next one, and there is none between them."""
    number, unit = rounded(x, dtype), ulp(x, dtype)
    assert rounded(x + unit, dtype) == x + unit
    assert rounded(x + 0.49 * unit, dtype) == number


def test_figures_of_a_run() -> None:
    """Errors are told in ulp of the largest element, u's as a ratio, and what never fell."""
    exact = Run(np.array([[1.0, 0.0], [4.0, 3.0]]), np.array([[4.0, 2.0], [2.0, 1.0]]))
    still = exact._replace(u=np.array([[4.0, 2.0], [4.0, 1.0]]))
    ulps = 2.0**-21 * np.array([[1.0, 0.0], [0.0, 2.0]])
    unit = ulp_at_largest(SHORT[0], "float32", [exact, still])
    found = figures(exact._replace(moved=exact.moved + ulps), exact, unit)
    assert found == Figures(largest=2.0, typical=2.0**0.5, u=0.0, frozen=False)
    assert figures(still, exact, unit) == Figures(0.0, 0.0, u=1.0, frozen=True)
    infinite = exact._replace(moved=exact.moved + np.array([np.inf, 0.0]))
    assert np.isnan(figures(infinite, exact, unit).largest)


@pytest.mark.parametrize(
    ("ours", "others", "message"),
    [
        ({}, {}, None),
        ({"largest": 10.9}, {}, None),
        ({"largest": 11.1}, {}, "an error of 11.1 ulp, where another has 10.0"),
        ({"largest": 11.1}, {"largest": np.nan}, None),
        ({"largest": np.nan}, {"largest": np.nan}, "an error of nan"),
        ({"frozen": True}, {"frozen": True}, "u is frozen"),
        ({"u": np.nan}, {"u": np.nan}, "not finite"),
    ],
)
def test_what_is_complained_about(ours: Any, others: Any, message: str | None) -> None:
    """The check fails for an error over 1 ulp above the smallest, a NaN, and a frozen u."""
    good = Figures(largest=10.0, typical=1.0, u=1e-6, frozen=False)
    found = {name: good._replace(**ours) for name in OURS} | {"torch": good._replace(**others)}
    told = complaints(SHORT[0], found)
    assert [message is not None and message in line for line in told] == [True] * len(told)
    assert len(told) == (0 if message is None else 2)


def agree(run: Run, exact: Run) -> None:
    np.testing.assert_allclose(run.moved, exact.moved, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(run.u, exact.u, rtol=1e-12)


def decimal_run(problem: Problem, row: int, column: int, form: str) -> tuple[float, float]:
    """Return the way and the u of one element of rows of 4 elements."""
    stream = rounded(problem.stream, "float16").astype(float)
    with localcontext() as context:
        context.prec = 50
        beta_1, beta_2, rate, epsilon = (
            Decimal(x) for x in (problem.beta_1, 0.999, LEARNING_RATE, EPSILON[form])
        )
        m = u = moved = Decimal(0)
        for t, part in enumerate(stream, start=1):
            if problem.rows is None:
                g = Decimal(part[4 * row + column])
            elif row in problem.rows[t - 1]:
                g = sum(map(Decimal, part[problem.rows[t - 1] == row, column]), Decimal(0))
            else:
                continue
            m = beta_1 * m + (1 - beta_1) * g
            u = max(beta_2 * u, abs(g) + (epsilon if form == "inside" else 0))
            divisor = u if form == "inside" else u + epsilon
            moved -= rate / (1 - beta_1**t) * m / divisor
    return float(moved), float(u)
