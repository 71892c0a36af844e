"""Without target rows nothing is adapted: one warning, and a transformer and classifier that work."""

import warnings

import numpy as np
import pytest

from shallowda import ARTL, BDA, NoTargetWarning


def only_no_target(caught):
    return len(caught) == 1 and caught[0].category is NoTargetWarning


@pytest.mark.parametrize("how", ["no marks", "sample_domain"])
def test_classifier(make, problem, how):
    with pytest.warns(NoTargetWarning, match=r"without target rows.*pack_domains") as caught:
        model = make().fit(problem.X, problem.truth, sample_domain=None if how == "no marks" else np.zeros(90))
    assert only_no_target(caught)
    assert caught[0].filename == __file__
    assert model.score(problem.X, problem.truth) > 0.9
    assert set(model.predict(problem.X)) == {0, 1, 2}


def test_transformer(make_adapter, problem):
    with pytest.warns(NoTargetWarning) as caught:
        Z = make_adapter().fit_transform(problem.X, problem.truth)
    assert only_no_target(caught)
    assert np.isfinite(Z).all()
    with pytest.warns(NoTargetWarning):
        model = make_adapter().fit(problem.X, problem.truth)
    # there is one domain, so the source's map and the target's are the same
    np.testing.assert_allclose(model.transform(problem.X), Z, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.transform(problem.X, sample_domain=np.zeros(90)), Z, rtol=1e-6, atol=1e-8)


def test_without_labels(make_unsupervised, problem):
    with pytest.warns(NoTargetWarning) as caught:
        Z = make_unsupervised().fit_transform(problem.X)
    assert only_no_target(caught)
    assert np.isfinite(Z).all()


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_kernels(make_kernel, problem, kernel):
    with pytest.warns(NoTargetWarning) as caught:
        model = make_kernel(kernel=kernel).fit(problem.X, problem.truth)
    assert only_no_target(caught)
    assert model.score(problem.X, problem.truth) > 0.9


@pytest.mark.parametrize("options", [{"mu": "a_distance"}, {"weighted": True}, {"mmd_scaling": "paper"}])
def test_options_of_bda(problem, options):
    with pytest.warns(NoTargetWarning):
        assert BDA(3, **options).fit(problem.X - problem.X.mean(axis=0), problem.truth).n_iter_ == 1


@pytest.mark.parametrize("options", [{"loss": "hinge"}, {"kernel": "rbf", "loss": "hinge"}, {"max_iter": 3}])
def test_options_of_artl(problem, options):
    with pytest.warns(NoTargetWarning) as caught:
        assert ARTL(**options).fit(problem.X, problem.truth).score(problem.X, problem.truth) > 0.9
    assert only_no_target(caught)


def test_fitting_with_target_rows_does_not_warn(make, problem):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().fit(problem.X, problem.y)
