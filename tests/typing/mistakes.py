"""Mistakes that a type checker is to report: that a comment ignores nothing is an error too."""

import numpy as np
from numpy.typing import NDArray

from adamax import (
    Adamax,
    IndexedSlices,
    Variable,
    clipping,
    get_keras_weights,
    init,
    load_checkpoint,
    save_checkpoint,
    schedules,
    update,
)
from adamax import value_and_gradients as differentiated

w = Variable(np.ones(3))
g: NDArray[np.float64] = np.ones(3)


def constructor() -> None:
    """Keywords misspelt or of other libraries, values that cannot be meant."""
    Adamax(learning_rat=0.1)  # type: ignore[call-arg]
    Adamax(clipnom=1.0)  # type: ignore[call-arg]
    Adamax(betas=(0.9, 0.999))  # type: ignore[call-arg]
    Adamax(weight_decay=0.1)  # type: ignore[call-arg]
    Adamax([w], 0.1)  # type: ignore[arg-type]
    Adamax("0.1")  # type: ignore[arg-type]
    Adamax(0.1, beta_1=None)  # type: ignore[arg-type]
    Adamax(decay=schedules.CosineDecay(0.1, 10))  # type: ignore[arg-type]
    Adamax(0.1, 0.9, 0.999, 1e-7, "name", 1.0)  # type: ignore[call-arg]
    Adamax(backend="nunpy")  # type: ignore[arg-type]
    Adamax(backend=object())  # type: ignore[arg-type]


def hyperparameters() -> None:
    """Attributes that are not there, values that they do not take."""
    optimizer = Adamax()
    _ = optimizer.learning_rates  # type: ignore[attr-defined]
    optimizer.learning_rate = "0.1"  # type: ignore[assignment]
    optimizer.beta_1 = schedules.CosineDecay(0.1, 10)  # type: ignore[assignment]
    optimizer.clipnorm.assign(1.0)  # type: ignore[union-attr]
    optimizer.backend = "torhc"  # type: ignore[assignment]


def steps() -> None:
    """Arguments missing, or of another kind."""
    optimizer = Adamax()
    optimizer.step()  # type: ignore[attr-defined]
    optimizer.minimize(lambda: w**2)  # type: ignore[call-arg]
    optimizer.minimize(1.0, [w])  # type: ignore[arg-type]
    optimizer.minimize(lambda: w**2, [w], engine="numpy")  # type: ignore[arg-type]
    optimizer.minimize(lambda: w**2, None)  # type: ignore[arg-type]
    optimizer.apply_gradients([g])  # type: ignore[list-item]
    optimizer.apply_gradients([(g, 1.0)])  # type: ignore[list-item]
    optimizer.get_slot("w", "m")  # type: ignore[arg-type]
    differentiated(lambda: w**2, 1)  # type: ignore[arg-type]


def variables() -> None:
    """Neither arrays nor numbers."""
    Variable([1.0, 2.0])  # type: ignore[type-var]
    w.assign(None)  # type: ignore[arg-type]
    IndexedSlices(g, None)  # type: ignore[type-var]
    clipping.clip_by_norm([1.0], 1.0)  # type: ignore[type-var]
    clipping.clip_by_norm(g, None)  # type: ignore[arg-type]


def pure_form() -> None:
    """Arguments in another order, the state of other parameters."""
    params = {"w": g}
    state = init(params)
    update(params, state, params)  # type: ignore[arg-type]
    update(params, params, state, lr=0.1)  # type: ignore[call-arg]
    update(params, params, state, learning_rate="0.1")  # type: ignore[arg-type]
    update([g], params, state)  # type: ignore[misc]
    schedules.CosineDecay(0.1)  # type: ignore[call-arg]


def files() -> None:
    """Arguments in another order, names that are not known."""
    save_checkpoint(Adamax(), "file")  # type: ignore[arg-type]
    load_checkpoint("file", Adamax(), 3)  # type: ignore[arg-type]
    load_checkpoint("file", Adamax(), [w], strickt=False)  # type: ignore[call-arg]
    get_keras_weights(Adamax(), "keras3")  # type: ignore[arg-type]
