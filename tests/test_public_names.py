"""Public names say `adamax`, where users import them, and their examples are found there."""

import doctest
import inspect
import pickle
import pydoc
import traceback

import numpy as np
import pytest

import adamax

NAMES = [name for name in adamax.__all__ if not inspect.ismodule(getattr(adamax, name))]
each_name = pytest.mark.parametrize("name", NAMES)


@each_name
def test_a_public_name_is_of_adamax(name: str) -> None:
    """What users import from `adamax` says so, and help begins with that name."""
    named = getattr(adamax, name)
    assert (named.__module__, named.__name__) == ("adamax", name)
    title = pydoc.render_doc(named).partition("\n")[0]
    assert title.endswith(f"{name} in module adamax")


@each_name
def test_pickles_name_what_users_import(name: str) -> None:
    """A pickle refers to a public name by `adamax`, and not by a file that may be split."""
    named = getattr(adamax, name)
    pickled = pickle.dumps(named)
    assert pickle.loads(pickled) is named
    assert b"adamax_adapters" not in pickled


def test_pickled_objects_name_their_public_class() -> None:
    """Objects of public classes are pickled under the names that users import."""
    objects = [adamax.Variable(np.ones(2)), adamax.init(np.ones(2)), adamax.Adamax(0.1)]
    for x in objects:
        assert type(pickle.loads(pickle.dumps(x))) is type(x)
        assert f"cadamax\n{type(x).__name__}\n".encode() in pickle.dumps(x, protocol=0)


def test_tracebacks_show_the_public_error() -> None:
    """A traceback names the error as an ``except`` clause would."""
    error = adamax.CheckpointError("broken")
    assert traceback.format_exception_only(error) == ["adamax.CheckpointError: broken\n"]


def test_examples_are_found_under_the_public_name() -> None:
    """The examples of public names are those of `adamax`, as pytest collects them."""
    examples = {name for name in NAMES if ">>>" in pydoc.getdoc(getattr(adamax, name))}
    found = doctest.DocTestFinder(exclude_empty=True).find(adamax)
    assert {"Adamax", "CheckpointManager", "Variable"} <= examples
    assert {f"adamax.{name}" for name in examples} <= {test.name for test in found if test.examples}
