import numpy as np
import oracles
import pytest
from scipy.optimize import minimize
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from shallowda import ARTL, NoTargetWarning, pack_domains
from shallowda.kernels import regularised
from shallowda.kernels.neighbours import cosine_knn_graph, kernel_knn_graph, normalised_laplacian
from shallowda.kernels.operators import DenseGram

Xs, ys, Xt, yt = oracles.shifted_domains(9)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


@pytest.mark.parametrize("scaling", ["authors", "paper"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_squared_loss_is_the_closed_form(kernel, scaling):
    artl = ARTL(kernel=kernel, gamma=0.02, mmd_weight=3.0, manifold_weight=0.5, n_neighbors=5, mmd_scaling=scaling)
    artl.fit(X, y)
    K = X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.02)
    first = LogisticRegression(max_iter=1000).fit(Xs, ys).predict(Xt)
    M = oracles.mmd_matrix(source, np.r_[ys, first], 3, authors=scaling == "authors")
    laplacian = normalised_laplacian(cosine_knn_graph(X, 5)).toarray()
    J, Y = np.diag(source.astype(float)), np.zeros((len(X), 3))
    Y[source] = np.eye(3)[ys]
    alpha = np.linalg.solve((J + 3.0 * M + 0.5 * laplacian) @ K + 0.1 * np.eye(len(X)), J @ Y)
    np.testing.assert_allclose(artl.decision_function(X), K @ alpha, atol=1e-8)
    np.testing.assert_array_equal(artl.pseudo_labels_, (K @ alpha)[~source].argmax(axis=1))


def test_two_classes_decide_as_two_columns_would():
    two = np.where(ys == 2, 1, ys)
    rows, marks, _ = pack_domains(Xs, two, Xt)
    artl = ARTL(mmd_weight=0, manifold_weight=0).fit(rows, marks)
    w = np.linalg.solve(Xs.T @ Xs + 0.1 * np.eye(8), Xs.T @ np.eye(2)[two])
    np.testing.assert_allclose(artl.decision_function(Xt), Xt @ (w[:, 1] - w[:, 0]), atol=1e-9)
    assert artl.coef_.shape == (1, 8)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("d", [8, 120])
def test_linear_kernel_predicts_as_its_kernel_form(loss, d):
    a, labels, b, _ = oracles.shifted_domains(9, d=d)
    rows, marks, _ = pack_domains(a, labels, b)
    start = DummyClassifier(strategy="constant", constant=0)  # the same first labels for both
    linear = ARTL(loss, manifold_weight=0, estimator=start).fit(rows, marks)
    dual = ARTL(loss, manifold_weight=0, estimator=start, kernel="precomputed").fit(rows @ rows.T, marks)
    tolerance = 1e-7 if loss == "squared" else 1e-3
    np.testing.assert_allclose(linear.decision_function(b), dual.decision_function(b @ rows.T), atol=tolerance)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_adapts(loss):
    assert ARTL(loss).fit(X, y).score(Xt, yt) > 0.9


def test_hinge_loss_averaged_as_in_the_paper():
    """B = 2 (sigma I + (gamma L + lambda M) K), beta in [0, 1/ns]: its weights are ours divided by ns."""
    two = np.where(ys == 2, 1, ys)
    rows, marks, _ = pack_domains(Xs, two, Xt)
    K, ns = rbf_kernel(rows, gamma=0.02), len(Xs)
    start = DummyClassifier(strategy="stratified", random_state=0)
    artl = ARTL("hinge", kernel="precomputed", ridge=0.1, mmd_weight=3.0, manifold_weight=0.5, estimator=start)
    artl.fit(K, marks)
    first = start.fit(K[source], two).predict(K[~source])
    M = oracles.mmd_matrix(source, np.r_[two, first], 2, authors=True)
    laplacian = normalised_laplacian(kernel_knn_graph(DenseGram(K), 10)).toarray()
    B = 2 / ns * (0.1 * np.eye(len(K)) + (0.5 * laplacian + 3.0 * M) @ K)
    signs, J = 2.0 * two - 1, np.eye(len(K))[source]
    Q = signs[:, None] * (J @ K @ np.linalg.solve(B, J.T)) * signs
    bounds, balance = [(0, 1 / ns)] * ns, {"type": "eq", "fun": lambda b: ns * signs @ b, "jac": lambda b: ns * signs}
    dual = minimize(
        lambda b: 0.5 * b @ Q @ b - b.sum(),
        np.full(ns, 0.5 / ns),
        jac=lambda b: Q @ b - 1,
        bounds=bounds,
        constraints=balance,
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    f = K @ np.linalg.solve(B, J.T @ (signs * dual.x))
    difference = artl.decision_function(K) - f
    assert np.ptp(difference) < 1e-2 * np.ptp(f)  # equal up to the bias


def test_more_passes_settle():
    artl = ARTL(max_iter=30, estimator=DummyClassifier(strategy="uniform", random_state=0)).fit(X, y)
    assert artl.history_["stopped"] == "settled"
    assert 1 < artl.n_iter_ < 30
    np.testing.assert_array_equal(artl.predict(Xt), artl.pseudo_labels_)
    assert ARTL().fit(X, y).n_iter_ == 1


def test_a_class_missing_from_the_first_labels_is_recorded():
    class Two(LogisticRegression):
        def predict(self, X):
            return np.where(super().predict(X) == 2, 0, super().predict(X))

    assert ARTL(estimator=Two(max_iter=1000)).fit(X, y).history_["dropped_classes"] == [(2,)]


def test_precomputed_kernel_starts_from_itself():
    K = rbf_kernel(X, gamma=0.02)
    artl = ARTL(kernel="precomputed").fit(K, y)
    assert artl.score(K[~source], yt) > 0.9
    assert artl.dual_coef_.shape == (3, len(X))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_later_passes_are_the_closed_form(kernel):
    start = DummyClassifier(strategy="uniform", random_state=0)
    artl = ARTL(kernel=kernel, gamma=0.02, mmd_weight=3.0, max_iter=2, estimator=start).fit(X, y)
    first = ARTL(kernel=kernel, gamma=0.02, mmd_weight=3.0, estimator=start).fit(X, y)
    K = X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.02)
    M = oracles.mmd_matrix(source, np.r_[ys, first.pseudo_labels_], 3, authors=True)
    A = np.diag(source.astype(float)) + 3.0 * M + normalised_laplacian(cosine_knn_graph(X, 10)).toarray()
    Y = np.where(source[:, None], np.eye(3)[np.where(source, y, 0)], 0)
    alpha = np.linalg.solve(A @ K + 0.1 * np.eye(len(X)), Y)
    np.testing.assert_allclose(artl.decision_function(X), K @ alpha, atol=1e-8)


def test_the_kernel_matrix_is_factored_once_for_all_passes(monkeypatch):
    made = []

    class Counted(regularised._Factor):
        def __init__(self, *arguments):
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(regularised, "_Factor", Counted)
    start = DummyClassifier(strategy="uniform", random_state=0)
    assert ARTL(kernel="rbf", gamma=0.02, max_iter=5, estimator=start).fit(X, y).n_iter_ > 1
    assert len(made) == 1


def test_a_kernel_that_is_none_is_said_with_an_eigenvalue():
    K = rbf_kernel(X, gamma=0.02) - 0.5 * np.eye(len(X))  # smallest eigenvalue: -0.5
    with pytest.warns(
        UserWarning, match=r"'precomputed' is not positive semi-definite.* eigenvalue of -0\.4\d* or below"
    ):
        artl = ARTL(kernel="precomputed").fit(K, y)
    assert np.isfinite(artl.decision_function(K)).all()


def test_first_labels_that_have_not_converged_say_what_to_do(monkeypatch):
    # Whether lbfgs converges on given rows within many steps is for the processor to say; one step never is enough.
    monkeypatch.setattr(f"{ARTL.__module__}._MOST_ITERATIONS", 1)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge.*StandardScaler") as said:
        ARTL().fit(X, y)
    assert len(said) == 1
    assert said[0].filename == __file__


def test_target_order_does_not_matter():
    order = np.random.RandomState(0).permutation(len(X))
    np.testing.assert_allclose(
        ARTL().fit(X[order], y[order]).decision_function(Xt), ARTL().fit(X, y).decision_function(Xt), atol=1e-8
    )


def test_no_transformer():
    assert not hasattr(ARTL(), "transform")


@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_one_class(loss):
    artl = ARTL(loss).fit(X, np.where(source, 7, -1), sample_domain=sample_domain)
    assert set(artl.predict(Xt)) == {7}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize(
    "options", [{"mmd_weight": 0, "manifold_weight": 0}, {"mmd_weight": 1e12}, {"n_neighbors": 500}]
)
def test_extreme_weights(problem, loss, kernel, options):
    assert np.isfinite(
        ARTL(loss, kernel=kernel, **options).fit(problem.X, problem.y).decision_function(problem.X)
    ).all()


@pytest.mark.parametrize("options", [{"loss": "hinge"}, {"kernel": "rbf", "loss": "hinge"}, {"max_iter": 3}])
def test_options_without_target_rows(problem, options):
    with pytest.warns(NoTargetWarning) as caught:
        assert ARTL(**options).fit(problem.X, problem.truth).score(problem.X, problem.truth) > 0.9
    assert len(caught) == 1


@pytest.mark.parametrize("name", ["mmd_weight", "manifold_weight", "n_neighbors"])
def test_weights_may_not_be_negative(problem, name):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of ARTL must be"):
        ARTL(**{name: -1}).fit(problem.X, problem.y)


def test_kernel_none_is_refused(problem):
    with pytest.raises(ValueError, match="'kernel' parameter"):
        ARTL(kernel=None).fit(problem.X, problem.y)


@pytest.mark.parametrize("kernel", ["poly", "cosine", "sigmoid"])
def test_kernel_values_without_digits_are_announced(kernel):
    """In float32, at such an offset; in float64 they have enough."""
    with pytest.warns(UserWarning, match=r"fewer than two digits.*Centre the features"):
        ARTL(kernel=kernel).fit((X + 1e4).astype(np.float32), y)
    if kernel == "poly":
        ARTL(kernel=kernel, estimator=DummyClassifier()).fit(X + 1e3, y)
