"""Raw inputs of many kinds, in batches, and as the arrays that a network is called with."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shallowda.kernels.arrays import to_numpy

IMAGE_SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])


def image_folder(path: str | os.PathLike) -> tuple[list[Path], np.ndarray | None]:
    """Image files of a folder, and their classes where it has one folder for each.

    Parameters
    ----------
    path : path-like
        A folder of images, or of one folder per class, with images at any depth. Files count by their ending (bmp, gif,
        jpeg, jpg, pgm, png, ppm, tif, tiff, webp); hidden ones do not.

    Returns
    -------
    paths : list of pathlib.Path
        Sorted, class by class: the same order on every machine.
    labels : ndarray of str of shape (n,), or None
        Names of the folders; None where the images lie in the folder itself.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    ValueError
        If it holds no images, or some within folders and some beside them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from shallowda.features import image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/2.png", "cat/1.png", "dog/1.jpg", "dog/notes.txt"):
    ...         file = Path(folder, name)
    ...         file.parent.mkdir(exist_ok=True)
    ...         file.touch()
    ...     paths, labels = image_folder(folder)
    >>> [path.name for path in paths], labels
    (['1.png', '2.png', '1.jpg'], array(['cat', 'cat', 'dog'], dtype='<U3'))
    """
    root = Path(path)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder.")
    found = [
        (file.relative_to(root).parts, file)
        for file in root.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    ]
    found = sorted((parts, file) for parts, file in found if not any(part.startswith(".") for part in parts))
    if not found:
        raise ValueError(f"{root} holds no images: no file ends with {', '.join(sorted(IMAGE_SUFFIXES))}.")
    within = [len(parts) > 1 for parts, _ in found]
    if any(within) and not all(within):
        beside = next(file for parts, file in found if len(parts) == 1)
        raise ValueError(f"{root} holds images both in folders, one per class, and beside them, such as {beside.name}.")
    paths = [file for _, file in found]
    return paths, np.array([parts[0] for parts, _ in found]) if all(within) else None


def in_batches(data: Any, column: str | None, rows: int) -> tuple[int | None, Iterator[Any]]:
    """How many samples there are, if that is known, and the samples in batches: slices of arrays, or lists."""
    if isinstance(data, str | bytes | os.PathLike):
        raise TypeError("data is a single path or text. Pass a list; for a folder of images: image_folder(path)[0].")
    if column is not None:
        data = _column(data, column)
    if is_a(data, "torch", "DataLoader"):
        return None, _loaded(data)
    if hasattr(data, "to_numpy"):  # a series or data frame: by position, not by label
        data = data.to_numpy()
    if isinstance(data, np.ndarray) and data.dtype.kind in "OSTU":
        data = data.tolist()
    if isinstance(data, Mapping):
        return _named_arrays(data, rows)
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        if not data.shape:
            raise ValueError("data is a single number; its first axis must be the samples.")
        return len(data), (data[start : start + rows] for start in range(0, len(data), rows))
    if isinstance(data, Sequence):
        return len(data), (list(data[start : start + rows]) for start in range(0, len(data), rows))
    indexed = hasattr(data, "__getitem__") and not is_a(data, "torch", "IterableDataset")
    if indexed and hasattr(data, "__len__"):
        ranges = (range(start, min(start + rows, len(data))) for start in range(0, len(data), rows))
        several = getattr(data, "__getitems__", None)  # datasets of torch and Hugging Face: many samples in one go
        return len(data), (list(several(list(r)) if several else map(data.__getitem__, r)) for r in ranges)
    if isinstance(data, set | frozenset) or not isinstance(data, Iterable):
        raise TypeError(f"data is a {type(data).__name__}; pass an array, a list or another ordered collection.")
    samples = iter(data)
    return None, iter(lambda: list(itertools.islice(samples, rows)), [])


def _column(data: Any, column: str) -> Any:
    try:
        return data[column]
    except Exception as error:
        names = getattr(data, "column_names", None) or getattr(data, "columns", None)
        there = "" if names is None else f" It has {', '.join(map(str, names))}."
        raise ValueError(f"data has no column {column!r}.{there}") from error


def _named_arrays(data: Mapping, rows: int) -> tuple[int, Iterator[dict]]:
    arrays = {}
    for key, values in data.items():
        if hasattr(values, "column_names"):
            raise TypeError(f"data has several splits ({', '.join(map(str, data))}); pass one of them: data[{key!r}].")
        arrays[key] = values
    lengths = {key: len(values) for key, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The arrays in data differ in their number of samples: {lengths}.")
    n = next(iter(lengths.values()), 0)
    return n, ({key: array[i : i + rows] for key, array in arrays.items()} for i in range(0, n, rows))


def _loaded(loader: Any) -> Iterator[Any]:
    from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

    if isinstance(loader.sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler) or loader.drop_last:
        raise ValueError(
            "The DataLoader shuffles or drops samples, so that rows could not be matched with labels. Make it with "
            "shuffle=False and drop_last=False, or pass its dataset."
        )
    for batch in loader:
        if isinstance(batch, tuple | list) and not isinstance(batch[0], str):
            batch = batch[0]  # of samples and labels
        yield list(batch) if isinstance(batch, tuple) else batch


def opened_samples(batch: list, first: int) -> list:
    """The samples of a batch: tuples without what comes after the sample, images opened."""
    batch = [sample[0] if isinstance(sample, tuple) and sample else sample for sample in batch]
    texts = [isinstance(sample, str) for sample in batch]
    if any(texts) and not all(texts):
        i = texts.index(False)
        raise TypeError(f"Sample {first + i} is {batch[i]!r}, which is no text as others are.")
    return [_image(sample) if isinstance(sample, os.PathLike) else sample for sample in batch]


def _image(path: os.PathLike) -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("Images are opened by the package pillow: pip install shallowda[features]") from error
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as an image: {error}") from error


def network_inputs(batch: Any, preprocess: Any, first: int, accepted: Callable[[Iterable[str]], list[str]]) -> Any:
    """What a network is called with for a batch: an array, or a dict of arrays."""
    if isinstance(batch, list):
        batch = opened_samples(batch, first)
    elif isinstance(batch, Mapping) and preprocess is not None:
        raise ValueError("data are inputs of the network by name already: leave out preprocess, or name a column.")
    if preprocess is not None and _takes_batches(preprocess):
        batch = _tokenized(preprocess, list(batch), first)
    elif preprocess is not None:
        batch = [_preprocessed(preprocess, sample, first + i) for i, sample in enumerate(batch)]
    if isinstance(batch, Mapping):
        known = {key: batch[key] for key in accepted(list(batch))}
        return {key: values if hasattr(values, "shape") else _numbers(values, first) for key, values in known.items()}
    return _stacked(batch, first, accepted) if isinstance(batch, list) else batch


def _takes_batches(preprocess: Any) -> bool:
    kinds = ("PreTrainedTokenizerBase", "ImageProcessingMixin", "ProcessorMixin", "FeatureExtractionMixin")
    return is_a(preprocess, "transformers", *kinds)


def _tokenized(preprocess: Any, samples: list, first: int) -> Any:
    """A batch, as a tokenizer or processor of transformers makes it."""
    tensors = "pt" if "torch" in sys.modules else "np"
    try:
        if isinstance(samples[0], str):
            return preprocess(text=samples, padding=True, truncation=True, return_tensors=tensors)
        if is_a(preprocess, "transformers", "FeatureExtractionMixin"):  # sound: each has its name for it
            return preprocess(samples, return_tensors=tensors)
        return preprocess(images=samples, return_tensors=tensors)
    except Exception as error:
        last = first + len(samples) - 1
        raise ValueError(f"preprocess failed on samples {first} to {last}: {first_line(error)}") from error


def _preprocessed(preprocess: Any, sample: Any, row: int) -> Any:
    try:
        return preprocess(sample)
    except Exception as error:
        raise ValueError(f"preprocess failed on sample {row}: {first_line(error)}") from error


def _stacked(samples: list, first: int, accepted: Callable[[Iterable[str]], list[str]]) -> Any:
    """One array of several samples, or a dict of arrays."""
    one = samples[0]
    if isinstance(one, Mapping):
        return {key: _stacked([sample[key] for sample in samples], first, accepted) for key in accepted(list(one))}
    if isinstance(one, str):
        raise TypeError(
            "The samples are texts, and the network takes numbers: pass its tokenizer as preprocess=. If they are "
            "files of images, pass pathlib.Path objects."
        )
    if is_a(one, "PIL", "Image"):
        raise TypeError(
            "The samples are images, and the network takes numbers: pass its transform as preprocess=, such as "
            "weights.transforms() of torchvision, timm.data.create_transform(...), or an image processor of "
            "transformers."
        )
    arrays = samples if all(is_a(s, "torch", "Tensor") for s in samples) else [_numbers(s, first) for s in samples]
    if len(shapes := {tuple(array.shape) for array in arrays}) > 1:
        raise ValueError(
            f"Samples {first} to {first + len(samples) - 1} have different shapes, such as "
            f"{' and '.join(map(str, sorted(shapes)[:2]))}: bring them to one size in preprocess. (A tokenizer of "
            "transformers, passed as preprocess, pads by itself.)"
        )
    if arrays is samples:
        import torch

        return torch.stack(samples)
    return np.stack(arrays)


def _numbers(sample: Any, first: int) -> np.ndarray:
    try:
        array = to_numpy(sample)
    except ValueError:  # a ragged list
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"Among the samples from {first} on, one is a {type(sample).__name__} that is no array of numbers."
        )
    return array


def first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def is_a(value: Any, library: str, *names: str) -> bool:
    """Whether a value is of one of these classes of a library, which is not imported for that."""
    return any(kind.__name__ in names and kind.__module__.split(".")[0] == library for kind in type(value).__mro__)
