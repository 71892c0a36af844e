"""What holds for every test, and for the processes that tests start."""

import os

from hypothesis import HealthCheck, settings

# Plans follow the memory that is free, unless they are told: a test says the same whatever else runs on the machine.
os.environ["SHALLOWDA_MEMORY_BUDGET"] = str(2**30)

# The same examples everywhere, however long the machine takes over one.
settings.register_profile(
    "anywhere", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("anywhere")
