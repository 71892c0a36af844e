"""What the methods of principal subspaces share: how they refuse a domain without one, and that they know the rank."""

import numpy as np
import pytest

from shallowda import CORAL, GFK, SDA, NoTargetWarning, SubspaceAlignment


@pytest.mark.parametrize("method", [SubspaceAlignment, SDA, GFK])
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_domain_whose_rows_are_all_the_same_has_no_subspace(problem, method, side, value):
    rows = (problem.domain < 0) == (side == "target")
    with pytest.raises(ValueError, match=f"The {side} domain has no variance"):
        method(3).fit(np.where(rows[:, None], value, problem.X), problem.y)


@pytest.mark.parametrize("method", [SubspaceAlignment, SDA, GFK, CORAL])  # CORAL needs a covariance of each domain
@pytest.mark.parametrize(("side", "n_source", "n_target"), [("source", 1, 36), ("target", 54, 1)])
def test_a_domain_of_one_row(problem, method, side, n_source, n_target):
    rows = np.r_[np.flatnonzero(problem.domain >= 0)[:n_source], np.flatnonzero(problem.domain < 0)[:n_target]]
    with pytest.raises(ValueError, match=rf"The {side} domain has 1 row.*at least two"):
        method().fit(problem.X[rows], problem.truth[rows], sample_domain=problem.domain[rows])


@pytest.mark.filterwarnings("ignore:With all 8 dimensions:UserWarning")
@pytest.mark.parametrize(("method", "width"), [(SubspaceAlignment, 8), (SDA, 8), (GFK, 16)])
def test_too_many_components_are_capped_and_announced(problem, method, width):
    with pytest.warns(UserWarning, match="n_components=50 exceeds the rank") as caught:
        Z = method(50).fit(problem.X, problem.y).transform(problem.X)
    assert sum("exceeds the rank" in str(warning.message) for warning in caught) == 1
    assert Z.shape == (90, width)


@pytest.mark.parametrize(
    ("method", "options", "width"),
    [(SubspaceAlignment, {}, 2), (SDA, {}, 2), (GFK, {}, 4), (GFK, {"source_basis": "pls"}, 4)],
    ids=["SubspaceAlignment", "SDA", "GFK", "GFK pls"],
)
@pytest.mark.parametrize("offset", [0, 5])
def test_the_rank_is_known(problem, method, options, width, offset):
    """Two true dimensions: no third component made of rounding errors."""
    X = problem.X[:, :2] @ np.random.default_rng(0).normal(size=(2, 8)) + offset
    with pytest.warns(UserWarning, match="exceeds the rank"):
        Z = method(n_components=5, **options).fit_transform(X, problem.y)
    assert Z.shape[1] == width


def test_pls_basis_needs_two_classes(problem):
    with pytest.raises(ValueError, match="source_basis='pls' needs at least two classes"):
        GFK(3, source_basis="pls").fit(problem.X, np.zeros(90), sample_domain=problem.domain)
    with pytest.raises(ValueError, match="GFK requires y"):
        GFK(3, source_basis="pls").fit(problem.X, sample_domain=problem.domain)


@pytest.mark.filterwarnings("ignore:With all 8 dimensions:UserWarning")
@pytest.mark.parametrize("method", [SubspaceAlignment, SDA, GFK])
def test_auto_keeps_the_dimensions_where_domains_agree(problem, method):
    """The measure is zero then, and its maximum would be a matter of rounding."""
    source = problem.domain >= 0
    X, y = np.r_[problem.X[source], problem.X[source]], np.r_[problem.truth[source], np.full(source.sum(), -1)]
    assert method("auto").fit(X, y).n_components_ == 4  # half of the features, as far as it looks
    with pytest.warns(NoTargetWarning):
        alone = method("auto").fit(problem.X, problem.truth)
    with pytest.warns(NoTargetWarning):
        assert alone.n_components_ == method().fit(problem.X, problem.truth).n_components_
