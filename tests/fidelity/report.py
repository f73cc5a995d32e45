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
    lines = [
        f"| gradients | dtype | {' | '.join(libraries)} |",
        "|---" * (len(libraries) + 2) + "|",
    ]
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
    return f"""# Numerical accuracy

This page measures the error of {STEPS:,} steps in float32, float16 and bfloat16 relative to the
same steps in float64. Libraries add epsilon [at different positions](rule.md#how-libraries-differ),
so each library is compared with a float64 run of its own formula, with its own default epsilon. All
use the same gradients, rounded to the dtype before. "Ours" is adamax: `Adamax` on NumPy, and
`update` under `jax.jit`, under which optax and Keras run too. `nox -s fidelity` wrote this page
with Python {platform.python_version()},
{versions};
the last digits depend on the processor. The session fails if an error of adamax is more than 1 ulp
above the smallest error of the others, or if adamax has a NaN or a frozen $u$.

The parameter has {SIZE} elements, and the learning rate is {LEARNING_RATE}. Gradients are seeded
normally distributed numbers, changed as the name of a row states. One ulp is the distance between
neighbouring numbers of the dtype, at the size of the largest element in float64. **NaN** marks a
run with a NaN or an infinity.

![A parameter and its u after a spike in bfloat16](images/fidelity.png)

## Error of the steps

The table contains the largest error of any element at {CHECKS} checks along the run, in ulp. Before
every step the parameter is set back to 0, and the updates are summed in float64. So only the
updates are rounded, and all errors come from the optimizer.

{table(steps, libraries, largest)}

- **float32.** Most of the error comes from $u$: every decay multiplies it by $\\beta_2$ rounded to
  float32. The errors of the 9,900 decays after a spike add up in all libraries. A decay by
  $u - u (1 - \\beta_2)$ would lose a hundredth of that, but it is not the formula of the reference,
  which adamax follows bit by bit. At a $\\beta_1$ of 0.9999, optax and Keras lose digits of
  $1 - \\beta_1^t$, which they compute in float32; adamax computes it in double precision, or with
  `expm1` under a trace. With gradients of 1e-7, the larger epsilon of adamax and Keras makes steps,
  and so their errors, smaller. The other differences are chance and depend on the seed.
- **16-bit dtypes.** $m$ and $u$ are float32 in adamax, and 16-bit in the others. In bfloat16, 0.999
  times a number rounds back to that number, so $u$ never falls. In float16, 1e-8 is 0, and so is
  Keras's 1e-7 times $1 - \\beta_1^t$: if all gradients so far were 0, the step is 0/0. A $\\beta_1$
  of 0.9999 rounds to 1 in Keras, which then divides by 0.
- **Sparse rows.** torch, optax and Keras accept dense gradients only, with zeros for unlisted rows,
  whose $m$ and $u$ decay and whose parameters move on. With `IndexedSlices` unlisted rows do not
  change. That is a different run, with its own float64 run.

## Error of u

The table contains the largest relative error of $u$ after the last step. $u$ is **frozen** if an
element never fell from one check to the next, although it did in the float64 run.

{table(steps, libraries, norm)}

## Error of the parameter

Here the parameter is not set back, so it is rounded at every step, in all libraries. The table
contains the root mean square of the errors after the last step and, in parentheses, the largest
error at any check, in ulp. The largest error depends on chance: in float32, steps that agree to
their last digits end a few ulp apart, in an order that depends on the seed. So the session compares
the root mean squares. The *quadratic* adds 30 times the distance from its minimum, which is 0 or 1,
to the gradients.

{table(parameters, libraries, typical)}

Near 1, neighbouring 16-bit numbers are so far apart that most steps round to nothing, and no
optimizer can change that. Use a float32 parameter with a 16-bit copy for the loss:
`apply_gradients` accepts 16-bit gradients for it.
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
