"""The matrix of libraries and features, written from the run itself: ``pytest --matrix=PATH``.

A test counts for the features of its marks, ``pytest.mark.feature("dense", ...)``, on the usage
of the `Library` among its parameters; a test that is bound to one library names it in the mark:
``pytest.mark.feature("dense", usage=Usage.CUPY)``. A cell for which no test has run is a
failure of the run.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from libraries import Library, Usage

FEATURES = {
    "dense": "`apply_gradients` and `rule.step` with gradients of a variable's shape",
    "sparse": "the same with `IndexedSlices`: rows of a table, some listed twice",
    "clipping": "by value, by norm and by global norm",
    "schedules": "learning rates that change from step to step, `decay` among them",
    "gradients": "`minimize`, `get_gradients`: a loss differentiated by the tape or the library",
    "checkpoint": "`get_weights`, `set_weights`, copies, and files that resume a run bit for bit",
    "functional": "`init` and `update`, which write to nothing",
    "jit": "`update` traced and compiled by the library",
    "sharded": "arrays in parts, on several devices or in chunks, that stay so",
}
"""Columns, and what their tests do."""

USAGES = {
    Usage.NUMPY: "arrays that cannot be written to; float16, bfloat16, float32, float64",
    Usage.STRICT_2024: "the standard and nothing else, every optional feature off, on three of "
    "its simulated devices, one of them without float64",
    Usage.STRICT_2025: "the same for the next version, on four devices",
    Usage.FAKE_DEVICE: "a fake device library: nothing converts to NumPy, mixes with it or gives "
    "a scalar, and every call that would wait for the device is recorded",
    Usage.TORCH_32: "tensors of the CPU, float32 by default",
    Usage.TORCH_64: "tensors of the CPU, float64 by default",
    Usage.JAX: "one call after the other",
    Usage.JAX_JIT: "pure functions under `jax.jit`; what is left to eager calls is in the row "
    "above",
    Usage.DASK: "lazy arrays",
    Usage.CUPY_ON_HOST: "the CuPy wheel without a GPU: its own arrays over host memory and "
    "our kernels built by g++; for losses, its functions on the arrays of a fake CuPy",
    Usage.CUPY: "`pytest -m gpu`",
}
"""Rows, and what they are."""

PLAIN = (Usage.NUMPY, Usage.STRICT_2024, Usage.STRICT_2025, Usage.FAKE_DEVICE, Usage.CUPY)
ON_HOST = ("dense", "sparse", "schedules", "gradients")
ABSENT: dict[tuple[Usage, str], str] = {
    **dict.fromkeys([(x, "sharded") for x in PLAIN], "an array of the library is one piece"),
    **dict.fromkeys(
        [(x, "jit") for x in (*PLAIN, Usage.DASK)], "the library has no compiler for `update`"
    ),
    **dict.fromkeys(
        [(Usage.CUPY_ON_HOST, x) for x in FEATURES if x not in ON_HOST],
        "calls CuPy's own functions, which need a GPU",
    ),
    (Usage.JAX, "jit"): "compiled functions are in the row below",
    (Usage.JAX_JIT, "checkpoint"): "a compiled function writes no files",
}
"""Features that a library does not have in a usage, and why: no test could run."""

PAGE = """\
# Portability

The same code runs on every array library. The tests write this page as they run. A cell contains
the number of tests that passed; a cell without a test fails the run.

{table}

{notes}

## Rows

Each library runs in all its dtypes, which share its row.

{rows}

## Columns

The tests compare results with references that NumPy computes in float64. They compare values, and
also type, namespace, dtype, shape and device, which must be those of the variable.

{columns}

## Run it yourself

```sh
python -m nox -s libraries
```

installs the libraries, runs the tests and writes this page. With what is installed already:

```sh
python -m pytest --matrix=docs/portability.md
```

The run above had {versions}.
"""

PACKAGES = "numpy array-api-compat array-api-strict torch jax dask cupy-cuda13x numba".split()


class Cell:
    """What the tests of one feature in one usage came to."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: dict[str, None] = {}  # in the order in which they were given


class Position(NamedTuple):
    """A cell's position in the table."""

    usage: Usage
    feature: str


class Matrix:
    """The cells of a run, and the page that is written at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells = {Position(usage, x): Cell() for usage in USAGES for x in FEATURES}
        self.faults: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        report: pytest.TestReport = yield
        if report.when == "call" or report.outcome != "passed":
            for position in positions(item):
                cell = self.cells[position]
                cell.outcomes[report.outcome] += 1
                if isinstance(report.longrepr, tuple):
                    cell.reasons[report.longrepr[2].removeprefix("Skipped: ")] = None
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.path.write_text(self.page(), encoding="utf-8")
        if self.faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"matrix of libraries and features: {self.path}")
        for fault in self.faults or ["every cell holds"]:
            terminalreporter.write_line(fault)

    def page(self) -> str:
        """Return the page; what is wrong with its cells is in `faults` from then on."""
        notes: dict[str, int] = {}
        body = [
            [f"`{usage}`", *(self.text(Position(usage, x), notes) for x in FEATURES)]
            for usage in USAGES
        ]
        return PAGE.format(
            table=table(["", *FEATURES], body),
            notes="\n".join(f"[^{number}]: {reason}" for reason, number in notes.items()),
            rows="\n".join(f"- `{usage}`: {what}." for usage, what in USAGES.items()),
            columns="\n".join(f"- *{feature}*: {what}." for feature, what in FEATURES.items()),
            versions=versions(),
        )

    def text(self, position: Position, notes: dict[str, int]) -> str:
        """Return what a cell shows; `notes` holds the reasons, with their numbers."""
        cell, absent = self.cells[position], ABSENT.get(position)
        if missing := position.usage.missing:
            return noted("not run", [missing], notes)
        if cell.outcomes["failed"]:
            self.faults.append(
                f"{position.usage}, {position.feature}: {cell.outcomes['failed']} fail"
            )
            return "FAIL"
        if passed := cell.outcomes["passed"]:
            if absent:
                self.faults.append(
                    f"{position.usage}, {position.feature}: passes, and is said not to"
                )
            return f"pass ({passed})"
        reasons = [absent] if absent else list(cell.reasons)
        if not reasons:
            self.faults.append(f"{position.usage}, {position.feature}: no test has run")
            return "MISSING"
        return noted("n/a", reasons, notes)


def positions(item: pytest.Item) -> Iterator[Position]:
    """Yield the cells that a test counts for."""
    values = getattr(getattr(item, "callspec", None), "params", {}).values()
    own = [x.usage for x in values if isinstance(x, Library)]
    found = set()
    for mark in item.iter_markers("feature"):
        usages = [mark.kwargs["usage"]] if "usage" in mark.kwargs else own
        found |= {Position(usage, feature) for usage in usages for feature in mark.args}
    yield from found


def noted(text: str, reasons: Iterable[str], notes: dict[str, int]) -> str:
    """Return `text` with the numbers of its reasons, which `notes` holds from then on."""
    numbers = [notes.setdefault(reason, len(notes) + 1) for reason in reasons]
    return " ".join([text, *(f"[^{number}]" for number in numbers)])


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body]
    )


def versions() -> str:
    """Return the versions of what is installed of Python and the libraries."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        type=Path,
        metavar="PATH",
        help="write the matrix of libraries and features to PATH",
    )


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--matrix"):
        config.pluginmanager.register(Matrix(path))
