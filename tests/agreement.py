"""What must hold of a model wherever it computes: the results of NumPy, by the library and on the device of its rows.

A `case` is a function that makes a model from parameters, `there` one that moves a NumPy array elsewhere.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np

from shallowda import all_methods
from shallowda.core.weighting import SourceWeighting
from shallowda.kernels.arrays import is_foreign, is_numpy, library, to_numpy

#: Kernels that are computed by every library, most of them by CUDA C on a device.
KERNELS = ("rbf", "laplacian", "poly", "sigmoid", "cosine", "linear")


def data(n=90, d=8, dtype=float):
    """Three classes and a shift, in mixed order; read-only, with a target that is a third of the rows."""
    rng = np.random.default_rng(n + d)
    truth = np.arange(n) % 3
    domain = rng.permutation(np.where(np.arange(n) % 5 < 3, 0, -1))
    X = 5 * np.eye(d)[truth] + rng.normal(size=(n, d)) * np.linspace(1.3, 0.7, d)
    X[domain < 0] += 2 * np.eye(d)[4] + np.eye(d)[0]
    X[domain < 0, 5] *= 2
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X, y = X.astype(dtype), np.where(domain < 0, -1, truth)
    for array in (X, y, domain):
        array.setflags(write=False)
    return SimpleNamespace(X=X, y=y, domain=domain, truth=truth, Xt=X[domain < 0], yt=truth[domain < 0])


def few_rounds(method):
    """Parameters that make a method pass over the rows three times, where it does that."""
    return {"max_iter": 3} if "max_iter" in method().get_params() and not issubclass(method, SourceWeighting) else {}


def catalogue():
    """Every method of the catalogue with each set of parameters of its card, by name."""
    return {
        f"{name} {number}": partial(method, **{**few_rounds(method), **params})
        for name, method in all_methods().items()
        for number, params in enumerate(method.card.tests)
    }


def with_kernels():
    """Every method that takes a kernel, with each of `KERNELS` and with landmarks, by name."""
    cases = {}
    for name, method in all_methods().items():
        if "kernel" in method().get_params():
            make = partial(method, **{**few_rounds(method), **method.card.tests[0]})
            cases |= {f"{name} {kernel}": partial(make, kernel=kernel) for kernel in KERNELS}
            if "n_landmarks" in method().get_params():
                cases[f"{name} landmarks"] = partial(make, kernel="rbf", n_landmarks=30)
    return cases


def close(got, expected, rtol=1e-8):
    """Alike in shape, in dtype, and in values up to a share of the largest."""
    got, expected = to_numpy(got), to_numpy(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, atol=rtol * max(np.abs(expected).max(), 1e-30), rtol=0)


def fitted_arrays(fitted):
    """Fitted attributes that are arrays of numbers, by name; labels and histories are NumPy's everywhere."""
    names = ("components_", "X_fit_", "coef_", "dual_coef_", "intercept_", "mean_", "source_mean_", "alignment_")
    found = {name: vars(fitted).get(name) for name in names}
    return {name: value for name, value in found.items() if is_numpy(value) or is_foreign(value)}


def outputs(model):
    """Names of the functions by which a model says something continuous of rows."""
    return [name for name in ("transform", "decision_function", "predict_proba") if hasattr(model, name)]


def agree_there(case, there, problem, rtol=1e-8):
    """A model of another library's rows has the results of NumPy's, and keeps them where its rows are."""
    plain, X = case().fit(problem.X, problem.y), there(problem.X)
    moved = case().fit(X, problem.y)
    for name, value in fitted_arrays(moved).items():
        assert library(value) == library(X), name
        assert value.device == X.device, name
        close(value, getattr(plain, name), rtol)
    numpys = outputs(plain) if isinstance(plain, SourceWeighting) else ["predict_proba"]
    for rows, domain in ((problem.X, problem.domain), (problem.Xt, None)):
        predicted = moved.predict(there(rows), sample_domain=domain)
        assert is_numpy(predicted)
        np.testing.assert_array_equal(predicted, plain.predict(rows, sample_domain=domain))
        for function in outputs(plain):
            got = getattr(moved, function)(there(rows), sample_domain=domain)
            assert library(got) == ("numpy" if function in numpys else library(X)), function
            assert is_numpy(got) or got.device == X.device, function
            close(got, getattr(plain, function)(rows, sample_domain=domain), rtol)
    assert moved.score(there(problem.Xt), problem.yt) == plain.score(problem.Xt, problem.yt)
    np.testing.assert_array_equal(moved.classes_, plain.classes_)
    if hasattr(plain, "transform"):
        Z = case().fit_transform(X, problem.y)
        assert library(Z) == library(X)
        assert Z.device == X.device
        close(Z, case().fit_transform(problem.X, problem.y), rtol)
    if hasattr(plain, "pseudo_labels_"):
        np.testing.assert_array_equal(moved.pseudo_labels_, plain.pseudo_labels_)
    np.testing.assert_array_equal(to_numpy(X), problem.X)
    return moved


def agree_by_backend(case, problem, rtol=1e-8):
    """A model of NumPy's rows that computes with backend="cupy" has the results of "numpy", and NumPy arrays only."""
    plain, moved = (case(backend=backend).fit(problem.X, problem.y) for backend in ("numpy", "cupy"))
    for name, value in fitted_arrays(moved).items():
        assert is_numpy(value), name
        close(value, getattr(plain, name), rtol)
    for rows, domain in ((problem.X, problem.domain), (problem.Xt, None)):
        np.testing.assert_array_equal(
            moved.predict(rows, sample_domain=domain), plain.predict(rows, sample_domain=domain)
        )
        for function in outputs(plain):
            got = getattr(moved, function)(rows, sample_domain=domain)
            assert is_numpy(got), function
            close(got, getattr(plain, function)(rows, sample_domain=domain), rtol)
    if hasattr(plain, "transform"):
        Z = case(backend="cupy").fit_transform(problem.X, problem.y)
        close(Z, case(backend="numpy").fit_transform(problem.X, problem.y), rtol)
    return moved


def agree_across_dtypes(case, there, problem):
    """New rows may come in another precision than the rows of the fit."""
    for fitted, new in ((np.float64, np.float32), (np.float32, np.float64)):
        rows, Xt = problem.X.astype(fitted), problem.Xt.astype(new)
        plain = case().fit(rows, problem.y)
        for model in (case().fit(there(rows), problem.y), plain):  # which may also have been fitted on NumPy's
            np.testing.assert_array_equal(model.predict(there(Xt)), plain.predict(Xt))
            for function in outputs(plain):
                got, expected = getattr(model, function)(there(Xt)), getattr(plain, function)(Xt)
                np.testing.assert_allclose(to_numpy(got), expected, atol=2e-3 * np.abs(expected).max())


def agree_in_float32(case, there, problem):
    """Float32 rows give float32 values, close to those of float64."""
    rows, wide = problem.X.astype(np.float32), problem.X.astype(np.float32).astype(float)
    X, exact = there(rows), case().fit(wide, problem.y)
    moved = case().fit(X, problem.y)
    np.testing.assert_array_equal(moved.predict(X), exact.predict(wide))
    if hasattr(moved, "transform"):
        Z = moved.transform(X)
        assert Z.dtype == X.dtype
        assert case().fit_transform(X, problem.y).dtype == X.dtype
        expected = exact.transform(wide)
        np.testing.assert_allclose(to_numpy(Z), expected, atol=2e-3 * np.abs(expected).max())
    elif not isinstance(moved, SourceWeighting):  # its estimator decides
        assert moved.decision_function(X).dtype == X.dtype
