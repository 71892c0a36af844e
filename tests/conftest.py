"""What holds for every test and for the processes that tests start, and a problem that all methods solve."""

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Plans follow the memory that is free, unless they are told: a test says the same whatever else runs on the machine.
os.environ["SHALLOWDA_MEMORY_BUDGET"] = str(2**30)

# The same examples everywhere, however long the machine takes over one.
settings.register_profile(
    "anywhere", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("anywhere")


@pytest.fixture(scope="session")
def problem():
    """Three classes and a shift: 54 source and 36 target rows of 8 features and unit norm, in mixed order; read-only.

    `domain` is sample_domain, `y` has -1 on target rows, `truth` the label of every row.
    """
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    domain = rng.permutation(np.repeat([0, -1], [54, 36]))
    X = 5 * np.eye(8)[truth] + rng.normal(size=(90, 8))
    X[domain < 0] += [1, -1, 1, 0, 2, 0, 0, 0]
    X[domain < 0, 5] *= 2
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.where(domain < 0, -1, truth)
    for array in (X, y, truth, domain):
        array.setflags(write=False)
    return SimpleNamespace(X=X, y=y, truth=truth, domain=domain, Xt=X[domain < 0], yt=truth[domain < 0])


@pytest.fixture(scope="session")
def moved_means():
    """Three classes whose target rows have moved, so that the nearest source row is wrong for three in ten of them."""
    rng = np.random.default_rng(2)
    truth = np.arange(180) % 3
    domain = rng.permutation(np.repeat([0, -1], [100, 80]))
    X = 4 * np.eye(6)[truth] + rng.normal(size=(180, 6))
    X[domain < 0] += [3, -3, 1, 2, 0, 0]
    X -= X.mean(axis=0)
    X /= np.abs(X).max()
    y = np.where(domain < 0, -1, truth)
    return SimpleNamespace(X=X, y=y, truth=truth, domain=domain, Xt=X[domain < 0], yt=truth[domain < 0])


@pytest.fixture
def quiet():
    """What odd data makes a method say is not looked at here: tests of the method assert it where it must be said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
