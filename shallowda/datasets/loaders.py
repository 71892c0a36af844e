"""The data sets of the literature, one function each, and any other feature files."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shallowda.core.messages import warn
from shallowda.datasets._container import DomainDataset
from shallowda.datasets._files import read_features, read_gas, read_heart, read_stacked
from shallowda.datasets.store import domains_at_hand, folder, known_domains, obtain, registry

__all__ = [
    "DATASETS",
    "available_domains",
    "fetch_amazon_reviews",
    "fetch_coil20",
    "fetch_digits",
    "fetch_gas_drift",
    "fetch_heart_disease",
    "fetch_msrc_voc",
    "fetch_office_caltech10",
    "fetch_registered",
    "fetch_spam",
    "load_feature_files",
]

PathLike = str | os.PathLike[str]
logger = logging.getLogger("shallowda")

READERS: dict[str, Callable[[Path, str], tuple[np.ndarray, np.ndarray]]] = {
    "features": lambda path, part: read_features(path, part=part),
    "stacked": lambda path, part: read_stacked(path, int(part)),
    "gas": lambda path, part: read_gas(path),
    "heart": lambda path, part: read_heart(path),
}


def fetch_registered(
    key: str,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Any data set of the registry, by its name there; the functions of `DATASETS` are this one, documented.

    Parameters
    ----------
    key : str
        Name in the registry, such as "digits" or "office-caltech10[surf]".
    domains : sequence of str or None, default=None
        Which, in this order. None is all that are at hand or have a known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    entry, known = registry()[key], known_domains(key)
    if domains is None:
        names = _obtainable(key, known, folder(data_home))
    else:
        names = (domains,) if isinstance(domains, str) else tuple(domains)
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"domains of {key} must be some of {', '.join(known)}, each once; got {names}.")
    found = obtain(key, names, data_home, download_if_missing)
    parts = []
    for path, part in found.values():
        X, y = READERS[entry.get("layout", "features")](path, part)
        if X.shape[1] != entry["n_features"]:
            raise ValueError(
                f"{path}: {X.shape[1]} features; {key} has {entry['n_features']}. Another file of that name?"
            )
        if entry.get("counts") and np.any((X < 0) | (np.round(X) != X)):
            warn(f"{path} holds no counts: it was scaled before it was saved, and the papers' scaling does not apply.")
        parts.append((X, _codes(path, y, entry["classes"])))
    texts = {name: entry[name] for name in ("feature_description", "licence", "citation", "source")}
    return _stacked(key, names, parts, tuple(entry["classes"]), **texts)


def _obtainable(key: str, known: tuple[str, ...], home: Path) -> tuple[str, ...]:
    """Domains that are at hand or have a public copy; the others are named, and are no reason to fail."""
    public = {domain for file in registry()[key]["files"] if "url" in file for domain in file["domains"]}
    obtainable = public.union(domains_at_hand(key, home))
    names = tuple(domain for domain in known if domain in obtainable)
    if len(names) < len(known):
        absent = ", ".join(domain for domain in known if domain not in names)
        logger.warning("%s: left out %s, of which there is no file at hand and no known public copy.", key, absent)
    return names


def _stacked(
    name: str,
    domains: Sequence[str],
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    classes: tuple[str, ...],
    **texts: str,
) -> DomainDataset:
    return DomainDataset(
        name=name,
        X=np.concatenate([X for X, _ in parts]),
        y=np.concatenate([y for _, y in parts]).astype(np.int64),
        sample_domain=np.repeat(np.arange(len(parts)), [len(X) for X, _ in parts]),
        domain_names=tuple(domains),
        target_names=classes,
        **texts,
    )


def _codes(path: Path, y: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Codes of a file's labels, which are the classes' names or numbers that count them from 0 or 1."""
    if y.dtype.kind == "U":
        if unknown := set(y.tolist()) - set(classes):
            raise ValueError(f"{path}: unknown classes {', '.join(sorted(unknown))}; known are {', '.join(classes)}.")
        return np.array([classes.index(label) for label in y])
    found = np.unique(y)
    if len(found) == len(classes):
        return np.searchsorted(found, y)  # each class is there: also -1, 1
    for first in (0, 1):
        if found[0] >= first and found[-1] < first + len(classes) and first in (found[0], found[-1] - len(classes) + 1):
            return y - first
    raise ValueError(
        f"{path}: labels {found[0]} to {found[-1]} ({len(found)} different) do not number {len(classes)} classes from "
        "0 or from 1 beyond doubt."
    )


