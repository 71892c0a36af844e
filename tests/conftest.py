"""What holds for every test, and for the processes that tests start."""

import os

# Plans follow the memory that is free, unless they are told: a test says the same whatever else runs on the machine.
os.environ["SHALLOWDA_MEMORY_BUDGET"] = str(2**30)
