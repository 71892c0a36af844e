"""Problems on which it is known what a score should say."""

from types import SimpleNamespace

import numpy as np
import pytest

from shallowda import pack_domains


@pytest.fixture(scope="session")
def shifted():
    """Three classes in four dimensions; the target lies off along a direction that tells nothing of the class."""
    rng = np.random.RandomState(0)
    ys, yt = np.repeat([0, 1, 2], 30), np.repeat([0, 1, 2], 20)
    Xs = 3 * np.eye(4)[ys] + rng.randn(90, 4)
    Xt = 3 * np.eye(4)[yt] + rng.randn(60, 4) + [0, 0, 0, 5]
    X, y, domain = pack_domains(Xs, ys, Xt)
    order = rng.permutation(150)
    return SimpleNamespace(
        X=X[order], y=y[order], domain=domain[order], truth=np.r_[ys, yt][order], Xs=Xs, ys=ys, Xt=Xt, yt=yt
    )
