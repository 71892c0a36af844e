"""Which parameter is meant, where a name or a value is misspelt or comes from another package.

There is no list of other packages' names: the docstrings say what each parameter is called elsewhere ("lambda of the
paper", "dim in other packages"), and this module looks there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from inspect import getdoc, signature
from typing import Any, Self

from sklearn.utils._param_validation import InvalidParameterError

__all__ = ["HintedParameters"]

_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=\n\n\w[^\n]*\n-+\n|\Z)", re.DOTALL | re.MULTILINE)
_PARAMETER = re.compile(r"^(\w[\w, ]*?)(?: : .*)?$", re.MULTILINE)


class HintedParameters:
    """An estimator whose errors about parameters say which one is meant. It goes before scikit-learn's base class."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _hinted(cls.__init__)  # type: ignore[method-assign]

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of nested estimators: ``<parameter>__<its parameter>``.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no parameter of that name; the likeliest one is named.
        """
        own: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name in params:
            if name.partition("__")[0] not in own:
                held = [key for key, part in own.items() if _has_parameter(part, name)]
                meant = f"{held[0]}__{name}" if held else ""
                hint = (
                    f" Did you mean {meant}, and in a pipeline <name of the step>__{meant}?"
                    if held
                    else _meant(type(self), name)
                )
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {sorted(own)}.{hint}"
                )
        return super().set_params(**params)  # type: ignore[misc]

    def _validate_params(self) -> None:
        try:
            super()._validate_params()  # type: ignore[misc]
        except InvalidParameterError as error:
            named = re.match(r"The '(\w+)' parameter", str(error))
            value = getattr(self, named[1], None) if named else None
            if not (named and isinstance(value, str)):
                raise
            options = re.findall(r"'(\w+)'", str(error).partition("must be")[2].partition("Got")[0])
            raise InvalidParameterError(f"{error}{_explained(type(self), named[1], value, options)}") from None


def _hinted(init: Callable) -> Callable:
    """The constructor, with a hint where it is given a parameter that it does not have."""
    known = signature(init).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in known.values())  # as subclasses of users may

    @wraps(init)
    def hinted(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in known and not takes_any:
                kind = type(self)
                raise TypeError(
                    f"{kind.__name__}.__init__() got an unexpected keyword argument {name!r}.{_meant(kind, name)}"
                )
        init(self, *args, **kwargs)

    return hinted


def _has_parameter(part: Any, name: str) -> bool:
    return hasattr(part, "get_params") and not isinstance(part, type) and name in part.get_params()


def _meant(kind: type, name: str) -> str:
    """A question whether some parameter was meant; empty where none comes near."""
    described = _described(kind)
    near = get_close_matches(name, described, 1, 0.7) or [
        parameter for parameter, text in described.items() if _mentions(_sentences(text)[0], name)
    ]
    return f" Did you mean {' or '.join(near[:2])}?" if near else ""


def _explained(kind: type, name: str, value: str, options: list[str]) -> str:
    """What the docstring says of a value that the parameter does not take, or a value that is spelt like it."""
    said = [sentence for sentence in _sentences(_described(kind).get(name, "")) if _mentions(sentence, value)]
    if said:
        return f" {name}: {said[0]}"
    near = get_close_matches(value, options, 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _mentions(text: str, name: str) -> bool:
    """Whether a word of the text is this name, or is longer and begins with it."""
    word = name.strip("_")
    rest = r"\w*" if len(word) > 2 else ""
    return len(word) > 1 and re.search(rf"\b{re.escape(word)}{rest}\b", text, re.IGNORECASE) is not None


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.) +", " ".join(text.split()))


def _described(kind: type) -> dict[str, str]:
    """What the docstring of a class says of each parameter."""
    section = _SECTION.search(getdoc(kind) or "")
    described = dict.fromkeys(signature(kind).parameters, "")
    parts = _PARAMETER.split(section[1])[1:] if section else []
    for names, text in zip(parts[::2], parts[1::2], strict=True):
        described |= {name: text for name in names.split(", ") if name in described}
    return described
