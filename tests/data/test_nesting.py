"""Calibration, voting and bagging after the adapter, on real reviews: as good as the classifier alone."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from shallowda import CORAL, NoTargetWarning, PerDomain, make_pipeline, pack_domains
from shallowda.datasets import fetch_amazon_reviews


@pytest.fixture(scope="module")
def reviews(data):
    Xs, ys, Xt, yt = fetch_amazon_reviews(domains=["books", "dvd"], data_home=data, download_if_missing=False).pair(
        "books", "dvd"
    )
    return (*pack_domains(Xs, ys, Xt)[:2], Xt, yt)


LEARNER = LogisticRegression(max_iter=2000)
TOOLS = [
    CalibratedClassifierCV(LEARNER),
    VotingClassifier([("a", LEARNER)]),
    VotingClassifier([("a", LEARNER)], voting="soft"),
    BaggingClassifier(LEARNER, 5, random_state=0),
]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: " ".join(repr(tool).split()))
def test_inside(tool, reviews):
    X, y, Xt, yt = reviews
    alone = make_pipeline(PerDomain(StandardScaler()), CORAL(), LEARNER).fit(X, y)
    assert alone.score(Xt, yt) > 0.75
    inside = make_pipeline(PerDomain(StandardScaler()), CORAL(), tool).fit(X, y)
    assert inside.score(Xt, yt) > alone.score(Xt, yt) - 0.01


def test_around(reviews):
    """What the guide warns of: half of the rows are right, or none."""
    X, y, Xt, yt = reviews
    pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LEARNER)
    silent = CalibratedClassifierCV(pipe).fit(X, y)
    assert len(np.unique(silent.predict(Xt))) == 1
    with pytest.warns(NoTargetWarning, match=r"re-encoded y.*inside, after the adapter"):
        said = VotingClassifier([("a", pipe)]).fit(X, y)
    assert said.score(Xt, yt) < 0.2
