"""Linear systems of adaptation regularisation (ARRLS and ARSVM), in feature and in sample coordinates.

With J the selector of the source rows and ``Q = E E^T + L`` (E the thin MMD factor, L the sparse graph Laplacian, both
with their weights), the functions f = K alpha are fitted under the penalty ``alpha^T K (Q K + ridge I) alpha``:

    features  K = Z Z^T, f = Z w    P = Z^T Q Z + ridge I    penalty w^T P w              order min(d, n)
    samples   any K                 P = Q K + ridge I        penalty alpha^T K P alpha    order n, P not symmetric

    squared loss   w = (Z_s^T Z_s + P)^{-1} Z_s^T Y         alpha = (J K + P)^{-1} J Y
    hinge loss     w = (2 P)^{-1} Z_s^T (y o beta)          alpha = (2 P)^{-1} J^T (y o beta)

where beta solves the dual of a support vector machine with bound 1 (losses are summed over the source rows), which
libsvm does. For the linear kernel both coordinates give the same predictions.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from sklearn.svm import SVC

__all__ = ["KernelMachine", "LinearMachine"]

_SVM_TOLERANCE = 1e-6
_SMALLEST_RECIPROCAL = 1e-15  # of the condition number


class LinearMachine:
    """Functions ``f(x) = w^T x``, in an orthonormal basis of the rows' span when d > n.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    """

    def __init__(self, X: np.ndarray) -> None:
        self.basis, self.Z = None, X.astype(np.float64)
        if X.shape[1] > X.shape[0]:
            self.basis, triangle = scipy.linalg.qr(self.Z.T, mode="economic")
            self.Z = triangle.T

    def solve(
        self, loss: str, source: np.ndarray, Y: np.ndarray, E: sp.csr_array, laplacian: sp.csr_array, ridge: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Minimise the regularised risk.

        Parameters
        ----------
        loss : {"squared", "hinge"}
        source : ndarray of shape (n,), bool
        Y : ndarray of shape (ns, C)
            Values to fit; -1 and +1 for the hinge loss, column by column.
        E : sparse array of shape (n, r)
        laplacian : sparse array of shape (n, n)
        ridge : float > 0

        Returns
        -------
        weights : ndarray of shape (order, C)
        bias : ndarray of shape (C,)
        objective : float
        """
        Zs, P = self.Z[source], self.Z.T @ _penalty_times(self.Z, E, laplacian)
        P = 0.5 * (P + P.T)
        P[np.diag_indices_from(P)] += ridge
        if loss == "squared":
            triangle = _cholesky(Zs.T @ Zs + P, ridge)
            weights, bias = scipy.linalg.cho_solve((triangle, True), Zs.T @ Y), np.zeros(Y.shape[1])
        else:
            triangle = _cholesky(2.0 * P, ridge)
            rows = scipy.linalg.solve_triangular(triangle, Zs.T, lower=True).T
            multipliers, bias = _support_vectors(rows, Y, "linear")
            weights = scipy.linalg.solve_triangular(triangle, rows.T @ multipliers, lower=True, trans="T")
        return weights, bias, _risk(loss, Zs @ weights + bias, Y) + float(np.sum(weights * (P @ weights)))

    def values(self, weights: np.ndarray) -> np.ndarray:
        """f on the training rows, without the bias: shape (n, C)."""
        return self.Z @ weights

    def lift(self, weights: np.ndarray) -> np.ndarray:
        """Weights of the features, of shape (C, d)."""
        return (weights if self.basis is None else self.basis @ weights).T


class KernelMachine:
    """Functions ``f(x) = sum_i alpha_i k(x_i, x)``.

    Parameters
    ----------
    K : ndarray of shape (n, n), symmetric positive semi-definite
    """

    def __init__(self, K: np.ndarray) -> None:
        self.K = np.asarray(K, dtype=np.float64)

    def solve(
        self, loss: str, source: np.ndarray, Y: np.ndarray, E: sp.csr_array, laplacian: sp.csr_array, ridge: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Minimise the regularised risk: as `LinearMachine.solve`, with alpha (n, C) for weights."""
        P = _penalty_times(self.K, E, laplacian)
        P[np.diag_indices_from(P)] += ridge
        select = np.zeros((len(source), int(source.sum())))
        select[np.flatnonzero(source), np.arange(select.shape[1])] = 1.0
        if loss == "squared":
            system = P.copy()
            system[source] += self.K[source]
            alpha, bias = _solve(system, select @ Y, ridge), np.zeros(Y.shape[1])
        else:
            half = _solve(2.0 * P, select, ridge)
            gram = self.K[source] @ half
            multipliers, bias = _support_vectors(0.5 * (gram + gram.T), Y, "precomputed")
            alpha = half @ multipliers
        fitted = self.K @ alpha
        return alpha, bias, _risk(loss, fitted[source] + bias, Y) + float(np.sum(fitted * (P @ alpha)))

    def values(self, weights: np.ndarray) -> np.ndarray:
        """f on the training rows, without the bias: shape (n, C)."""
        return self.K @ weights

    def lift(self, weights: np.ndarray) -> np.ndarray:
        """Weights of the samples, of shape (C, n)."""
        return weights.T


def _penalty_times(block: np.ndarray, E: sp.csr_array, laplacian: sp.csr_array) -> np.ndarray:
    return E @ (E.T @ block) + laplacian @ block


def _cholesky(matrix: np.ndarray, ridge: float) -> np.ndarray:
    try:
        return scipy.linalg.cholesky(matrix, lower=True)
    except scipy.linalg.LinAlgError as error:
        raise _singular(ridge) from error


def _solve(matrix: np.ndarray, right: np.ndarray, ridge: float) -> np.ndarray:
    """LU solve that refuses a matrix whose solution would hold no digits worth having."""
    one_norm = np.abs(matrix).sum(axis=0).max()
    factors, pivots, info = scipy.linalg.lapack.dgetrf(matrix)
    reciprocal = scipy.linalg.lapack.dgecon(factors, one_norm)[0] if info == 0 else 0.0
    if not reciprocal > _SMALLEST_RECIPROCAL:
        raise _singular(ridge)
    return scipy.linalg.lu_solve((factors, pivots), right)


def _singular(ridge: float) -> ValueError:
    return ValueError(
        f"The regularised system is singular to working precision: ridge={ridge} is too small for features (or kernel "
        "values) of this scale. Scale the features, for example with StandardScaler or Normalizer, or raise ridge."
    )


def _risk(loss: str, fitted: np.ndarray, Y: np.ndarray) -> float:
    if loss == "squared":
        return float(np.sum((fitted - Y) ** 2))
    return float(np.sum(np.maximum(0.0, 1.0 - Y * fitted)))


def _support_vectors(rows: np.ndarray, signs: np.ndarray, kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """``y o beta`` (ns, C) and biases (C,); a column of one sign needs no machine, its bias says it all."""
    multipliers, bias = np.zeros(signs.shape), np.empty(signs.shape[1])
    for column, y in enumerate(signs.T):
        if np.all(y == y[0]):
            bias[column] = y[0]
            continue
        machine = SVC(C=1.0, kernel=kernel, tol=_SVM_TOLERANCE).fit(rows, y)
        multipliers[machine.support_, column] = machine.dual_coef_[0]
        bias[column] = machine.intercept_[0]
    return multipliers, bias
