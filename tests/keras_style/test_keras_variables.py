"""Variables of Keras 3, which chooses its backend when it is imported: each in a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras")

MODEL = """
import keras
import numpy as np
from adamax import Adamax
model = keras.Sequential([keras.layers.Dense(1)])
model.build((None, 2))
variables, optimizer = model.trainable_variables, Adamax(0.1)
try:
    model.compile(optimizer=optimizer)
except ValueError:
    print("not compiled")
"""

TRAINED = """
import torch
x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
y = x @ torch.tensor([[1.0], [2.0]]) + 0.5
loss = lambda: ((model(x) - y) ** 2).mean()
for step in range(300):
    model.zero_grad()
    loss().backward()
    optimizer.apply_gradients([(v.value.grad, v) for v in variables])
for step in range(300):
    optimizer.minimize(loss, variables)
print(np.allclose(model.get_weights()[1], 0.5, atol=1e-2), optimizer.iterations.numpy())
print(len(optimizer.weights), optimizer.get_slot(variables[0], "m").shape)
"""

REFUSED = """
for use in (
    lambda: optimizer.build(variables),
    lambda: optimizer.minimize(lambda: 1.0, variables),
    lambda: optimizer.apply_gradients([(np.ones((2, 1), "float32"), variables[0])]),
):
    try:
        use()
    except TypeError as error:
        print("keras.Variable" in str(error), "v.assign(w.numpy())" in str(error))
"""


def printed(code: str, backend: str, folder: Path) -> list[str]:
    """Return the lines that a program prints with Keras on a backend."""
    settings = {"KERAS_BACKEND": backend, "KERAS_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MODEL + code],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_variables_on_torch_are_trained_in_place(tmp_path: Path) -> None:
    """Each step updates the model itself; its variables are known again at the next step."""
    pytest.importorskip("torch")
    lines = printed(TRAINED, "torch", tmp_path)
    assert lines == ["not compiled", "True 600", "5 (2, 1)"]


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_variables_of_other_backends_are_refused(backend: str, tmp_path: Path) -> None:
    """Arrays that cannot be updated in place are an error that names the type and the way."""
    pytest.importorskip(backend)
    assert printed(REFUSED, backend, tmp_path) == ["not compiled", *["True True"] * 3]
