"""What a step costs: ours beside torch and optax, and beside what the memory allows.

Writes `docs/benchmarks.md` and its chart.
"""

import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from donation import SECTIONS
from interleaved import Taken, take_turns
from matplotlib import pyplot as plt
from ours import copied, jitted_step, rows_step, step, streamed
from peers import keras_step, optax_step, sparse_adam_step, tensorflow_steps, torch_step

DOCS = Path(__file__).parents[2] / "docs"
LARGE = 16_000_000
SMALL = [(1000,)] * 200
SIZES = (1_000_000, 4_000_000, 16_000_000, 64_000_000)
LIBRARIES = ("numpy", "numba", "jax", "optax", "keras", "torch", "tensorflow")

Array = Any
Results = dict[str, Taken]


def large() -> Results:
    """Time one large array."""
    shapes = [(LARGE,)]
    return take_turns(
        {
            "memory: copy": copied(LARGE),
            "memory: pass": streamed(LARGE),
            "ours, NumPy with numba": step(shapes, np, "numba"),
            "ours, NumPy": step(shapes, np, "numpy"),
            "ours, torch with numba": step(shapes, torch),
            "ours, JAX": step(shapes, jnp, "jax_donated"),
            "ours, JAX, pure form": jitted_step(shapes),
            "optax, jit": optax_step(shapes),
            "Keras 3 on JAX, jit": keras_step(shapes),
            "torch loop": torch_step(shapes, "loop"),
            "torch foreach": torch_step(shapes, "foreach"),
            "torch compiled": torch_step(shapes, "compiled"),
            **tensorflow_steps(shapes),
        },
        rounds=21,
        calls=3,
    )


def small() -> Results:
    """Time many small arrays."""
    return take_turns(
        {
            "ours, NumPy with numba": step(SMALL, np, "numba"),
            "ours, NumPy": step(SMALL, np, "numpy"),
            "ours, torch with numba": step(SMALL, torch),
            "ours, JAX": step(SMALL, jnp, "jax_donated"),
            "ours, JAX, pure form": jitted_step(SMALL),
            "optax, jit": optax_step(SMALL),
            "Keras 3 on JAX, jit": keras_step(SMALL),
            "torch loop": torch_step(SMALL, "loop"),
            "torch foreach": torch_step(SMALL, "foreach"),
            **tensorflow_steps(SMALL),
        },
        rounds=21,
        calls=100,
    )


def touched(rows: int) -> Array:
    """Return which rows of a table a step touches."""
    return np.random.default_rng(0).integers(0, rows, 8192)


def rows() -> Results:
    """Time some rows of a table."""
    few, width, indices = 1_000_000, 64, touched(1_000_000)
    return take_turns(
        {
            "ours, NumPy with numba": rows_step(few, width, indices, "numba"),
            "ours, NumPy": rows_step(few, width, indices, "numpy"),
            "torch.optim.SparseAdam": sparse_adam_step(few, width, indices),
        },
        rounds=31,
        calls=5,
    )


def tables() -> Results:
    """Time as many rows of a table that is ten times as large."""
    return take_turns(
        {f"{n:,} rows": rows_step(n, 64, touched(n), "numba") for n in (1_000_000, 10_000_000)},
        rounds=31,
        calls=5,
    )


def sizes() -> Results:
    """Time one array of several sizes, in nanoseconds a parameter.

    At its turn each size advances as many parameters, the largest by one step: what the array
    before has left in the caches would otherwise weigh on the smallest.
    """
    most = max(SIZES)

    def turn(size: int) -> Callable[[], object]:
        take = step([(size,)], np, "numba")
        return lambda: [take() for _ in range(most // size)]

    taken = take_turns({f"{n:,}": turn(n) for n in SIZES}, rounds=21)
    return {name: Taken(*(1e6 * time / most for time in times)) for name, times in taken.items()}


PARTS: Sequence[tuple[str, str, str, Callable[[], Results]]] = [
    ("One array of 16 million float32", "ms", "ours, NumPy with numba", large),
    ("200 arrays of 1,000 float32", "ms", "ours, NumPy with numba", small),
    ("8,192 rows of a table of 1,000,000 x 64", "ms", "ours, NumPy with numba", rows),
    ("8,192 rows of a larger table, with numba", "ms", "1,000,000 rows", tables),
    *SECTIONS,
    ("Time per parameter, with numba", "ns", f"{LARGE:,}", sizes),
]


NOTE = """
A million parameters, with gradients and slots, fit into the last-level cache of most processors,
so memory bandwidth does not limit their steps. It limits the steps of more parameters.
"""


def table(title: str, unit: str, ours: str, results: Results) -> str:
    """Return the section of one part."""
    lines = [
        f"## {title}",
        "",
        f"| program | median, {unit} | quartiles | relative to {ours} |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {t.median:.3g} | {t.low:.3g} to {t.high:.3g} "
        f"| {t.median / results[ours].median:.2f} |"
        for name, t in results.items()
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return the processor, its cores that may be used, and the versions of the libraries."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    there = [name for name in LIBRARIES if find_spec(name)]
    versions = ", ".join(f"{name} {version(name)}" for name in there)
    processor = models[0] if models else platform.processor()
    return f"{processor}, {cores} cores; Python {platform.python_version()}, {versions}"


def chart(parts: Sequence[tuple[str, str, Results]]) -> None:
    """Draw the parts as bars, one below the other."""
    heights = [len(results) for _, _, results in parts]
    figure, axes = plt.subplots(
        len(parts), 1, figsize=(8, 0.34 * sum(heights) + 2.4), height_ratios=heights
    )
    for axis, (title, unit, results) in zip(axes, parts, strict=True):
        colours = ["tab:blue" if "ours" in name else "tab:gray" for name in results]
        bars = axis.barh(list(results), [t.median for t in results.values()], color=colours)
        axis.bar_label(bars, [f"{t.median:.3g}" for t in results.values()], padding=3)
        axis.set_title(f"{title}, {unit}", fontsize="medium")
        axis.invert_yaxis()
        axis.margins(x=0.12)
    figure.tight_layout()
    (DOCS / "images").mkdir(exist_ok=True)
    figure.savefig(DOCS / "images" / "benchmarks.png", dpi=120)


def main() -> None:
    """Measure, print, and write the page."""
    # A process for each part: none inherits the memory of another.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        measured = [
            (title, unit, ours, processes.submit(measure).result())
            for title, unit, ours, measure in PARTS
        ]
    page = f"""# Benchmarks

This page compares the time of one step of Adamax; the gradients exist already. "Ours" is adamax.
Programs that do the same work alternate in one process, a few steps each. The tables contain
medians and quartiles. `memory` moves the bytes of a step with hardly any arithmetic, in one pass
over the same arrays or as a plain copy. No GPU was used. `nox -s bench` wrote this page on:

{machine()}

![The medians as bars](images/benchmarks.png)

"""
    page += "\n\n".join(table(*part) for part in measured) + "\n" + NOTE
    print(page)
    (DOCS / "benchmarks.md").write_text(page)
    chart([(title, unit, results) for title, unit, _, results in measured[:3]])


if __name__ == "__main__":
    main()
