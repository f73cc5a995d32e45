"""How far a run is from the exact one, and whether ours are as close as any."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from exact import Run
from problems import Problem, rounded

__all__ = ["OURS", "Figures", "complaints", "figures", "ulp", "ulp_at_largest"]

OURS = ("ours, NumPy", "ours, `jax.jit`")


class Figures(NamedTuple):
    """The distance of a run from the exact one; NaN where the run has a NaN or an infinity."""

    largest: float  # of the parameter's elements at all checks, in ulp
    typical: float  # their root mean square at the last check, in ulp
    u: float  # largest relative error of u at the last check
    frozen: bool  # an element of u never fell, though the exact one did


def ulp(x: float, dtype: str) -> float:
    """Return the distance of `x` > 0 from the next number of a dtype."""
    one = rounded(1.0, dtype)
    return float(np.spacing(one)) * 2.0 ** math.floor(math.log2(x))


def ulp_at_largest(problem: Problem, dtype: str, runs: Iterable[Run]) -> float:
    """Return one ulp of the largest element that the parameter has in any of some runs."""
    return ulp(max(abs(problem.start + run.moved).max() for run in runs), dtype)


def figures(run: Run, exact: Run, unit: float) -> Figures:
    """Return the figures of a run; `unit` is one ulp."""
    error = abs(_finite(run.moved) - exact.moved) / unit
    off = abs(_finite(run.u) - exact.u)[-1] / np.where(exact.u[-1] > 0, exact.u[-1], 1)
    frozen = _never_falls(run.u) & ~_never_falls(exact.u)
    return Figures(
        float(error.max()),
        float(np.sqrt(np.mean(error[-1] ** 2))),
        float(off.max()),
        bool(frozen.any()),
    )


def complaints(problem: Problem, found: Mapping[str, Figures]) -> list[str]:
    """Return what is wrong with ours beside the others."""
    kind = "largest" if problem.set_back else "typical"
    errors = {name: getattr(one, kind) for name, one in found.items()}
    best = np.nanmin([np.inf, *(error for name, error in errors.items() if name not in OURS)])
    told = []
    for name in OURS:
        if not errors[name] <= best + 1:  # nor is NaN
            told.append(f"{name}: an error of {errors[name]} ulp, where another has {best}")
        # Where gradients depend on the parameter, another parameter may have an u that grows.
        frozen = found[name].frozen and not problem.curvature
        if frozen or not np.isfinite(found[name].u):
            told.append(f"{name}: u is frozen, or not finite")
    return told


def _finite(x: Any) -> Any:
    return np.where(np.isfinite(x), x, np.nan)


def _never_falls(u: Any) -> Any:
    return np.all(np.diff(u, axis=0) >= 0, axis=0)
