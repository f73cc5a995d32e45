"""A resumed run is the uninterrupted one, bit by bit, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from libraries import Library
from runs import environment, new_run, same

from adamax import Adamax, IndexedSlices, Variable, load_checkpoint, save_checkpoint
from adamax.schedules import CosineDecay

RESUME = """
import sys
from runs import new_run
from adamax import load_checkpoint, save_checkpoint

run = new_run(seed=1)
load_checkpoint(sys.argv[1], run.optimizer, run.variables)
run.train(int(sys.argv[2]))
save_checkpoint(sys.argv[3], run.optimizer, run.variables)
"""


def test_another_process_goes_on_exactly(tmp_path: Path) -> None:
    """50 steps, and 25, a new process and 25 more: dense, sparse, with a schedule and decay."""
    through = new_run()
    through.train(50)
    save_checkpoint(tmp_path / "through", through.optimizer, through.variables)
    half = new_run()
    half.train(25)
    save_checkpoint(tmp_path / "half", half.optimizer, half.variables)
    files = [str(tmp_path / "half"), "25", str(tmp_path / "resumed")]
    subprocess.run([sys.executable, "-c", RESUME, *files], check=True, env=environment())
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "through").read_bytes()
    # The comparison is about something: one step less gives another file.
    assert (tmp_path / "half").read_bytes() != (tmp_path / "through").read_bytes()


@pytest.mark.feature("checkpoint", "schedules")
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_every_library_goes_on_exactly(library: Library, sparse: bool, tmp_path: Path) -> None:
    """6 steps, and 3 saved and loaded and 3 more, in every dtype and on every device."""

    def advance(w: Variable, optimizer: Adamax, steps: int) -> None:
        for _ in range(steps):
            rng = np.random.default_rng(int(optimizer.iterations))
            gradient = library.asarray(rng.normal(size=(3, 2)))
            if sparse:
                rows = library.asarray([4, 0, 4], "int32")
                optimizer.apply_gradients([(IndexedSlices(gradient, rows), w)])
            else:
                optimizer.apply_gradients([(gradient, w)])

    def new(value: float) -> tuple[Variable, Adamax]:
        shape = (5, 2) if sparse else (3, 2)
        w = Variable(library.asarray(np.full(shape, value)), name="w")
        return w, Adamax(CosineDecay(0.1, 10), decay=0.1)

    through = new(0.5)
    advance(*through, 6)
    half = new(0.5)
    advance(*half, 3)
    save_checkpoint(tmp_path / "half", half[1], half[0])
    resumed = new(0.0)
    load_checkpoint(tmp_path / "half", resumed[1], resumed[0])
    advance(*resumed, 3)
    assert same(
        [resumed[0].numpy(), *resumed[1].get_weights()],
        [through[0].numpy(), *through[1].get_weights()],
    )
