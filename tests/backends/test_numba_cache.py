"""What numba compiles is kept on disk, by the rule that it is of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_process import ENVIRONMENT

pytest.importorskip("numba")

PROGRAM = """
import json, sys
import numpy as np
from numba.core import event
from adamax import IndexedSlices, Variable
from adamax_adapters.backends import numba
from rule_cases import CASES

found = {}
for name in sys.argv[1:]:
    case = CASES[name]
    p, *state = (Variable(np.full((3, 2), 5, np.float32)) for _ in ("p", *case.rule.state))
    with event.install_recorder("numba:compile") as recorder:
        gradient = np.ones((3, 2), np.float32)
        numba.dense([(p, *state)], case.rule)([gradient], case.at(1))()
        slices = IndexedSlices(gradient[:2], np.array([1, 1]))
        numba.rows((p, *state), slices, case.at(2), case.rule)()
    kinds = [kind.is_start for _, kind in recorder.buffer]
    found[name] = sum(kinds), p.numpy().tolist()
print(json.dumps(found))
"""


NO_FOLDER = """
from numba.core.caching import CacheImpl

CacheImpl._locator_classes = []
"""


def run(folder: Path, *names: str, before: str = "") -> dict[str, tuple[int, object]]:
    """Return for each rule how often a new process compiles, and where its parameter ends."""
    support = Path(__file__).parents[1] / "support"
    path = os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(support)])
    env = {**ENVIRONMENT, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", before + PROGRAM, *names]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, tuple[int, object]] = json.loads(done.stdout)
    return found


def test_another_process_compiles_nothing_again(tmp_path: Path) -> None:
    """Each of two rules is compiled once and for all, and neither is taken for the other."""
    first = run(tmp_path, "default", "epsilon inside")
    assert all(compiled > 0 for compiled, _ in first.values())
    again = run(tmp_path, "epsilon inside", "default")
    assert {name: (0, ends) for name, (_, ends) in first.items()} == {
        name: tuple(found) for name, found in again.items()
    }
    assert first["default"][1] != first["epsilon inside"][1]


def test_without_a_folder_to_write_to(tmp_path: Path) -> None:
    """Where nothing can be kept, as in an archive, a process compiles for itself."""
    ((compiled, _),) = run(tmp_path, "default", before=NO_FOLDER).values()
    assert compiled > 0
    assert not any(tmp_path.iterdir())
