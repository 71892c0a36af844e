"""Kernels of estimators: every name, precomputed matrices, widths and degrees at which others break.

On the representatives that have kernels: the parameters are those of one mixin.
"""

import warnings

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.model_selection import GridSearchCV, cross_val_score

from shallowda import ARTL, make_pipeline
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy


def check_finite(model, X, y):
    """Fit on odd rows, silently but for what is said of a small rank; everything that comes out is finite."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*exceeds the rank", UserWarning)
        model.fit(X, y)
    assert set(np.unique(model.predict(X))) <= set(model.classes_)
    values = model.transform(X) if hasattr(model, "transform") else model.decision_function(X)
    assert np.isfinite(values).all()


class TestKernels:
    @pytest.mark.parametrize(
        "kernel", ["rbf", "laplacian", "poly", "polynomial", "sigmoid", "cosine", "linear", "chi2", "additive_chi2"]
    )
    @pytest.mark.filterwarnings("ignore:.*is not positive semi-definite:UserWarning")  # sigmoid, additive_chi2: ARTL
    def test_every_name(self, make_kernel, problem, kernel):
        check_finite(make_kernel(kernel=kernel), np.abs(problem.X), problem.y)

    @pytest.mark.parametrize("kernel", ["chi2", "additive_chi2"])
    def test_negative_values_are_refused_by_kernels_of_histograms(self, make_kernel, problem, kernel):
        with pytest.raises(ValueError, match="negative"):
            make_kernel(kernel=kernel).fit(problem.X, problem.y)

    @pytest.mark.parametrize("gamma", [1e-12, 1e-6, 1e3, 1e8, None])
    @pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
    def test_nearly_singular_and_nearly_diagonal(self, make_kernel, problem, kernel, gamma):
        X = np.r_[problem.X, problem.X[:20]]
        check_finite(make_kernel(kernel=kernel, gamma=gamma), X, np.r_[problem.y, problem.y[:20]])

    @pytest.mark.parametrize("degree", [0, 1, 10, 40])
    def test_degrees(self, make_kernel, problem, degree):
        if degree == 0:  # k(x, y) = 1
            if isinstance(make_kernel(), ARTL):
                check_finite(make_kernel(kernel="poly", degree=0), problem.X, problem.y)
            else:
                with pytest.raises(ValueError, match="no variance"):
                    make_kernel(kernel="poly", degree=0).fit(problem.X, problem.y)
        else:
            check_finite(make_kernel(kernel="poly", degree=degree), problem.X, problem.y)

    def test_overflow_names_the_kernel(self, make_kernel, problem):
        message = r"kernel='poly' gave NaN or infinite values.*(gamma|degree)"
        with pytest.raises(ValueError, match=message), np.errstate(over="ignore"):
            make_kernel(kernel="poly", degree=400, gamma=10.0).fit(problem.X, problem.y)

    @pytest.mark.parametrize("ridge", [1e-300, 1e-12, 1e12, 1e300])
    @pytest.mark.parametrize("kernel", ["linear", "rbf"])
    def test_extreme_ridges(self, make_kernel, problem, kernel, ridge):
        check_finite(make_kernel(kernel=kernel, ridge=ridge), problem.X, problem.y)

    def test_callable_of_two_rows(self, make_kernel, problem):
        def kernel(a, b, gamma=1.0):
            return float(np.exp(-gamma * np.sum((a - b) ** 2)))

        named = make_kernel(kernel="rbf", gamma=2.0).fit(problem.X, problem.y)
        own = make_kernel(kernel=kernel, kernel_params={"gamma": 2.0}).fit(problem.X, problem.y)
        np.testing.assert_array_equal(own.predict(problem.X), named.predict(problem.X))

    @pytest.mark.parametrize("result", [np.nan, np.inf])
    def test_callable_that_gives_nonsense(self, make_kernel, problem, result):
        with pytest.raises(ValueError, match=r"kernel=.*gave NaN or infinite values"):
            make_kernel(kernel=lambda a, b: result).fit(problem.X, problem.y)

    def test_callable_of_two_matrices_is_told_what_is_expected(self, make_kernel, problem):
        with pytest.raises(ValueError, match=r"kernel.* rows"):
            make_kernel(kernel=rbf_kernel).fit(problem.X, problem.y)


class TestPrecomputed:
    gamma = 1.0

    @pytest.fixture
    def gram(self, problem):
        return rbf_kernel(problem.X, gamma=self.gamma)

    def test_equals_the_kernel_by_name(self, make_kernel, problem, gram):
        # ARTL takes its graph and first labels from the kernel here, so it is another model of the same problem
        model = make_kernel(kernel="precomputed").fit(gram, problem.y)
        new = rbf_kernel(problem.Xt, problem.X, gamma=self.gamma)
        if isinstance(model, ARTL):
            assert model.score(new, problem.yt) > 0.9
            return
        named = make_kernel(kernel="rbf", gamma=self.gamma).fit(problem.X, problem.y)
        np.testing.assert_allclose(model.transform(new), named.transform(problem.Xt), rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(model.predict(new), named.predict(problem.Xt))

    def test_must_be_square(self, make_kernel, problem, gram):
        for X in (problem.X, gram[:, :60], gram[:60]):
            with pytest.raises(ValueError, match=r"precomputed.*square|y has 90 entries for 60 rows"):
                make_kernel(kernel="precomputed").fit(X, problem.y)

    def test_must_be_symmetric(self, make_kernel, problem, gram):
        with pytest.raises(ValueError, match="symmetric"):
            make_kernel(kernel="precomputed").fit(gram[np.roll(np.arange(90), 1)], problem.y)

    def test_other_columns_at_predict(self, make_kernel, problem, gram):
        model = make_kernel(kernel="precomputed").fit(gram, problem.y)
        with pytest.raises(ValueError, match=r"X has 36 features, but .* is expecting 90"):
            model.predict(gram[:, :36])

    def test_constant_or_missing(self, make_kernel, problem):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            make_kernel(kernel="precomputed").fit(np.full((90, 90), np.nan), problem.y)
        if not isinstance(make_kernel(), ARTL):
            with pytest.raises(ValueError, match="no variance"):
                make_kernel(kernel="precomputed").fit(np.ones((90, 90)), problem.y)

    def test_the_callers_matrix_is_left_alone(self, make_kernel, problem, gram):
        before = gram.copy()
        model = make_kernel(kernel="precomputed").fit(gram, problem.y)
        predicted = model.predict(gram)
        np.testing.assert_array_equal(gram, before)
        gram[:] = 0
        np.testing.assert_array_equal(model.predict(before), predicted)

    def test_cross_validation_slices_rows_and_columns(self, make_kernel, problem, gram):
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        model = make_kernel(kernel="precomputed")
        by_hand = []
        for train, test in cv.split(gram, problem.y):
            fitted = model.fit(gram[np.ix_(train, train)], problem.y[train])
            by_hand.append(np.mean(fitted.predict(gram[np.ix_(test, train)]) == problem.y[test]))
        np.testing.assert_allclose(cross_val_score(model, gram, problem.y, cv=cv), by_hand)
        np.testing.assert_allclose(cross_val_score(model, gram, problem.y, cv=cv, scoring=source_accuracy), by_hand)
        assert np.mean(by_hand) > 0.9

    def test_search_and_pipeline(self, make_kernel, problem, gram):
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        pipe = make_pipeline(make_kernel(kernel="precomputed"))
        name = f"{pipe.steps[0][0]}__ridge"
        search = GridSearchCV(pipe, {name: [0.1, 1.0]}, cv=cv, scoring=source_accuracy, error_score="raise")
        search.fit(gram, problem.y)
        assert search.score(gram[problem.domain < 0], problem.yt) > 0.9

    def test_unlike_kernels(self, make_kernel, problem):
        for gram in (polynomial_kernel(problem.X, degree=6), 1e8 * rbf_kernel(problem.X), 1e-8 * rbf_kernel(problem.X)):
            check_finite(make_kernel(kernel="precomputed"), gram, problem.y)