VARIANTS = ("surf", "decaf6", "googlenet")


def _office_caltech10(features: str) -> str:
    if features not in VARIANTS:
        raise ValueError(f"features must be one of {', '.join(VARIANTS)}; got {features!r}.")
    return f"office-caltech10[{features}]"


def fetch_office_caltech10(
    features: str = "surf",
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Office-Caltech10: photographs of ten kinds of objects, as features.

    Shops (amazon, 958 pictures), Caltech-256 (caltech, 1123), a good camera (dslr, 157) and a bad one (webcam,
    295). The figures published for SURF features are reached after dividing each row by its sum and z-scoring each
    domain by itself.

    Parameters
    ----------
    features : {"surf", "decaf6", "googlenet"}, default="surf"
        Bags of visual words, or the activations of AlexNet or GoogLeNet. Not every domain has a known public copy of
        its activations.
    domains : sequence of str or None, default=None
        Which, in this order: some of amazon, caltech, dslr, webcam. None is all that are at hand or have a known
        public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X holds 800 counts (surf), 4096 (decaf6) or 1024 (googlenet) activations of each sample.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered(_office_caltech10(features), domains, data_home, download_if_missing)


def fetch_digits(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Digits written by hand: 2000 of MNIST and 1800 of USPS, 16 x 16 grey levels.

    The split of Long et al. (ICCV 2013). It is distributed as two files, MNIST_vs_USPS and USPS_vs_MNIST, that hold
    the same samples with the domains exchanged: one is enough. Published figures are reached on rows of unit
    length.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of MNIST, USPS. None is all that are at hand or have a known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X of shape (3800, 256), float64, from 0 to 1; classes are named by the labels of the file, 1 to 10.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("digits", domains, data_home, download_if_missing)


def fetch_amazon_reviews(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Reviews of products: positive or negative, 400 most frequent words and word pairs.

    About 2000 reviews of each kind of product, of which half are positive.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of books, dvd, electronics, kitchen. None is all that are at hand or have a known
        public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X holds 400 counts of each sample, float64; classes are the labels 0 and 1 of the files.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("amazon-reviews", domains, data_home, download_if_missing)


def fetch_gas_drift(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Six gases before an array of chemical sensors that ages over 36 months.

    Ten batches in order of time, of 161 to 3600 samples; batches 3 to 5 have no Toluene. Features are raw: their
    ranges differ by orders of magnitude. The concentration of the gas is left out.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of batch1 to batch10. None is all that are at hand or have a known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X holds 128 features of each sample, float64.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("gas-drift", domains, data_home, download_if_missing)


def fetch_heart_disease(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Heart disease in the patients of four hospitals.

    Clinical measurements of 303 (cleveland), 294 (hungarian), 123 (switzerland) and 200 (va) patients. **Values are
    missing** (NaN), some features nearly always in some hospitals: impute before adaptation.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of cleveland, hungarian, switzerland, va. None is all that are at hand or have a
        known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X holds 13 features of each sample, float64, with NaN; the classes are absent (diagnosis 0) and present (1
        to 4).

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("heart-disease", domains, data_home, download_if_missing)


def fetch_spam(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Unwanted messages: 5338 by SMS and 4205 by mail.

    Counts of the words that both kinds of messages share. Dense, X takes 326 MB.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of SMS, mail. None is all that are at hand or have a known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X of shape (9543, 4272), float64; the classes are ham and spam.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("spam", domains, data_home, download_if_missing)


def fetch_coil20(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """COIL-20: twenty objects on a turntable, in two ranges of viewing angles.

    Pictures of 32 x 32 pixels, 720 in each domain. The split of Long et al. (ICCV 2013), of whose files COIL_1 and
    COIL_2 either is enough: they hold the same samples with the domains exchanged.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of COIL1, COIL2. None is all that are at hand or have a known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X of shape (1440, 1024), float64; classes are named by the labels of the file, 1 to 20.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("coil20", domains, data_home, download_if_missing)


def fetch_msrc_voc(
    *,
    domains: Sequence[str] | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
) -> DomainDataset:
    """Photographs of six kinds of objects, of MSRC (1269) and of VOC 2007 (1530).

    Bags of 240 visual words.

    Parameters
    ----------
    domains : sequence of str or None, default=None
        Which, in this order: some of MSRC, VOC. None is all that are at hand or have a known public copy.
    data_home : path-like or None, default=None
        Folder of the files; else the environment variable ``SHALLOWDA_DATA``, else pooch's cache folder.
    download_if_missing : bool, default=True
        Whether files that are not there are downloaded into that folder.

    Returns
    -------
    dataset : DomainDataset
        X of shape (2799, 240), float64; classes are named by the labels of the file, 1 to 6.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded. The message says where it was looked for and what to do.
    ValueError
        If a domain is unknown, or a file damaged or not what it should be.
    ImportError
        If pooch is needed and missing: ``pip install shallowda[data]``.
    """
    return fetch_registered("msrc-voc", domains, data_home, download_if_missing)


DATASETS: dict[str, Callable[..., DomainDataset]] = {
    "office-caltech10": fetch_office_caltech10,
    "digits": fetch_digits,
    "amazon-reviews": fetch_amazon_reviews,
    "gas-drift": fetch_gas_drift,
    "heart-disease": fetch_heart_disease,
    "spam": fetch_spam,
    "coil20": fetch_coil20,
    "msrc-voc": fetch_msrc_voc,
}


def available_domains(name: str, **options: Any) -> tuple[str, ...]:
    """Domains of a data set whose files are at hand, so that nothing need be downloaded.

    Parameters
    ----------
    name : str
        Key of `DATASETS`.
    **options
        Keyword arguments of its function: ``features``, ``domains``, ``data_home``.

    Returns
    -------
    domains : tuple of str
        In the order of the data set, or of the option ``domains``. The files were not read.

    Raises
    ------
    ValueError, TypeError
        If there is no such data set, or its function takes no such option.

    Examples
    --------
    >>> from shallowda.datasets import available_domains
    >>> available_domains("digits", data_home="an/empty/folder")
    ()
    """
    if name not in DATASETS:
        raise ValueError(f"There is no data set {name!r}; known are {', '.join(DATASETS)}.")
    call = inspect.signature(DATASETS[name]).bind(**options)
    call.apply_defaults()
    key = _office_caltech10(call.arguments["features"]) if "features" in call.arguments else name
    at_hand, wanted = domains_at_hand(key, folder(call.arguments["data_home"])), call.arguments["domains"]
    names = at_hand if wanted is None else (wanted,) if isinstance(wanted, str) else tuple(wanted)
    return tuple(domain for domain in names if domain in at_hand)


def load_feature_files(
    files: Mapping[str, PathLike | Sequence[PathLike]], *, name: str = "feature-files"
) -> DomainDataset:
    """Domains from files of features, one file each or two in a file: Office-31, Office-Home and their like.

    Read are MATLAB files (up to 7.2, and 7.3, which is HDF5), ``.npz``, and text of comma-, semicolon-, tab- or
    blank-separated numbers, with or without a line of names. Samples may be rows or columns (the labels tell), labels
    a row, a column, sparse, indicators of the classes, numbers or (but in MATLAB) strings. Variables are recognised
    by their usual names (``fts``, ``feas``, ``fea``, ``X``, ...; ``labels``, ``label``, ``Y``, ``gnd``, ...) or, if
    there is only one that fits, by their shapes. In text, the label is the column of such a name; else the first or the
    last, whichever holds a few words or whole numbers that repeat, and the last where both do. libsvm text is read too.

    Parameters
    ----------
    files : mapping of str to path-like, or to (path-like, str) or (path-like, str, str)
        File of each domain. Where variables are not recognised or the file holds two domains: the file, the name of
        the features, and that of the labels, as in ``("MNIST_vs_USPS.mat", "X_src", "Y_src")``. Of text only the
        labels' column has a name: ``("art.csv", "", "class")``.
    name : str, default="feature-files"
        What the data set is to be called.

    Returns
    -------
    dataset : DomainDataset
        X is float32 if all files are of single precision (or less), else float64. Classes are all labels of all
        files, sorted, named as in the files.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, holds what only a pickle could, is not a labelled matrix of finite numbers, asks for
        memory out of proportion, or does not go with the others. The message names the file.
    ImportError
        If a MATLAB 7.3 file is read without h5py: ``pip install shallowda[data]``.

    Warns
    -----
    UserWarning
        If the labels of some files count the same number of classes from 0 and of others from 1: they are then taken
        for the same classes.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.datasets import load_feature_files
    >>> random = np.random.default_rng(0)
    >>> np.savez("art.npz", fts=random.normal(size=(6, 3)), labels=[1, 1, 2, 2, 3, 3])
    >>> np.savetxt("clipart.csv", np.c_[random.normal(size=(4, 3)), [1, 2, 3, 3]], delimiter=",")
    >>> load_feature_files({"art": "art.npz", "clipart": "clipart.csv"}, name="two-styles")
    DomainDataset two-styles: 10 samples, 3 features, 3 classes; domains art (6), clipart (4)
    """
    if not files:
        raise ValueError("files must name at least one domain and its file.")
    places, parts = [], []
    read: dict[tuple, str] = {}  # which domain was read from where
    for domain, given in files.items():
        path, *variables = [given] if isinstance(given, (str, os.PathLike)) else given
        if len(variables) > 2:
            raise ValueError(f"files: expected (path, features, labels), got {given!r}.")
        places.append(Path(path).expanduser())
        if (same := read.setdefault((places[-1].resolve(), *variables), domain)) != domain:
            raise ValueError(
                f"files: {same!r} and {domain!r} are the same rows of {places[-1]}. Name features and labels of "
                "each, as (path, features, labels)."
            )
        parts.append(read_features(places[-1], *map(str, variables)))
    widths = {X.shape[1] for X, _ in parts}
    kinds = {y.dtype.kind for _, y in parts}
    if len(widths) > 1 or len(kinds) > 1:
        told = "; ".join(
            f"{path}: {X.shape[1]} features, labels like {y[0]!s}" for path, (X, y) in zip(places, parts, strict=True)
        )
        raise ValueError(f"All domains need the same features and the same kind of labels. {told}.")
    labels = [y for _, y in parts]
    if kinds == {"i"}:
        labels = _counted_alike(labels, places)
    classes = np.unique(np.concatenate(labels))
    return _stacked(
        name,
        tuple(files),
        [(X, np.searchsorted(classes, y)) for (X, _), y in zip(parts, labels, strict=True)],
        tuple(map(str, classes)),
        feature_description="as in the files",
        licence="that of the files",
        citation="that of the files",
        source=", ".join(dict.fromkeys(map(str, places))),
    )


def _counted_alike(labels: list[np.ndarray], places: Sequence[Path]) -> list[np.ndarray]:
    """Labels that count from 0 in some files and from 1 in others, all from 0."""
    found = [np.unique(y) for y in labels]
    size = len(found[0])
    if any(len(values) != size or values[-1] - values[0] != size - 1 for values in found):
        return labels
    first = [int(values[0]) for values in found]
    if set(first) != {0, 1}:
        return labels
    ones = ", ".join(str(path) for path, start in zip(places, first, strict=True) if start)
    warn(
        f"Labels count {size} classes from 1 in {ones}, and from 0 in the other files; they are taken for the "
        "same classes. If they are not, save them as strings."
    )
    return [y - start for y, start in zip(labels, first, strict=True)]
