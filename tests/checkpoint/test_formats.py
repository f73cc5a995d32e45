"""The formats of files are what the documentation says, and stay what they are.

The golden files were made by `by_hand` and by a text editor; a change of the writer that changes
their bytes needs a new format.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from runs import same

from adamax import Adamax, Variable, inspect_checkpoint, load_checkpoint
from adamax.schedules import ExponentialDecay
from adamax_adapters.checkpoint.contents import write
from adamax_adapters.checkpoint.state import snapshot

DATA = Path(__file__).parents[1] / "data"
CHECKPOINT = DATA / "checkpoint-1.safetensors"
CONFIGURATION = DATA / "optimizer-1.json"

VALUES: dict[str, Any] = {
    "dense/kernel": np.array([[0.5, -1.0], [2.0, 1e-30]], np.float32),
    "table ü": np.array([[1.0], [np.pi], [-0.0]]),
    "scale": np.array([1.5, -3e38], ml_dtypes.bfloat16),
    "bias": np.array(65504.0, np.float16),
    "nothing": np.zeros((0, 3), np.float32),
}


def golden_run() -> tuple[Adamax, list[Variable]]:
    """Return the optimizer and the variables of the golden files."""
    optimizer = Adamax(ExponentialDecay(0.1, 10, 0.9), beta_1=0.8, decay=0.01, clipnorm=1.0)
    variables = [Variable(value, name=name) for name, value in VALUES.items()]
    optimizer.build(variables)
    for i, variable in enumerate(variables):
        for slot, number in (("m", -0.1), ("v", 0.7)):
            place = optimizer.get_slot(variable, slot)
            place.assign(np.full(place.shape, number * (i + 1), place.dtype))
    optimizer.add_slot(variables[3], "average", np.array([1.0, 2.0]))
    optimizer.add_weight("best loss", (), "float64", initializer=0.25)
    optimizer.iterations.assign(7)
    return optimizer, variables


def by_hand(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, Any]) -> bytes:
    """Return a checkpoint, written from docs/formats.md with nothing of adamax."""

    def spelled(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    metadata["sha256"] = {
        name: hashlib.sha256(f"{dtype}{spelled(shape)}".encode() + data).hexdigest()
        for name, (dtype, shape, data) in tensors.items()
    }
    metadata["digest"] = hashlib.sha256(spelled(metadata).encode()).hexdigest()
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
    header: dict[str, Any] = {"__metadata__": {"adamax": spelled(metadata)}}
    body = b""
    for name in sorted(tensors, key=lambda name: (-sizes[tensors[name][0]], name)):
        dtype, shape, data = tensors[name]
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def golden_bytes() -> bytes:
    """Return the golden checkpoint by hand: what it holds is spelled out here once more."""

    def f4(*numbers: float) -> bytes:
        return struct.pack(f"<{len(numbers)}f", *numbers)

    def f8(*numbers: float) -> bytes:
        return struct.pack(f"<{len(numbers)}d", *numbers)

    return by_hand(
        {
            "variable/dense/kernel": ("F32", [2, 2], f4(0.5, -1.0, 2.0, 1e-30)),
            "m/dense/kernel": ("F32", [2, 2], f4(*[-0.1] * 4)),
            "v/dense/kernel": ("F32", [2, 2], f4(*[0.7] * 4)),
            "variable/table ü": ("F64", [3, 1], f8(1.0, 3.141592653589793, -0.0)),
            "m/table ü": ("F64", [3, 1], f8(*[-0.2] * 3)),
            "v/table ü": ("F64", [3, 1], f8(*[1.4] * 3)),
            "variable/scale": ("BF16", [2], bytes.fromhex("c03f62ff")),
            "m/scale": ("F32", [2], f4(*[-0.1 * 3] * 2)),
            "v/scale": ("F32", [2], f4(*[0.7 * 3] * 2)),
            "variable/bias": ("F16", [], struct.pack("<e", 65504.0)),
            "m/bias": ("F32", [], f4(-0.4)),
            "v/bias": ("F32", [], f4(2.8)),
            "average/bias": ("F32", [2], f4(1.0, 2.0)),
            "variable/nothing": ("F32", [0, 3], b""),
            "m/nothing": ("F32", [0, 3], b""),
            "v/nothing": ("F32", [0, 3], b""),
            "weight/best loss": ("F64", [], f8(0.25)),
        },
        {
            "format": 1,
            "library": "adamax 0.1.0",
            "iterations": 7,
            "optimizer": {
                "class_name": "Adamax",
                "config": {
                    "name": "Adamax",
                    "clipnorm": 1.0,
                    "learning_rate": {
                        "class_name": "ExponentialDecay",
                        "config": {
                            "initial_learning_rate": 0.1,
                            "decay_steps": 10.0,
                            "decay_rate": 0.9,
                            "staircase": False,
                            "name": None,
                        },
                    },
                    "decay": 0.01,
                    "beta_1": 0.8,
                    "beta_2": 0.999,
                    "epsilon": 1e-07,
                },
            },
            "variables": [
                {"name": name, "dtype": dtype, "shape": shape, "tensors": ["variable", *slots]}
                for name, dtype, shape, slots in [
                    ("dense/kernel", "float32", [2, 2], ["m", "v"]),
                    ("table ü", "float64", [3, 1], ["m", "v"]),
                    ("scale", "bfloat16", [2], ["m", "v"]),
                    ("bias", "float16", [], ["m", "v", "average"]),
                    ("nothing", "float32", [0, 3], ["m", "v"]),
                ]
            ],
            "weights": ["best loss"],
        },
    )


def test_the_golden_file_is_what_the_documentation_says() -> None:
    """A writer made from docs/formats.md alone makes the same bytes."""
    assert golden_bytes() == CHECKPOINT.read_bytes()


def test_the_writer_makes_the_golden_file(tmp_path: Path) -> None:
    """Byte by byte; the version of the library that wrote it is the only thing that may change."""
    contents = snapshot(*golden_run())._replace(library="adamax 0.1.0")
    write(tmp_path / "file", contents)
    assert (tmp_path / "file").read_bytes() == CHECKPOINT.read_bytes()


def test_the_golden_file_loads() -> None:
    """Everything in it is found again, by this and every later version."""
    expected, variables = golden_run()
    optimizer, loaded = golden_run()
    for variable in [*loaded, *optimizer.weights]:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    state = optimizer.get_state([])
    weights = [weight._replace(value=np.zeros_like(weight.value)) for weight in state.weights]
    optimizer.set_state(state._replace(weights=weights), [])
    load_checkpoint(CHECKPOINT, optimizer, loaded)
    assert same(optimizer.get_weights(), expected.get_weights())
    assert same([v.numpy() for v in loaded], [v.numpy() for v in variables])
    assert optimizer.get_state().weights[0].value == 0.25
    assert inspect_checkpoint(CHECKPOINT)["iterations"] == 7


def test_the_safetensors_package_loads_the_golden_file() -> None:
    """The reference implementation finds the same arrays, bfloat16 too."""
    package = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    found = package.load_file(CHECKPOINT)
    assert len(found) == 17
    for name, value in VALUES.items():
        assert same([found[f"variable/{name}"]], [value])
    assert np.array_equal(found["average/bias"], [1.0, 2.0])


def test_the_golden_configuration() -> None:
    """`to_json` writes it, and `from_json` reads it."""
    text = CONFIGURATION.read_text()
    optimizer, _ = golden_run()
    assert optimizer.to_json() + "\n" == text
    assert Adamax.from_json(text).get_config() == optimizer.get_config()
