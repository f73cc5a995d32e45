"""How exact 10,000 steps are: ours beside torch, optax and Keras 3, each against its own float64.

Writes `docs/fidelity.md` and its chart. Fails where ours is neither the closest nor within one ulp
of the closest, and where ours has a NaN or an u that is frozen.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from exact import Run, exact_run
from jax_runs import jax_run, keras_run, optax_run
from measure import OURS, complaints, figures, ulp_at_largest
from numpy_run import numpy_run
from problems import DTYPES, Problem, problems
from report import Row, chart, page
from torch_run import torch_run

DOCS = Path(__file__).parents[2] / "docs"
LIBRARIES: dict[str, tuple[str, Callable[[Problem, str], Run]]] = {
    OURS[0]: ("outside", numpy_run),
    OURS[1]: ("outside", jax_run),
    "torch": ("inside", torch_run),
    "optax": ("inside", optax_run),
    "Keras 3": ("outside", keras_run),
}
"""The form of each library, and its run."""


def row(problem: Problem, dtype: str) -> Row:
    """Run the libraries that can take the gradients."""
    exact = {form: exact_run(problem, dtype, form) for form in ("inside", "outside")}
    # One unit for all: a power of 2 may lie between the largest elements of both forms.
    unit = ulp_at_largest(problem, dtype, exact.values())
    found = {
        name: figures(run(problem, dtype), exact[form], unit)
        for name, (form, run) in LIBRARIES.items()
        if problem.rows is None or name in OURS
    }
    print(problem.title, dtype, {name: round(one.largest, 2) for name, one in found.items()})
    return Row(problem, dtype, found)


def spiked() -> dict[str, Run]:
    """Return the runs that the chart shows."""
    (problem,) = (problem for problem in problems() if "spike" in problem.title)
    runs = {name: run(problem, "bfloat16") for name, (_, run) in LIBRARIES.items()}
    return {**runs, "float64": exact_run(problem, "bfloat16", "outside")}


def main() -> None:
    """Run, write the page, and fail where ours is not as close as any."""
    rows = [
        row(problem, dtype)
        for problem in problems()
        for dtype in DTYPES
        if not problem.wide or dtype != "float32"
    ]
    (DOCS / "fidelity.md").write_text(page(rows, list(LIBRARIES)))
    (DOCS / "images").mkdir(exist_ok=True)
    chart(spiked(), DOCS / "images" / "fidelity.png")
    wrong = [
        f"{problem.title}, {dtype}: {text}"
        for problem, dtype, found in rows
        for text in complaints(problem, found)
    ]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
