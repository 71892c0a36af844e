"""Missing values and categories: filled and encoded by scikit-learn, in the model that is saved too."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from shallowda.datasets.tables import Table

__all__ = ["STRATEGIES", "check_impute", "encode", "joined", "split"]

#: What a missing number can be filled with; a missing category is filled with the most frequent one.
STRATEGIES = ("mean", "median", "most_frequent")


def check_impute(strategy: str) -> None:
    """Refuse what is no strategy.

    Parameters
    ----------
    strategy : str

    Raises
    ------
    ValueError
    """
    if strategy and strategy not in STRATEGIES:
        raise ValueError(f"--impute: there is no {strategy!r}. There are {', '.join(STRATEGIES)}.")


def encode(known: Table, new: Table, impute: str, one_hot: Collection[str]) -> tuple[Table, Table, Any]:
    """Both tables in numbers, and what made them so: fitted to the rows of both, and to no label.

    Parameters
    ----------
    known, new : Table
        Of the source, and of the target with its features in the same order.
    impute : str
        One of `STRATEGIES`, or empty.
    one_hot : collection of str
        Values of ``--one-hot``.

    Returns
    -------
    known, new : Table
    columns : ColumnTransformer or None
        None where nothing was asked for.
    """
    if not (impute or one_hot):
        return known, new, None
    if one_hot and not known.text:
        raise ValueError(
            f"--one-hot {' '.join(one_hot)}: the features of the source have no such column. Leave it out."
        )
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    # the last step turns objects into floats
    numbers = [FunctionTransformer(validate=True, feature_names_out="one-to-one")]
    text: list[Any] = [OneHotEncoder(handle_unknown="ignore", sparse_output=False)]
    if impute:
        numbers.insert(0, SimpleImputer(strategy=impute))
        text.insert(0, SimpleImputer(strategy="most_frequent"))
    rest = sorted(set(range(known.X.shape[1])) - set(known.text))
    parts = [("numbers", make_pipeline(*numbers), rest), ("categories", make_pipeline(*text), list(known.text))]
    columns = ColumnTransformer([part for part in parts if part[2]], verbose_feature_names_out=False)
    X = columns.fit_transform(np.concatenate([known.X, new.X]))
    names = None
    if known.names is not None:
        columns.feature_names_in_ = np.array(known.names, dtype=object)  # as of a DataFrame
        names = columns.get_feature_names_out().tolist()
    elif known.text:
        names = columns.get_feature_names_out().tolist()
    return known._replace(X=X[: len(known.X)], names=names), new._replace(X=X[len(known.X) :], names=names), columns


def joined(columns: Any, fitted: Any) -> Any:
    """A model that takes the columns as they are in files.

    Parameters
    ----------
    columns : ColumnTransformer or None
        Fitted.
    fitted : classifier

    Returns
    -------
    model : classifier
    """
    from sklearn.pipeline import Pipeline

    if columns is None:
        return fitted
    steps = fitted.steps if isinstance(fitted, Pipeline) else [(type(fitted).__name__.lower(), fitted)]
    return Pipeline([("columns", columns), *steps])


def split(model: Any) -> tuple[Any, Any, dict[str, Any]]:
    """What `joined` has put together, and how a file is to be read for it.

    Parameters
    ----------
    model : classifier

    Returns
    -------
    columns : ColumnTransformer or None
    fitted : classifier
    options : dict
        Arguments of `shallowda.datasets.tables.read_table`.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    if not (isinstance(model, Pipeline) and isinstance(model.steps[0][1], ColumnTransformer)):
        return None, model, {}
    (_, columns), *rest = model.steps
    fitted = rest[0][1] if len(rest) == 1 else Pipeline(rest)
    chosen = {name: (inner, places) for name, inner, places in columns.transformers_}
    by_place = all(
        isinstance(part, list) and all(isinstance(place, int) for place in part) for _, part in chosen.values()
    )
    if not (by_place and set(chosen) <= {"numbers", "categories", "remainder"}):
        return None, model, {}  # not made here
    places = chosen["categories"][1] if "categories" in chosen else []
    names = getattr(columns, "feature_names_in_", None)
    text = places if names is None else [str(names[place]) for place in places]
    steps = [step for inner, _ in chosen.values() for _, step in getattr(inner, "steps", ())]
    fills = any(isinstance(step, SimpleImputer) for step in steps)
    return columns, fitted, {"text": text, "missing": fills}
