"""Input that breaks other packages: a clear message, or finite numbers; never NaN, never an error of LAPACK."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

from shallowda import ARTL, BDA, CORAL, GFK, JDA, TJM, SubspaceAlignment, TCAEstimator, make_pipeline
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy

KERNELS = (TCAEstimator, JDA, BDA, ARTL, TJM)
VARIANTS = [
    *(partial(method) for method in (TCAEstimator, JDA, BDA, SubspaceAlignment, CORAL, GFK, ARTL, TJM)),
    *(partial(method, kernel=kernel) for method in KERNELS for kernel in ("linear", "rbf")),
    partial(ARTL, loss="hinge"),
    partial(ARTL, loss="hinge", kernel="rbf"),
    partial(CORAL, ridge=0),
    partial(CORAL, align_mean=False),
    partial(GFK, source_basis="pls"),
    partial(BDA, mu="a_distance"),
]
# what may be said of odd data; the tests below assert each of these where it must be said
SAID = [
    "exceeds the rank",
    "The source has one class",
    "switched off",
    "times the mean variance of the source",
    "subspaces of the domains are orthogonal",
    "only centres the domains",
    "are saturated",
    "lbfgs failed to converge",  # first labels of ARTL
]


def variant_id(variant):
    return f"{variant.func.__name__}({', '.join(f'{k}={v!r}' for k, v in variant.keywords.items())})"


def has_components(variant):
    return "n_components" in variant.func().get_params()


def check_finite(model, X, y, **domain):
    """Fit on odd rows, silently but for `SAID`; everything that comes out is finite and well-formed."""
    with warnings.catch_warnings():
        for message in SAID:
            warnings.filterwarnings("ignore", f"(?s).*{message}", UserWarning)
        model.fit(X, y, **domain)
    assert set(np.unique(model.predict(X))) <= set(model.classes_)
    if hasattr(model, "transform"):
        codes = np.where(np.asarray(y) == -1, -1, 0) if not domain else domain["sample_domain"]
        assert np.isfinite(model.transform(X)).all()
        assert np.isfinite(model.transform(X, sample_domain=codes)).all()
        if hasattr(model, "components_"):
            assert np.isfinite(model.components_).all()
    else:
        assert np.isfinite(model.decision_function(X)).all()


def with_rows(problem, rows, value):
    X = problem.X.copy()
    X[rows] = value
    return X


def with_columns(problem, columns, value):
    X = problem.X.copy()
    X[:, columns] = value
    return X


def one_of_class_two(p):
    keep = np.setdiff1d(np.arange(90), np.flatnonzero(p.y == 2)[1:])
    return p.X[keep], p.y[keep]


def no_shift(p):
    source = p.domain >= 0
    return np.r_[p.X[source], p.X[source]], np.r_[p.y[source], np.full(source.sum(), -1)]


def wide(p, n=90, d=200):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d)) / np.sqrt(d)
    X[:, :8] += p.X[:n]
    return X, p.y[:n]


ODD = {
    "one row of a class": one_of_class_two,
    "constant features": lambda p: (with_columns(p, [1, 4], 3.0), p.y),
    "zero features": lambda p: (with_columns(p, [1, 4], 0.0), p.y),
    "a feature constant in the source only": lambda p: (with_rows(p, (p.domain >= 0, 1), 0.1), p.y),
    "a feature constant in the target only": lambda p: (with_rows(p, (p.domain < 0, 1), 0.1), p.y),
    "features twice": lambda p: (np.c_[p.X, p.X], p.y),
    "rows twice": lambda p: (np.r_[p.X, p.X], np.r_[p.y, p.y]),
    "zero rows": lambda p: (with_rows(p, slice(0, 90, 9), 0.0), p.y),
    "no shift": no_shift,
    "d > n": wide,
    "d > n, few rows": lambda p: wide(p, n=12, d=40),
    "rank one": lambda p: (np.outer(p.X @ np.arange(8.0), np.arange(1.0, 9.0)), p.y),
    "one feature": lambda p: (p.X[:, :1], p.y),
    "disjoint features": lambda p: (np.where(p.domain[:, None] < 0, np.c_[p.X, 0 * p.X], np.c_[0 * p.X, p.X]), p.y),
    "small numbers": lambda p: (1e-6 * p.X, p.y),
    "large numbers": lambda p: (1e6 * p.X, p.y),
    "far from the origin": lambda p: (p.X + 1e6, p.y),
    "features of other scales": lambda p: (p.X * 10.0 ** np.arange(-8, 8, 2), p.y),
    "two rows a domain": lambda p: (np.r_[p.X[p.y == 0][:1], p.X[p.y == 1][:1], p.Xt[:2]], [0, 1, -1, -1]),
    "integers": lambda p: (np.round(3 * p.X).astype(int), p.y),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("variant", VARIANTS, ids=variant_id)
def test_odd_data_gives_finite_numbers(variant, problem, odd):
    X, y = odd(problem)
    check_finite(variant(**({"n_components": 3} if has_components(variant) else {})), X, y)


@pytest.mark.parametrize("variant", VARIANTS, ids=variant_id)
def test_rows_too_far_from_the_origin(variant, problem):
    """Products of uncentred rows hold no digit of the spread there: an answer in finite numbers, or a clear refusal."""
    X = problem.X + 1e8
    try:
        check_finite(variant(**({"n_components": 3} if has_components(variant) else {})), X, problem.y)
    except ValueError as refusal:
        assert re.search("Centre the features|Scale the features", str(refusal))  # noqa: PT017


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_rows_that_are_all_the_same(make, problem, dtype, value):
    """Nothing to project on; methods that project on nothing answer with finite numbers."""
    X = np.full((90, 8), value, dtype)
    if isinstance(make(), (CORAL, ARTL)):
        check_finite(make(), X, problem.y)
    else:
        with pytest.raises(ValueError, match=r"no variance.*rows are the same"):
            make().fit(X, problem.y)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_rows_that_are_all_the_same_with_a_kernel(make_kernel, problem, kernel):
    if isinstance(make_kernel(), ARTL) and kernel != "rbf":
        check_finite(make_kernel(kernel=kernel), np.ones((90, 8)), problem.y)
    else:
        with pytest.raises(ValueError, match=r"rows are the same|rows that differ"):
            make_kernel(kernel=kernel).fit(np.ones((90, 8)), problem.y)


@pytest.mark.parametrize("method", [SubspaceAlignment, GFK])
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_domain_whose_rows_are_all_the_same_has_no_subspace(problem, method, side, value):
    rows = (problem.domain < 0) == (side == "target")
    with pytest.raises(ValueError, match=f"The {side} domain has no variance"):
        method(3).fit(with_rows(problem, rows, value), problem.y)


def few(problem, n_source, n_target):
    rows = np.r_[np.flatnonzero(problem.domain >= 0)[:n_source], np.flatnonzero(problem.domain < 0)[:n_target]]
    return problem.X[rows], problem.truth[rows], problem.domain[rows]


@pytest.mark.parametrize(("side", "n_source", "n_target"), [("source", 1, 36), ("target", 54, 1)])
def test_a_domain_of_one_row(make, problem, side, n_source, n_target):
    X, y, domain = few(problem, n_source, n_target)
    if isinstance(make(), (SubspaceAlignment, GFK, CORAL)):
        with pytest.raises(ValueError, match=rf"The {side} domain has 1 row.*at least two"):
            make().fit(X, y, sample_domain=domain)
    else:
        check_finite(make(), X, y, sample_domain=domain)


def test_no_shift_costs_nothing(make, problem):
    X, y = no_shift(problem)
    source = y != -1
    assert make().fit(X, y).score(X[~source], y[source]) > 0.95


@pytest.mark.parametrize("method", [JDA, BDA])
def test_one_class_source_is_announced(problem, method):
    with pytest.warns(UserWarning, match=f"one class, so {method.__name__} can match the domain means only"):
        method(3).fit(problem.X, np.zeros(90), sample_domain=problem.domain)


def test_pls_basis_needs_two_classes(problem):
    with pytest.raises(ValueError, match="source_basis='pls' needs at least two classes"):
        GFK(3, source_basis="pls").fit(problem.X, np.zeros(90), sample_domain=problem.domain)
    with pytest.raises(ValueError, match="GFK requires y"):
        GFK(3, source_basis="pls").fit(problem.X, sample_domain=problem.domain)


BAD_X = {
    "NaN": (lambda p: with_columns(p, 0, np.nan), ValueError, "Input X contains NaN"),
    "infinity": (lambda p: with_columns(p, 0, np.inf), ValueError, "Input X contains infinity"),
    "sparse": (lambda p: sparse.csr_array(p.X), TypeError, "[Ss]parse data was passed for X, but dense"),
    "one-dimensional": (lambda p: p.X[:, 0], ValueError, "Expected 2D array, got 1D array"),
    "three-dimensional": (lambda p: p.X[:, :, None], ValueError, "dim 3"),
    "words": (lambda p: np.full((90, 8), "a"), ValueError, "could not convert string to float"),
    "words among numbers": (
        lambda p: np.c_[p.X[:, :7].astype(object), np.full(90, "x", object)],
        ValueError,
        "could not convert string to float",
    ),
    "complex": (lambda p: p.X.astype(complex), ValueError, "Complex data not supported"),
    "no rows": (lambda p: p.X[:0], ValueError, r"Found array with 0 sample\(s\)"),
    "no features": (lambda p: p.X[:, :0], ValueError, r"Found array with 0 feature\(s\)"),
}


@pytest.mark.parametrize(("bad", "error", "message"), BAD_X.values(), ids=BAD_X.keys())
def test_bad_rows(make, problem, bad, error, message):
    with pytest.raises(error, match=message):
        make().fit(bad(problem), problem.y)
    model = make().fit(problem.X, problem.y)
    for method in ("predict", "transform"):
        if hasattr(model, method):
            with pytest.raises((error, ValueError), match=f"{message}|X has . features"):
                getattr(model, method)(bad(problem))


def test_one_row_in_all(make, problem):
    with pytest.raises(ValueError, match=r"Found array with 1 sample\(s\)"):
        make().fit(problem.X[:1], problem.truth[:1])


BAD_Y = {
    "too short": (lambda p: p.y[:-1], "y has 89 entries for 90 rows of X"),
    "empty": (lambda p: p.y[:0], "y has 0 entries for 90 rows of X"),
    "two columns": (lambda p: np.c_[p.y, p.y], "y should be a 1d array"),
    "infinite": (lambda p: np.where(p.y == 2, np.inf, p.y), "infinity"),
    "lists": (lambda p: [[0, 1]] * 90, "y should be a 1d array"),
    "a single word": (lambda p: "label", "y"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_Y.values(), ids=BAD_Y.keys())
def test_bad_labels(make, problem, bad, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make().fit(problem.X, bad(problem))


@pytest.mark.parametrize("method", [JDA, BDA, ARTL])
def test_supervised_methods_need_class_labels(problem, method):
    with pytest.raises(ValueError, match=rf"{method.__name__} requires y.*class labels"):
        method().fit(problem.X, sample_domain=problem.domain)
    with pytest.raises(ValueError, match=rf"{method.__name__} requires y.*class labels"):
        method().fit(problem.X)
    continuous = np.where(problem.domain < 0, np.nan, problem.X[:, 0])
    with pytest.raises(ValueError, match=rf"continuous.*{method.__name__} needs class labels"):
        method().fit(problem.X, continuous)


def test_continuous_labels_without_a_mark(make, problem):
    with pytest.raises(ValueError, match=r"continuous"):
        make().fit(problem.X, problem.X[:, 0])


def test_a_base_classifier_cannot_learn_continuous_labels(make_unsupervised, problem):
    continuous = np.where(problem.domain < 0, np.nan, problem.X[:, 0])
    with pytest.raises(ValueError, match=r"continuous.*classifier.*make_pipeline"):
        make_unsupervised(estimator=LogisticRegression()).fit(problem.X, continuous)


def test_before_fit(make, problem):
    for method in ("predict", "transform", "score", "decision_function", "predict_proba"):
        if hasattr(make(), method):
            arguments = (problem.Xt, problem.yt) if method == "score" else (problem.Xt,)
            with pytest.raises(NotFittedError, match="not fitted yet"):
                getattr(make(), method)(*arguments)


def test_other_features_at_predict(make, problem):
    model = make().fit(problem.X, problem.y)
    with pytest.raises(ValueError, match=r"X has 5 features, but \w+ is expecting 8"):
        model.predict(problem.Xt[:, :5])


def test_bad_sample_domain_at_predict(make, problem):
    model = make().fit(problem.X, problem.y)
    with pytest.raises(ValueError, match=r"sample_domain must have shape \(36,\)"):
        model.predict(problem.Xt, sample_domain=[0])
    with pytest.raises(ValueError, match="sample_domain must hold integers"):
        model.score(problem.Xt, problem.yt, sample_domain=np.full(36, 0.5))


def test_score_needs_one_label_per_row(make, problem):
    model = make().fit(problem.X, problem.y)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples"):
        model.score(problem.Xt, problem.yt[:-1])
    with pytest.raises(ValueError, match="y marks every row as unlabelled"):
        model.score(problem.Xt, np.full(36, -1))


BAD_PARAMETERS = {
    "n_components": [0, -1, 2.5, "all"],
    "ridge": [-1, np.nan, np.inf, "auto"],
    "kernel": ["gaussian", 3],
    "gamma": [0, -1.0, "mean"],
    "degree": [-1],
    "max_iter": [0, 1.5],
    "mmd_scaling": ["published"],
    "component_scale": [None],
    "mu": [-0.1, 1.1, "auto"],
    "weighted": ["no"],
    "tol": [-1.0],
    "align_mean": ["yes"],
    "source_basis": ["lda"],
    "loss": ["log"],
    "mmd_weight": [-1.0],
    "manifold_weight": [-1.0],
    "n_neighbors": [0],
    "estimator": ["knn", 3],
    "kernel_params": [3],
}


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        (method, name, value)
        for method in (TCAEstimator, JDA, BDA, SubspaceAlignment, CORAL, GFK, ARTL, TJM)
        for name, values in BAD_PARAMETERS.items()
        for value in values
        if name in method().get_params()
    ],
)
def test_bad_parameters(method, problem, name, value):
    with pytest.raises(ValueError, match=rf"The '{name}' parameter of {method.__name__} must be"):
        method(**{name: value}).fit(problem.X, problem.y)


@pytest.mark.parametrize("method", KERNELS)
def test_ridge_must_be_positive(problem, method):
    with pytest.raises(ValueError, match="'ridge' parameter"):
        method(ridge=0).fit(problem.X, problem.y)


@pytest.mark.parametrize("method", [ARTL, TJM])
def test_methods_without_a_primal_form_refuse_kernel_none(problem, method):
    with pytest.raises(ValueError, match="'kernel' parameter"):
        method(kernel=None).fit(problem.X, problem.y)


def test_base_estimator_must_be_a_classifier(make, problem):
    with pytest.raises((ValueError, TypeError), match="classifier"):
        make(estimator=Ridge()).fit(problem.X, problem.y)


def test_base_estimator_must_be_an_instance(make, problem):
    with pytest.raises((ValueError, TypeError), match="instance"):
        make(estimator=LogisticRegression).fit(problem.X, problem.y)


@pytest.mark.filterwarnings("ignore:With all 8 dimensions:UserWarning")
@pytest.mark.parametrize(
    ("method", "width"), [(TCAEstimator, 8), (JDA, 8), (BDA, 8), (TJM, 8), (SubspaceAlignment, 8), (GFK, 16)]
)
def test_too_many_components_are_capped_and_announced(problem, method, width):
    with pytest.warns(UserWarning, match="n_components=50 exceeds the rank") as caught:
        Z = (
            method(n_components=50, **({"max_iter": 2} if method is TJM else {}))
            .fit(problem.X, problem.y)
            .transform(problem.X)
        )
    assert sum("exceeds the rank" in str(warning.message) for warning in caught) == 1
    assert Z.shape == (90, width)
    assert np.isfinite(Z).all()


@pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning")
@pytest.mark.parametrize(
    "variant", [v for v in VARIANTS if has_components(v) and v.keywords.get("kernel") != "rbf"], ids=variant_id
)
@pytest.mark.parametrize("offset", [0, 5])
def test_the_rank_is_known(variant, problem, offset):
    """Two true dimensions: no third component made of rounding errors."""
    X = problem.X[:, :2] @ np.random.default_rng(0).normal(size=(2, 8)) + offset
    with pytest.warns(UserWarning, match="exceeds the rank"):
        Z = variant(n_components=5).fit_transform(X, problem.y)
    assert Z.shape[1] == (4 if variant.func is GFK else 2)


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


@pytest.mark.parametrize(
    "options", [{"mmd_weight": 0, "manifold_weight": 0}, {"mmd_weight": 1e12}, {"n_neighbors": 500}]
)
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_extreme_weights_of_artl(problem, loss, kernel, options):
    check_finite(ARTL(loss, kernel=kernel, **options), problem.X, problem.y)


def test_cross_val_predict_of_every_method(make, problem):
    folds = [(np.setdiff1d(np.arange(90), part), part) for part in np.array_split(np.arange(90), 3)]
    assert set(cross_val_predict(make(), problem.X, problem.y, cv=folds)) <= {0, 1, 2}
