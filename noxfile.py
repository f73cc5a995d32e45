"""What is checked: `nox` runs the tests; other sessions check the rest, as `nox -l` lists."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")

# Files that run with an optional library alone; the session `libraries` measures them too.
OPTIONAL = ",".join(
    f"*/{name}.py"
    for name in "backends/cupy backends/donation backends/jax backends/jax_donated "
    "backends/numba backends/torch gradients/jax gradients/torch keras_style/cuda_graph".split()
)

# Prints where both packages come from; fails unless that is below the folder of its argument.
ORIGIN = """
import pathlib, sys
import adamax, adamax_adapters
for package in (adamax, adamax_adapters):
    folder = pathlib.Path(package.__file__).resolve()
    print(folder)
    assert folder.is_relative_to(pathlib.Path(sys.argv[1]).resolve()), folder
"""


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group; older pips cannot."""
    return list(nox.project.dependency_groups(PROJECT, name))


def covered(session: nox.Session, *, run: Sequence[str] = (), report: Sequence[str] = ()) -> None:
    """Run pytest; without arguments, fail where too little is covered."""
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "--cov", "--cov-report=", "--cov-fail-under=0", *run)
    session.run("coverage", "report", *report)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests and the docstrings' examples; without arguments, measure what they cover."""
    session.install("-e", ".", *group("tests"))
    covered(session, report=["--omit", OPTIONAL])


@nox.session(python=["3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """Run the tests on later Pythons."""
    session.install("-e", ".", *group("tests"))
    session.run("pytest", *session.posargs)


@nox.session
def libraries(session: nox.Session) -> None:
    """Run the tests with the optional libraries too, and write down what passes on which."""
    session.install("-e", ".", *group("tests"), *group("libraries"))
    covered(session, run=["--matrix=docs/portability.md"])


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types, and what users of array libraries are told of theirs."""
    session.install("-e", ".", *group("tests"), *group("libraries"), *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "--strict")
    # As a user runs them: without our settings, with the types of JAX and torch.
    session.run("mypy", "--strict", "--config-file=", "--follow-imports=silent", "tests/typing")
    session.run("pyright")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it, and run a copy of the tests away from the sources."""
    session.install("build")
    with TemporaryDirectory() as name:
        folder = Path(name)
        session.run("python", "-m", "build", "--outdir", str(folder / "dist"), str(ROOT))
        (built,) = (folder / "dist").glob("*.whl")
        session.install(str(built), *group("tests"))
        shutil.copytree(ROOT / "tests", folder / "copy" / "tests")
        # Its pythonpath names folders that are not there: both packages are the installed ones.
        shutil.copy(ROOT / "pyproject.toml", folder / "copy")
        with session.chdir(folder / "copy"):
            session.run("python", "-c", ORIGIN, session.virtualenv.location)
            session.run("pytest", "tests", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-b", "html", "docs", "docs/_build")


@nox.session
def bench(session: nox.Session) -> None:
    """Print what steps and differentiation cost; nothing is checked, as machines differ."""
    session.install("-e", ".", *group("tests"), *group("bench"))
    if "--gpu" in session.posargs:
        session.install("jax[cuda13]")
        # JAX would take most of the device's memory for itself.
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        session.run("python", "tests/benchmarks/gpu.py", env=environment)
        return
    session.run("python", "tests/benchmarks/steps.py")
    # Differentiation is compared on one core.
    session.run("python", "tests/benchmarks/gradients.py", env={"OPENBLAS_NUM_THREADS": "1"})


@nox.session
def fidelity(session: nox.Session) -> None:
    """Compare 10,000 steps in three dtypes with float64: ours, torch's, optax's and Keras's."""
    session.install("-e", ".", *group("tests"), *group("libraries"))
    session.run("python", "tests/fidelity/fidelity.py")
