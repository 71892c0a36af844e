"""Raw inputs of many kinds, in batches, and as the arrays that a network is called with."""

from __future__ import annotations

import itertools
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shallowda.kernels.arrays import to_numpy

IMAGE_SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
MASK = "attention_mask"


def image_folder(path: str | os.PathLike) -> tuple[list[Path], np.ndarray | None]:
    """Image files of a folder, and their classes where it has one folder for each.

    Parameters
    ----------
    path : path-like
        A folder of images, or of one folder per class, with images at any depth. Files count by their ending (bmp, gif,
        jpeg, jpg, pgm, png, ppm, tif, tiff, webp); hidden ones do not. Links to folders are followed.

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
    found = sorted((file.relative_to(root).parts, file) for file in _image_files(root))
    if not found:
        raise ValueError(f"{root} holds no images: no file ends with {', '.join(sorted(IMAGE_SUFFIXES))}.")
    within = [len(parts) > 1 for parts, _ in found]
    if any(within) and not all(within):
        beside = next(file for parts, file in found if len(parts) == 1)
        raise ValueError(f"{root} holds images both in folders, one per class, and beside them, such as {beside.name}.")
    paths = [file for _, file in found]
    return paths, np.array([parts[0] for parts, _ in found]) if all(within) else None


def _image_files(root: Path) -> Iterator[Path]:
    """Image files at any depth that are not hidden, also behind links to folders."""
    within: dict[str, set[str]] = {os.fspath(root): set()}
    for folder, folders, files in os.walk(root, followlinks=True):
        real = within[folder] | {os.path.realpath(folder)}
        inner = {name: os.path.join(folder, name) for name in folders if not name.startswith(".")}
        # a link to a folder that it lies in would be followed for ever
        folders[:] = [name for name, path in inner.items() if os.path.realpath(path) not in real]
        within.update((inner[name], real) for name in folders)
        for file in (Path(folder, name) for name in files if not name.startswith(".")):
            if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file():
                yield file


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
    """The batches of a DataLoader without labels: all rows of its dataset, in their order."""
    from torch.utils.data import BatchSampler, IterableDataset, SequentialSampler, default_collate

    def in_order(sampler: Any) -> bool:
        if type(sampler) is BatchSampler:
            return not sampler.drop_last and in_order(sampler.sampler)
        return type(sampler) is SequentialSampler

    streamed = isinstance(loader.dataset, IterableDataset)  # then torch has a sampler of its own
    batched = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    whole = not loader.drop_last if streamed else in_order(loader.sampler) and in_order(batched)
    if not whole or not getattr(loader, "in_order", True):
        raise ValueError(
            "The DataLoader shuffles or drops samples, or has a sampler that may, so that rows could not be matched "
            "with labels. Make it with shuffle=False and drop_last=False and without samplers, or pass its dataset."
        )
    size = getattr(batched, "batch_size", None)
    if size is None and not streamed:
        raise ValueError(
            "With batch_size=None it cannot be told whether the DataLoader yields samples or batches. Pass its "
            "dataset, or give it a batch_size."
        )
    total = -1 if size is None else operator.length_hint(loader.dataset, -1)  # -1 is unknown
    n = size if size is None or total < 0 else min(size, total)
    has_fields = True if loader.collate_fn is default_collate else None
    seen = 0
    for batch in loader:
        if isinstance(batch, tuple | list) and batch and not isinstance(batch[0], str):
            if has_fields is None:
                has_fields = _has_fields(batch, n)
            batch = batch[0] if has_fields else batch
        seen += _rows(batch) or 0
        yield list(batch) if isinstance(batch, tuple) else batch
    if total not in (-1, seen):
        raise ValueError(
            f"The DataLoader gave {seen} samples, and its dataset has {total}, so that rows could not be matched with "
            "labels. Look at its samplers and collate_fn, or pass its dataset."
        )


def _has_fields(batch: Sequence, n: int | None) -> bool:
    """Whether a batch of about n samples is samples, labels ... rather than a list of samples."""
    rows = [_rows(entry) for entry in batch]
    if (len(batch) == n) != (rows[0] == n):
        return rows[0] == n
    shapes = {getattr(entry, "shape", None) for entry in batch}  # samples have one
    alike = None not in rows and len(set(rows)) == 1
    return (alike or rows[0] == n) if isinstance(batch, tuple) else alike and len(shapes) > 1


def _rows(batch: Any) -> int | None:
    if isinstance(batch, Mapping):
        return _rows(next(iter(batch.values()), None))
    if hasattr(batch, "shape"):
        return batch.shape[0] if batch.shape else None
    return len(batch) if isinstance(batch, tuple | list) else None


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
            if (mode := image.mode) != "F" and not mode.startswith("I"):
                return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as an image: {error}") from error
    raise ValueError(
        f"{os.fspath(path)} is an image of mode {mode!r}, whose range of numbers is not that of 8 bits. Open and scale "
        "such images yourself and pass arrays."
    )


def network_inputs(
    batch: Any, preprocess: Any, first: int, accepted: Callable[[Iterable[str]], list[str]]
) -> tuple[Any, Any]:
    """What a network is called with for a batch, an array or a dict of arrays, and the attention mask, if any."""

    def kept(keys: Iterable[str]) -> list[str]:  # the mask also where the network does not take it: pooling does
        names = accepted(keys)
        return names if MASK in names or MASK not in keys else [*names, MASK]

    if isinstance(batch, list):
        batch = opened_samples(batch, first)
    elif isinstance(batch, Mapping) and preprocess is not None:
        raise ValueError("data are inputs of the network by name already: leave out preprocess, or name a column.")
    if preprocess is not None and _takes_batches(preprocess):
        batch = _tokenized(preprocess, list(batch), first)
    elif preprocess is not None:
        batch = [_preprocessed(preprocess, sample, first + i) for i, sample in enumerate(batch)]
    if isinstance(batch, Mapping):
        known = {key: batch[key] for key in kept(list(batch))}
        inputs = {key: values if hasattr(values, "shape") else _numbers(values, first) for key, values in known.items()}
    else:
        inputs = _stacked(batch, first, kept) if isinstance(batch, list) else batch
    if not isinstance(inputs, dict) or MASK not in inputs:
        return inputs, None
    mask = inputs[MASK]
    inputs = {key: inputs[key] for key in accepted(list(inputs))}
    of_tokens = any(tuple(values.shape[:2]) == tuple(mask.shape) for values in inputs.values())
    return inputs, mask if of_tokens else None


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
    """The first line of an error's message that says something, else its type."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def is_a(value: Any, library: str, *names: str) -> bool:
    """Whether a value is of one of these classes of a library, which is not imported for that."""
    return any(kind.__name__ in names and kind.__module__.split(".")[0] == library for kind in type(value).__mro__)
