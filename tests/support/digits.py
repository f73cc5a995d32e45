"""Pictures of digits, drawn by a formula: what newcomers train on, instead of a download."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Digits", "best_possible", "digits"]

# The lit segments of a seven-segment display, by digit; a is on top, then clockwise, g the middle.
SEGMENTS = "abcdef bc abdeg abcdg bcfg acdfg acdefg abc abcdefg abcdfg".split()
# Where a segment is in a picture of 6 x 4 pixels: rows, columns.
STROKES = {
    "a": (slice(0, 1), slice(0, 4)),
    "b": (slice(0, 3), slice(3, 4)),
    "c": (slice(3, 6), slice(3, 4)),
    "d": (slice(5, 6), slice(0, 4)),
    "e": (slice(3, 6), slice(0, 1)),
    "f": (slice(0, 3), slice(0, 1)),
    "g": (slice(2, 3), slice(0, 4)),
}
SHIFTS = [(row, column) for row in range(2) for column in range(2)]


class Digits(NamedTuple):
    x: Any  # pictures of 7 x 5 pixels, one a row
    labels: Any


def drawn(digit: int, shift: tuple[int, int]) -> Any:
    """Return a digit without noise."""
    picture = np.zeros((7, 5))
    inner = picture[shift[0] : shift[0] + 6, shift[1] : shift[1] + 4]
    for segment in SEGMENTS[digit]:
        inner[STROKES[segment]] = 1.0
    return picture.ravel()


def digits(count: int, seed: int, noise: float = 0.25) -> Digits:
    """Return pictures of digits at random positions, with normally distributed noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    shifts = [SHIFTS[i] for i in rng.integers(0, len(SHIFTS), count)]
    x = np.stack([drawn(*pair) for pair in zip(labels.tolist(), shifts, strict=True)])
    return Digits(x + noise * rng.normal(size=x.shape), labels)


def best_possible(x: Any) -> Any:
    """Return the labels that are most probable if one knows how the pictures were drawn."""
    templates = np.stack([[drawn(digit, shift) for shift in SHIFTS] for digit in range(10)])
    distances = ((x[:, None, None] - templates) ** 2).sum(axis=-1)
    return distances.min(axis=2).argmin(axis=1)
