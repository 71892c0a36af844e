"""Adapters to which the moments of the target are enough: new target rows are learned from without the old ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from shallowda.core.adapter import BaseAdapter
from shallowda.core.contract import (
    Domains,
    NoTargetWarning,
    concatenated_labels,
    domains_of_part,
    is_continuous,
    label_array,
    labels_among,
    read_domains,
    read_values,
)
from shallowda.core.messages import warn
from shallowda.core.rows import on_their_device, validated_rows
from shallowda.kernels.arrays import Array, is_numpy, library, namespace, take_rows
from shallowda.kernels.moments import Moments
from shallowda.kernels.planning import Plan

__all__ = ["MomentAdapter", "Rows", "Stream"]

Rows = Array | Moments  # of a domain: themselves, or what many of them have left behind


@dataclass(frozen=True, eq=False)
class Stream:
    """What is kept of the rows that came so far: the source rows, and the moments of either domain.

    Attributes
    ----------
    rows : array of shape (ns, d)
        Source rows, in the order in which they came.
    labels : ndarray of shape (ns,), or None
    source : Moments
    target : Moments or None
        None before there is a target row.
    """

    rows: Array
    labels: np.ndarray | None
    source: Moments
    target: Moments | None


def _may_stream(self: MomentAdapter) -> bool:
    """Check for `available_if`: the method, as it is set, needs no more than moments."""
    if reason := self._no_stream:
        raise AttributeError(f"{reason}, so {type(self).__name__} cannot learn in parts. Use fit.")
    return True


class MomentAdapter(BaseAdapter):
    """An adapter that learns from either domain's rows or moments alone: it has `partial_fit`."""

    __metadata_request__partial_fit = {"sample_domain": True}

    _kept_types: ClassVar[tuple[type, ...]] = (Moments, Stream)

    _stream: Stream | None = None

    @property
    def _no_stream(self) -> str:
        """Why moments are not enough for the method as it is set; empty where they are."""
        return ""

    @abstractmethod
    def _align(self, source: Rows, target: Rows | None) -> None:
        """Learn the maps from either domain; None where there is no target."""

    def _adapt(self, X: Array, domains: Domains) -> Array | None:
        source, target = domains.split(X)
        self._align_checked(source, target if domains.has_target else None)
        return None

    def _align_checked(self, source: Rows, target: Rows | None) -> None:
        for name, rows in (("source", source), ("target", target)):
            if rows is not None and rows.shape[0] < 2:
                raise ValueError(
                    f"The {name} domain has {rows.shape[0]} row(s); {type(self).__name__} needs at least two."
                )
        self._align(source, target)

    def _planned(self, X: Array, domains: Domains | None, n: int | None = None) -> Plan:
        stream = self._stream
        if domains is not None and stream is not None:  # a problem of order d, however few the rows at hand
            n = max(stream.source.n + (0 if stream.target is None else stream.target.n), X.shape[1])
        return super()._planned(X, domains, n)

    def _read(self, *args: Any) -> tuple[Array, Domains]:
        self._stream = None  # a fit begins anew
        return super()._read(*args)

    @available_if(_may_stream)
    @on_their_device
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
    ) -> MomentAdapter:
        """Learn from some more rows, without the earlier ones.

        Afterwards the model is that of a `fit` on all rows since the first call, up to round-off.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At the first call source rows, at best with target rows; later target rows, source rows, or both.
        y : array-like of shape (n_samples,), optional
            Class labels on source rows and marks on target rows, as for `fit`. Without `y` and `sample_domain` all rows
            are target rows.
        classes : array-like of shape (n_classes,), optional
            When given, a label of this call that is not among them is an error. Not needed: a class may appear at any
            time.
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If rows, labels and domains do not fit each other or those before, or if there is no source row yet; nor is
            there any after `fit`, which keeps no moments. The model then stays as it was.

        Warns
        -----
        NoTargetWarning
            As long as there are fewer than two target rows: nothing is adapted yet.
        UserWarning
            If the model was fitted by `fit` and the call brings source rows: it begins anew with these.

        Notes
        -----
        Kept are the source rows, on which the base classifier is trained anew at each call, and the number, mean and
        scatter matrix of either domain: ns d + 2 d^2 numbers however many target rows there were. A call costs m d^2
        for m rows, one eigenproblem of order d for either domain (TCA: for both together), and the training, so
        collect single rows into batches. The order of the rows does not matter. Other threads must not predict with the
        model meanwhile: give them a copy.
        """
        learned = copy(self)  # so that this model stays as it is if anything fails
        stream = learned._received(X, y, classes, sample_domain)
        n_source = stream.rows.shape[0]
        labels = stream.labels
        # for a regressor after the adapter; where there is no target yet, `read_domains` says that y must hold classes
        continuous = labels is not None and labels.dtype.kind == "f" and is_continuous(labels)
        read = read_values if continuous and stream.target is not None else read_domains
        domains = read(labels, np.zeros(n_source, dtype=int), n_source)
        learned._restart(domains)
        learned._stream = stream
        learned._learn(stream.rows, domains, partial(learned._adapt_to, stream))
        self.__dict__ = learned.__dict__
        return self

    @property
    def _kept_nothing(self) -> str:
        return f"This {type(self).__name__} was fitted by fit, which keeps no moments to go on from"

    def _require_beginning(self, y: Any, sample_domain: Any) -> None:
        """Refuse target rows alone after `fit`."""
        if self._stream is None and self.__sklearn_is_fitted__() and y is None and sample_domain is None:
            raise ValueError(
                f"{self._kept_nothing}. Begin by partial_fit on source rows, with the target rows at hand."
            )

    def _rescaled(self, source: Callable | None, target: Callable | None) -> Self:
        """A copy to which all earlier rows came as these functions map them, each column by a factor and an offset.

        None: as they came. The maps are those of before until `partial_fit` is called.
        """
        changed, stream = copy(self), self._stream
        if stream is not None and source is not None:
            rows = source(stream.rows).astype(stream.rows.dtype)
            stream = replace(stream, rows=rows, source=self._moments(rows))
        if stream is not None and stream.target is not None and target is not None:
            mean = stream.target.mean
            moved = target(np.stack([mean, mean + 1.0]))
            stream = replace(stream, target=stream.target.rescaled(moved[1] - moved[0], moved[0]))
        changed._stream = stream
        return changed

    def _received(self, X: ArrayLike, y: Any, classes: Any, sample_domain: Any) -> Stream:
        """What is kept of the rows of this call and those before."""
        old = self._stream
        self._require_beginning(y, sample_domain)
        if old is None and self.__sklearn_is_fitted__():
            warn(f"{self._kept_nothing}: partial_fit begins anew with these rows alone.")
        self._validate_params()
        X = validated_rows(self, X, reset=old is None)
        if old is not None and self._library != library(X):
            raise ValueError(
                f"This {type(self).__name__} learned from arrays of {self._library}; X is an array of {library(X)}."
            )
        if old is not None:
            self._require_device(X)
        y = None if y is None else column_or_1d(label_array(y), warn=True)
        labels = None if old is None else old.labels
        source = domains_of_part(y, sample_domain, X.shape[0], first=old is None, labels=labels) >= 0
        if not source.any():
            assert old is not None  # a first call has source rows
            return replace(old, target=_total(old.target, self._moments(X)))
        rows, labels = take_rows(X, np.flatnonzero(source)), None if y is None else labels_among(y, source)
        if (
            classes is not None
            and labels is not None
            and (strange := sorted({*labels.tolist()} - {*label_array(classes).tolist()}))
        ):
            raise ValueError(f"y holds labels that are not among classes: {strange}.")
        target = None if source.all() else self._moments(take_rows(X, np.flatnonzero(~source)))
        if old is None:
            return Stream(rows, labels, self._moments(rows), target)
        if (labels is None) != (old.labels is None):
            raise ValueError("Some source rows came with class labels and some without: label all of them, or none.")
        return Stream(
            namespace(rows).concat([old.rows, rows]),
            None if labels is None or old.labels is None else concatenated_labels([old.labels, labels]),
            old.source + self._moments(rows),
            old.target if target is None else _total(old.target, target),
        )

    def _moments(self, rows: Array) -> Moments:
        """Moments of rows, computed where `backend` says and kept where the rows are."""
        moments = Moments.of(self._placed(rows, None))
        return moments.to_numpy() if is_numpy(rows) else moments

    def _adapt_to(self, stream: Stream, rows: Array, domains: Domains) -> None:
        """Learn the maps from the moments of all rows; the rows at hand are those of the source."""
        source, target = stream.source, stream.target
        if target is None or target.n < 2:
            warn(
                f"{type(self).__name__} has seen fewer than two target rows, so nothing is adapted yet.",
                NoTargetWarning,
            )
            target = None
        self._align_checked(source.like(rows), None if target is None else target.like(rows))


def _total(one: Moments | None, other: Moments) -> Moments:
    return other if one is None else one + other
