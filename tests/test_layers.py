"""The layers hold: the core knows no array library and no adapter, and is light to import."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import pytest

import adamax
import adamax_adapters

CORE = Path(adamax.__file__).parent
ADAPTERS = Path(adamax_adapters.__file__).parent
CORE_FILES = sorted(CORE.rglob("*.py"))
ADAPTER_FILES = sorted(ADAPTERS.rglob("*.py"))
COMPAT = {"array_api_compat", "array_api_extra"}
OPTIONAL = ("autograd", "cupy", "dask", "jax", "numba", "torch")
ARRAY_LIBRARIES = ("numpy", *OPTIONAL)
BUDGET = 0.050  # seconds that importing adamax may add to importing NumPy


def where(path: Path) -> str:
    return path.relative_to(
        CORE.parent if path.is_relative_to(CORE) else ADAPTERS.parent
    ).as_posix()


each_core_file = pytest.mark.parametrize("path", CORE_FILES, ids=where)
each_file = pytest.mark.parametrize("path", CORE_FILES + ADAPTER_FILES, ids=where)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level names that run-time imports name, those inside functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if node.level == 0 else "adamax"
        yield from imported(node)


def run_python(code: str) -> str:
    """Return what a fresh interpreter prints, which finds the packages where we found them."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    env["PYTHONPATH"] = os.pathsep.join([str(CORE.parent), str(ADAPTERS.parent)])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


@each_core_file
def test_core_imports_only_itself_and_the_standard_library(path: Path) -> None:
    """A module of the core imports the standard library and the core; one also array-api-compat."""
    allowed = set(sys.stdlib_module_names) | {"adamax"}
    if path.name == "_arrays.py":
        allowed |= COMPAT
    assert set(imported(ast.parse(path.read_text()))) <= allowed


def test_compat_library_is_imported() -> None:
    """The file that may import array-api-compat does: the rule above is about something."""
    names = set(imported(ast.parse((CORE / "_arrays.py").read_text())))
    assert names & COMPAT


@each_core_file
def test_core_names_adapters_only_where_it_hands_them_on(path: Path) -> None:
    """No string in the core names the adapters, but in the lazy face and the ``-m`` entry."""
    if path.parent == CORE and path.name in ("__init__.py", "__main__.py"):
        pytest.skip("this file hands the adapters' names on")
    tree = ast.parse(path.read_text())
    docstrings = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    strings = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not [text for text in strings - docstrings if "adamax_adapters" in text]


def test_import_loads_no_array_library() -> None:
    """After ``import adamax``, no array library and no adapter is loaded."""
    loaded = set(run_python("import sys, adamax; print(*sys.modules)").split())
    assert "adamax.rule" in loaded
    assert loaded.isdisjoint({*ARRAY_LIBRARIES, "adamax_adapters"})


def test_import_is_fast() -> None:
    """Importing adamax costs at most 50 ms more than importing NumPy, in the best of 7."""
    code = (
        "import numpy\n"
        "from time import perf_counter as now\n"
        "start = now()\n"
        "import adamax\n"
        "print(now() - start)"
    )
    # The best is what the import itself costs; others also tell how busy the machine was.
    assert min(float(run_python(code)) for _ in range(7)) <= BUDGET


def test_both_packages_share_a_root() -> None:
    """Both packages are from one source tree or one site-packages, never half and half."""
    in_tree = ADAPTERS.parent == CORE.parent / "adapters"
    installed = ADAPTERS.parent == CORE.parent
    assert in_tree or installed


@each_file
def test_all_is_true(path: Path) -> None:
    """Every module with definitions has an ``__all__``, which ruff sorts; every name is there."""
    package = CORE if path.is_relative_to(CORE) else ADAPTERS
    parts = path.relative_to(package.parent).with_suffix("").parts
    if parts[-1] == "__main__":
        pytest.skip("importing it runs the command")
    tree = ast.parse(path.read_text())
    if not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body):
        pytest.skip("defines nothing")
    try:
        module = import_module(".".join(parts).removesuffix(".__init__"))
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")
    names = list(module.__all__)
    assert len(names) == len(set(names))
    assert not [name for name in names if not hasattr(module, name)]


@each_file
def test_files_are_short(path: Path) -> None:
    """A file is named after one idea; one that outgrows 300 lines holds two."""
    lines = path.read_text().count("\n")
    assert lines <= 300


@pytest.mark.parametrize("name", adamax.__all__)
def test_public_names_resolve(name: str) -> None:
    """Every name in ``adamax.__all__`` is there, and `dir` lists it."""
    assert getattr(adamax, name) is not None
    assert name in dir(adamax)


def test_unknown_name_is_an_attribute_error() -> None:
    """The lazy face refuses what it does not hand on."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = adamax.no_such_name


def test_installed_version_is_the_packages() -> None:
    """The distribution's version is ``adamax.__version__``."""
    try:
        version = metadata.version("adamax")
    except metadata.PackageNotFoundError:
        pytest.skip("adamax is not installed")
    assert version == adamax.__version__


@pytest.mark.parametrize("root", [CORE, ADAPTERS], ids=lambda root: root.name)
def test_packages_are_typed(root: Path) -> None:
    """Both packages carry the marker by which type checkers read their annotations."""
    assert (root / "py.typed").is_file()
