"""Made the files in ``keras/``: states of real Keras optimizers, and what must be found in them.

Run it once for each name of an optimizer, as in ``python make_keras.py keras``, where keras,
tf-keras, tensorflow, h5py and scipy are installed: keras, schedule, bfloat16, tf-keras, legacy.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "keras"


def main(kind: str) -> None:
    """Train a model of two equal layers for 3 steps, and write its state and the step after."""
    os.environ["KERAS_BACKEND"] = "numpy"
    if kind in ("tf-keras", "legacy"):
        import tf_keras as keras
        from tensorflow import constant as tensor
    else:
        import keras
        from keras.ops import convert_to_tensor as tensor
    if kind == "bfloat16":
        keras.config.set_dtype_policy("bfloat16")

    rate = 0.25
    if kind == "schedule":
        rate = keras.optimizers.schedules.ExponentialDecay(0.25, 10, 0.5)
    module = keras.optimizers.legacy if kind == "legacy" else keras.optimizers
    layers = [keras.layers.Dense(2, name="first"), keras.layers.Dense(2, name="second")]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(optimizer=module.Adamax(rate), loss="mse")
    variables = model.trainable_variables
    rng = np.random.default_rng(0)

    def step() -> dict[str, Any]:
        gradients = [tensor(rng.normal(size=tuple(v.shape)), v.dtype) for v in variables]
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        names = ["/".join(name_of(variable).split("/")[-2:]) for variable in variables]
        return dict(zip(names, gradients, strict=True))

    for _ in range(3):
        step()
    FOLDER.mkdir(exist_ok=True)
    if kind in ("keras", "tf-keras"):
        model.save(FOLDER / f"{kind}.keras")
    if kind != "legacy":  # of which such files hold nothing
        model.save_weights(FOLDER / f"{kind}.weights.h5")

    state = model.optimizer.variables
    state = state() if callable(state) else state
    found = {f"state/{i:02}": place for i, place in enumerate(state)}
    # Which is which is told by the names that Keras gave, and by nothing else.
    for name in ("first/kernel", "first/bias", "second/kernel", "second/bias"):
        found[f"variable/{name}"] = called(variables, name)
        for slot, word, letter in (("m", "momentum", "m"), ("v", "norm", "u")):
            theirs = {
                "legacy": f"{name}/{slot}",
                "tf-keras": f"{letter}/{name}",
            }.get(kind, f"{name.replace('/', '_')}_{word}")
            found[f"{slot}/{name}"] = called(state, theirs)
    found = {key: number(array) for key, array in found.items()}
    for name, gradient in step().items():
        found |= {
            f"gradient/{name}": number(gradient),
            f"next/{name}": number(called(variables, name)),
        }
    np.savez_compressed(FOLDER / f"{kind}.npz", **found)


def name_of(variable: Any) -> str:
    """Return the whole name of a variable, whichever Keras it is of."""
    return str(getattr(variable, "path", variable.name)).removesuffix(":0")


def called(variables: list[Any], end: str) -> Any:
    """Return the one variable whose name ends so."""
    (found,) = (variable for variable in variables if name_of(variable).endswith(end))
    return found


def number(array: Any) -> Any:
    """Return an array that every NumPy can read: bfloat16 as float32."""
    array = np.asarray(array)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


if __name__ == "__main__":
    main(sys.argv[1])
