"""Validation of X: what scikit-learn checks, also for arrays of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array, validate_data

from shallowda.core.columns import aligned_tables
from shallowda.kernels.arrays import (
    Array,
    as_dtype,
    is_foreign,
    is_lazy,
    library,
    namespace,
    of_foreign,
    on_device,
    to_numpy,
)
from shallowda.kernels.moments import row_blocks

__all__ = [
    "computed",
    "naming_column",
    "on_host",
    "on_their_device",
    "read_only",
    "require_range",
    "two_samples",
    "validated_rows",
    "widened",
]

Method = TypeVar("Method", bound=Callable)

_POWERS = {4: {4: 17, 8: 70}, 2: {4: 17, 8: 150}}  # by degree and bytes of a number: exponent that sums of powers allow


def on_their_device(method: Method) -> Method:
    """A method whose first argument is rows, made to run with their device as the current one.

    Parameters
    ----------
    method : callable

    Returns
    -------
    method : callable
    """

    @wraps(method)
    def run(self: Any, X: Any, *args: Any, **named: Any) -> Any:
        with on_device(X):
            return method(self, X, *args, **named)

    return run  # type: ignore[return-value]


def computed(X: Any, name: str = "X") -> Any:
    """The rows themselves, if their values are at hand and can be computed with.

    Of a torch tensor that records gradients, what it holds: nothing here is differentiated.

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
        If X is sparse, is lazy, is a list of arrays of another library, or claims to follow the Array API standard and
        does not.
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
    if of_foreign(X):
        raise TypeError(
            f"{name} is a list of arrays of {library(X[0])}. Make one array of them first, by that library's function "
            "stack."
        )
    if is_foreign(X):
        X = X.detach() if library(X) == "torch" else X
        try:
            xp = namespace(X)
            with on_device(X):
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


@contextmanager
def naming_column(X: Any, name: str = "X") -> Iterator[None]:
    """Where rows are not to be converted to numbers, say which column holds what.

    Parameters
    ----------
    X : array-like
    name : str, default="X"
        Of the argument, for messages.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        for column, values in () if is_lazy(X) or is_foreign(X) else _columns(X):
            for value in values.tolist() if values.dtype.kind in "OUS" else ():
                if isinstance(value, (str, bytes)) and not _is_number(value):
                    raise ValueError(
                        f"{name} must hold numbers, and its column {column!r} holds text such as {value!r}. Leave the "
                        "column out, or encode it first (sklearn.preprocessing.OneHotEncoder or OrdinalEncoder)."
                    ) from error
        raise


def _columns(X: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Names and values of the columns; numbers stand for names where there are none."""
    if hasattr(X, "columns"):
        yield from ((column, np.asarray(X[column]).ravel()) for column in X.columns)
    elif (array := np.asarray(X)).ndim == 2:
        yield from enumerate(array.T)


def _is_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def widened(X: Any) -> Any:
    """Rows of float16 or bfloat16 in float32, others as they are.

    Float16 of NumPy is left to scikit-learn, which takes it in float64.

    Parameters
    ----------
    X : array-like

    Returns
    -------
    X : array-like
    """
    dtype = str(getattr(X, "dtype", "")).removeprefix("torch.")
    if is_foreign(X):
        return as_dtype(X, namespace(X).float32) if dtype in ("float16", "bfloat16") else X
    return np.asarray(X).astype(np.float32) if dtype == "bfloat16" else X


def on_host(X: Any, name: str = "X") -> Any:
    """The rows for what is computed with NumPy alone: those of another library are copied to the host.

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
        As `computed`.
    """
    with on_device(X):
        X = widened(computed(X, name))
    return to_numpy(X) if is_foreign(X) else X


def validated_rows(estimator: Any, X: Any, *, reset: bool, min_rows: int = 1) -> Array:
    """Finite floating-point rows with the number of features that the estimator was fitted with.

    Arrays of other libraries stay where they are. Everything else becomes a NumPy array: float32 and float64 as they
    are, without a copy, bfloat16 in float32, other numbers in float64. Rows of float16 and bfloat16 of other libraries
    become float32 where they are.

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
    X = widened(computed(X))
    if not is_foreign(X):
        # sums of large numbers, by which NaN are looked for
        with np.errstate(over="ignore", invalid="ignore"), naming_column(X):
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


def two_samples(Xs: ArrayLike, Xt: ArrayLike, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two domains with the same features, in float64, as NumPy arrays.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
        Columns of DataFrames are put in the order of those of Xs, by name.
    at_least : int, default=1
        Rows that either must have.

    Returns
    -------
    Xs, Xt : ndarray

    Raises
    ------
    ValueError, TypeError
        As scikit-learn's ``check_array``, and if the features differ in number or name, or squares are out of range.
    """
    Xs, Xt = aligned_tables([on_host(Xs, "Xs"), on_host(Xt, "Xt")], ["Xs", "Xt"])
    with np.errstate(over="ignore", invalid="ignore"):  # as above
        with naming_column(Xs, "Xs"):
            Xs = check_array(Xs, dtype=np.float64, ensure_min_samples=at_least, input_name="Xs")
        with naming_column(Xt, "Xt"):
            Xt = check_array(Xt, dtype=np.float64, ensure_min_samples=at_least, input_name="Xt")
    if Xs.shape[1] != Xt.shape[1]:
        raise ValueError(f"Xs has {Xs.shape[1]} features and Xt {Xt.shape[1]}; they must agree.")
    require_range(Xs, "Xs", degree=2)
    require_range(Xt, "Xt", degree=2)
    return Xs, Xt
