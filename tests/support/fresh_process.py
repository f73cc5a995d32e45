"""What a fresh process needs, to find the packages where the tests found them."""

import os
from pathlib import Path

import adamax
import adamax_adapters

__all__ = ["ENVIRONMENT"]

PACKAGES = [Path(str(package.__file__)).parents[1] for package in (adamax, adamax_adapters)]

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
    "PYTHONPATH": os.pathsep.join(map(str, PACKAGES)),
    "OPENBLAS_NUM_THREADS": "1",
}
"""Variables of the environment; what the process runs is not measured for coverage."""
