"""Settings that every test shares."""

import os

from hypothesis import settings

# The same examples on every machine, and no test that fails because a machine was busy.
settings.register_profile("adamax", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "adamax"))
