"""Validation of X: what scikit-learn checks, also for arrays of other libraries."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array, validate_data

from shallowda.kernels.arrays import Array, is_foreign, is_lazy, library, namespace, take_rows, to_numpy
from shallowda.kernels.moments import row_blocks
from shallowda.kernels.threads import parts

__all__ = [
    "computed",
    "first_equal",
    "of_first",
    "places_of",
    "read_only",
    "require_range",
    "row_keys",
    "two_samples",
    "validated_rows",
]

_POWERS = {4: {4: 17, 8: 70}, 2: {4: 17, 8: 150}}  # by degree and bytes of a number: exponent that sums of powers allow
_TELLING_COLUMNS = 8  # that are looked at before whole rows are
_KEY_BLOCK = 2**21  # numbers of rows that are read at a time


def computed(X: Any, name: str = "X") -> Any:
    """The rows themselves, if their values are at hand and can be computed with.

    Parameters
    ----------
    X : array-like
    name : str, default="X"
        Of the argument, for messages.

    Returns
    -------
    X : array-like

    Raises
    ------
    TypeError
        If X is sparse, is lazy, or claims to follow the Array API standard and does not.
    """
    if sp.issparse(X):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use '.toarray()' to convert to a dense "
            "numpy array."
        )
    if is_lazy(X):
        raise TypeError(
            f"{name} is a lazy {type(X).__name__} of {library(X)}, whose values are not computed yet. Pass "
            f"{name}.{'compute' if hasattr(X, 'compute') else 'collect'}(): the rows must fit into memory."
        )
    if is_foreign(X):
        try:
            xp = namespace(X)
            bool(xp.all(X[:1, ...] == X[:1, ...]))  # a value that is at hand
            _ = xp.linalg.eigh, [int(side) for side in X.shape]
        except ImportError:
            raise
        except Exception as error:  # of any library
            raise TypeError(
                f"{name} is a {type(X).__name__} of {library(X)}, which says that it follows the Array API standard "
                f"but cannot be computed with ({type(error).__name__}: {error}). Convert it to a NumPy array."
            ) from error
    return X


def validated_rows(estimator: Any, X: Any, *, reset: bool, min_rows: int = 1) -> Array:
    """Finite floating-point rows with the number of features that the estimator was fitted with.

    Arrays of other libraries stay where they are. Everything else becomes a NumPy array: float32 and float64 as they
    are, without a copy, other numbers in float64.

    Parameters
    ----------
    estimator : estimator
        Its `n_features_in_` (and `feature_names_in_`) are set when `reset`, else compared with.
    X : array-like of shape (n, d)
    reset : bool
    min_rows : int, default=1

    Returns
    -------
    X : array of shape (n, d)

    Raises
    ------
    ValueError, TypeError
        As scikit-learn's ``validate_data``.
    """
    X = computed(X)
    if not is_foreign(X):
        with np.errstate(over="ignore", invalid="ignore"):  # sums of large numbers, by which NaN are looked for
            return validate_data(estimator, X, dtype=[np.float64, np.float32], reset=reset, ensure_min_samples=min_rows)
    xp, name = namespace(X), type(estimator).__name__
    if len(X.shape) != 2:
        raise ValueError(f"Expected 2D array, got {len(X.shape)}D array instead. X has one row per sample.")
    n, d = X.shape
    if n < min_rows or d < 1:
        raise ValueError(f"X has {n} row(s) and {d} feature(s); {name} needs at least {min_rows} and 1.")
    if X.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"X is an array of {library(X)} with dtype {X.dtype}; convert it to float32 or float64 first.")
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError(f"Input X contains NaN or infinity. {name} needs finite features.")
    if reset:
        estimator.n_features_in_ = int(d)
        vars(estimator).pop("feature_names_in_", None)
    elif d != estimator.n_features_in_:
        raise ValueError(f"X has {d} features, but {name} is expecting {estimator.n_features_in_} features as input.")
    return X


def require_range(X: Array, name: str = "X", *, degree: int = 4, small: bool = True) -> None:
    """Refuse rows in a unit so large or so small that powers of them are no numbers.

    Parameters
    ----------
    X : array of shape (n, d), finite
    name : str, default="X"
        For the message.
    degree : {2, 4}, default=4
        Of the powers: solvers take squares of products.
    small : bool, default=True
        Whether rows must not be too small either (all zeros are not).

    Raises
    ------
    ValueError
    """
    xp = namespace(X)
    if 0 in X.shape:
        return
    peak = max(max(float(xp.max(X[part, :])), -float(xp.min(X[part, :]))) for part in row_blocks(X))
    exponent = _POWERS[degree][xp.finfo(X.dtype).bits // 8]
    if peak > 10.0**exponent or (small and 0 < peak < 10.0**-exponent):
        size = "large" if peak > 1 else "small"
        raise ValueError(
            f"{name} is so {size} (the largest modulus is {peak:.1e}) that powers of it "
            f"{'overflow' if peak > 1 else 'vanish'}. Scale the features: divide them by a constant of that size."
        )


def read_only(rows: np.ndarray) -> np.ndarray:
    """A view that an estimator of the user's, told to work in place, copies before it writes.

    Parameters
    ----------
    rows : ndarray

    Returns
    -------
    view : ndarray
    """
    view = rows.view()
    view.flags.writeable = False
    return view


def first_equal(rows: Array, *, apart: np.ndarray | None = None) -> np.ndarray:
    """For each row the place of the first one that equals it.

    A product of matrices rounds a row by its place among others. Whoever takes the result of the first of equal rows
    (`of_first`) gives all of them the same.

    Parameters
    ----------
    rows : array of shape (m, d)
    apart : ndarray of shape (m,), bool, optional
        Rows that differ in it are not equal.

    Returns
    -------
    first : ndarray of shape (m,), int

    Notes
    -----
    Cost: some columns are sorted, which tells nearly all rows apart where features are continuous. What they leave is
    read once, in blocks, by the host.
    """
    m, d = rows.shape
    first = index = np.arange(m)
    group = np.zeros(m, dtype=np.intp) if apart is None else apart.astype(np.intp)
    for column in np.unique(np.linspace(0, d - 1, _TELLING_COLUMNS).astype(int)).tolist():
        value = np.unique(to_numpy(rows[:, column])[index], return_inverse=True)[1]
        group = np.unique(group * (m + 1) + value, return_inverse=True)[1]
        kept = (np.bincount(group) > 1)[group]
        index, group = index[kept], group[kept]
        if not len(index):
            return first
    keys = np.column_stack([row_keys(rows, index), group.astype(np.uint64)])
    _, place, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first = first.copy()
    first[index] = index[place][same.ravel()]
    return first


def of_first(results: Array, first: np.ndarray) -> Array:
    """Results of rows, each replaced by that of the first row that equals its own: see `first_equal`."""
    return results if np.array_equal(first, np.arange(len(first))) else take_rows(results, first)


def row_keys(rows: Array, index: np.ndarray | None = None) -> np.ndarray:
    """Digests of rows: equal for equal ones, and for no others in practice.

    Cost: reads the rows once, in blocks, on the host; about a microsecond and a nanosecond a byte for each.

    Parameters
    ----------
    rows : array of shape (m, d)
    index : ndarray of shape (k,), int, optional
        Places of those that are wanted; all by default.

    Returns
    -------
    keys : ndarray of shape (k,), uint64
    """
    index = np.arange(rows.shape[0]) if index is None else index
    digests = []
    for part in parts(len(index), max(1, _KEY_BLOCK // rows.shape[1])):
        some = np.ascontiguousarray(to_numpy(take_rows(rows, index[part])), dtype=np.float64)
        some = some + 0.0  # no negative zeros: equal rows have equal bytes
        digests += [blake2b(row, digest_size=8).digest() for row in some]
    return np.frombuffer(b"".join(digests), np.uint64)


def places_of(rows: np.ndarray, stored: np.ndarray, keys: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where rows lie among stored ones; -1 where they do not.

    Parameters
    ----------
    rows : ndarray of shape (m, d)
    stored : ndarray of shape (n, d)
    keys, places : ndarray of shape (k,)
        The different `row_keys` of the stored rows, ascending, and the first place of each.

    Returns
    -------
    found : ndarray of shape (m,), int
    """
    wanted = row_keys(rows)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = np.where(keys[at] == wanted, places[at], -1)
    known = np.flatnonzero(found >= 0)
    for part in parts(len(known), max(1, _KEY_BLOCK // rows.shape[1])):
        some = known[part]
        differ = np.any(stored[found[some]] != rows[some], axis=1)
        found[some[differ]] = -1
    return found


def two_samples(Xs: ArrayLike, Xt: ArrayLike, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two domains with the same features, in float64.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    at_least : int, default=1
        Rows that either must have.

    Returns
    -------
    Xs, Xt : ndarray

    Raises
    ------
    ValueError, TypeError
        As scikit-learn's ``check_array``, and if the numbers of features differ, or squares are out of range.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # as above
        Xs = check_array(computed(Xs, "Xs"), dtype=np.float64, ensure_min_samples=at_least, input_name="Xs")
        Xt = check_array(computed(Xt, "Xt"), dtype=np.float64, ensure_min_samples=at_least, input_name="Xt")
    if Xs.shape[1] != Xt.shape[1]:
        raise ValueError(f"Xs has {Xs.shape[1]} features and Xt {Xt.shape[1]}; they must agree.")
    require_range(Xs, "Xs", degree=2)
    require_range(Xt, "Xt", degree=2)
    return Xs, Xt
