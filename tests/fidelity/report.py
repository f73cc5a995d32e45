"""What a reader sees of the runs: a page of tables, and a chart."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from exact import Run
from matplotlib import pyplot as plt
from measure import OURS, Figures
from problems import CHECKS, LEARNING_RATE, SIZE, STEPS, Problem

__all__ = ["Row", "chart", "page"]


class Row(NamedTuple):
    """A problem, the dtype of its gradients, and the figures of each library."""

    problem: Problem
    dtype: str
    found: dict[str, Figures]


def number(x: float) -> str:
    """Return a number with the digits that a reader wants."""
    if np.isnan(x):
        return "**NaN**"
    return f"{x:,.1f}" if x >= 1 else f"{x:.2f}"


def largest(one: Figures) -> str:
    """Return the cell of a step's error."""
    return number(one.largest)


def typical(one: Figures) -> str:
    """Return the cell of a parameter's error."""
    both = f"{number(one.typical)} ({number(one.largest)})"
    return "**NaN**" if np.isnan(one.largest) else both


def norm(one: Figures) -> str:
    """Return the cell of u."""
    error = number(one.u) if one.u > 0.001 else f"{one.u:.1e}"
    return f"{error}, **frozen**" if one.frozen else error


def table(rows: list[Row], libraries: list[str], cell: Callable[[Figures], str]) -> str:
    """Return a table with a column for each library."""
    lines = [f"| | | {' | '.join(libraries)} |", "|---" * (len(libraries) + 2) + "|"]
    for problem, dtype, found in rows:
        cells = [cell(found[name]) if name in found else "n/a" for name in libraries]
        lines.append(f"| {problem.title} | {dtype} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(rows: list[Row], libraries: list[str]) -> str:
    """Return the page."""
    steps = [row for row in rows if row.problem.set_back]
    parameters = [row for row in rows if not row.problem.set_back]
    packages = ("numpy", "ml_dtypes", "jax", "optax", "keras", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"""# Fidelity

What {STEPS:,} steps in float32, float16 and bfloat16 lose beside the same steps in float64.
Libraries add epsilon [in different places](rule.md#how-libraries-differ): each is compared with a
float64 run of its own formula, with its own default epsilon, on the same gradients, rounded to the
dtype before. Ours are `Adamax` on NumPy and `update` under `jax.jit`, as are optax and Keras.
`nox -s fidelity` has written this page, with Python {platform.python_version()},
{versions};
the last digits depend on the processor. The session fails where an error of ours is over 1 ulp
above the smallest of the others, and where ours has a NaN or a frozen $u$.

The parameter has {SIZE} elements, the learning rate is {LEARNING_RATE}. Gradients are a seeded
stream of normally distributed numbers, but for what the name of a row says. One ulp is the distance
between neighbours in the dtype, at the size of the largest element in float64. **NaN** stands where
a run has a NaN or an infinity.

![Where a parameter is, and its u, after a spike in bfloat16](images/fidelity.png)

## What the steps lose

The largest error of any element, at {CHECKS} checks along the run, in ulp. Before every step the
parameter is set back to 0, and its moves are added up in float64: so a move is all that is rounded,
and the optimizer all that errs.

{table(steps, libraries, largest)}

- **float32.** Most of the error is that of $u$, whose every decay multiplies by a $\\beta_2$ that
  float32 has rounded. The 9,900 decays after a spike add up, in all libraries alike. A decay by
  $u - u (1 - \\beta_2)$ would lose a hundredth of that, but it is not the reference's formula,
  which ours follows bit by bit. At a $\\beta_1$ of 0.9999, optax and Keras lose digits of
  $1 - \\beta_1^t$, which they compute in float32; ours is computed in double precision, or under
  a trace by `expm1`. Where gradients are 1e-7, the larger epsilon of ours and Keras makes steps,
  and so their errors, smaller. What else differs is chance: with another seed, another is ahead.
- **16 bits.** $m$ and $u$ are float32 here, and have 16 bits in the others. In bfloat16, 0.999
  times a number rounds back to that number, and $u$ never falls. In float16, 1e-8 is 0, and so is
  Keras's 1e-7 times $1 - \\beta_1^t$: where all gradients so far were 0, the step is 0/0. A
  $\\beta_1$ of 0.9999 is 1 for Keras, which divides by 0.
- **Sparse rows.** torch, optax and Keras take dense gradients alone, with zeros where no row is
  listed: there $m$ and $u$ decay, and the parameter moves on. With `IndexedSlices` such rows stay
  as they are, which is another run, with a float64 run of its own.

## What becomes of u

The largest relative error of $u$ after the last step. It is **frozen** where an element never fell
from one check to the next, though in the float64 run it did.

{table(steps, libraries, norm)}

## What the parameter loses

The parameter is not set back: it rounds at every step, in all libraries alike. These are the root
mean square of the errors after the last step and, in parentheses, the largest error at any check,
in ulp. The largest is a matter of chance: in float32, steps that agree to their last digits end a
few ulp apart, and which is ahead depends on the seed; so the session compares the former. The
*quadratic* adds to the stream 30 times the distance from its minimum, which is 0 or 1.

{table(parameters, libraries, typical)}

Near 1, the next number of 16 bits is so far away that most steps round to nothing, and no optimizer
helps. What helps is a parameter of float32, and a copy of it in 16 bits for the loss:
`apply_gradients` takes gradients of 16 bits for it.
"""


def chart(runs: dict[str, Run], path: Path) -> None:
    """Draw the way of one element, and its u."""
    styles: dict[str, dict[str, Any]] = {
        "torch": {"lw": 7, "c": "lightgray"},
        "optax": {"lw": 4, "c": "darkgray"},
        "Keras 3": {"lw": 1.5, "c": "dimgray"},
        OURS[0]: {"lw": 5, "c": "tab:blue"},
        "float64": {"lw": 1.5, "c": "black"},
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    steps = np.arange(1, CHECKS + 1) * (STEPS // CHECKS)
    for axis, kind in zip(axes, Run._fields, strict=True):
        for name, style in styles.items():
            axis.plot(steps, getattr(runs[name], kind)[:, 0], label=name, **style)
        axis.set_xlabel("step")
    axes[0].set_title("where the parameter is", fontsize="medium")
    axes[1].set_title("u", fontsize="medium")
    axes[1].set_yscale("log")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
