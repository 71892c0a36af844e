"""Rows of features: what runs through the network, is pooled and checked, and kept in memory or in a file."""

from __future__ import annotations

import itertools
import numbers
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils import check_scalar

from shallowda.core.files import replacing
from shallowda.core.progress import progress_bar
from shallowda.features._networks import open_network
from shallowda.features._samples import in_batches
from shallowda.kernels.arrays import Array, namespace, to_numpy

_POOLING = ("auto", "mean", "max", "cls", "flatten")


def extract_features(
    model: Any,
    data: Any,
    *,
    layer: str | None = None,
    pooling: str | Callable[[Any], Any] | None = "auto",
    preprocess: Callable[[Any], Any] | None = None,
    column: str | None = None,
    batch_size: int = 64,
    device: Any = None,
    half_precision: bool = False,
    dtype: DTypeLike = "float32",
    out: str | os.PathLike | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Features of raw inputs, as a pretrained network computes them: one row per sample, in the order of the data.

    Networks are evaluated: in evaluation mode, without gradients. Afterwards they are as they were, also after an
    error: mode of every submodule, device, hooks.

    Parameters
    ----------
    model : torch.nn.Module, sentence_transformers.SentenceTransformer or onnxruntime.InferenceSession
        A loaded network. Those of torchvision, timm and transformers are modules. A sentence encoder prepares its
        inputs and pools by itself.
    data : array, sequence, dict, iterable, torch Dataset or DataLoader, or Hugging Face Dataset
        The samples, prepared for the network by `preprocess` where they are not yet:

        - an array or tensor whose first axis are the samples (also memory-mapped, or of h5py), or a dict of these by
          the names of the network's inputs, as tokenizers return it;
        - a sequence or iterable of samples: a ``str`` is a text, a ``pathlib.Path`` is an image file, which is opened
          upright and in RGB, if it has 8 bits a channel; PIL images, arrays and dicts of arrays are taken as they are;
        - a Dataset, or a DataLoader that keeps its order: all samples, without samplers of your own. Of an
          IterableDataset with ``batch_size=None`` it yields batches. Of tuples the first entry counts. Of dicts, those
          that the network takes do, and labels never do.

        For folders of images see `image_folder`.
    layer : str, default=None
        Name of the submodule whose output is taken, as in ``model.named_modules()``, or of an output of the session.
        Of a module that runs several times in a pass the last output is taken. None takes what the network returns: of
        a tuple the first tensor, of a dict the first that is there of ``sentence_embedding``, ``image_embeds``,
        ``text_embeds``, ``last_hidden_state``, ``pooler_output``, ``logits``, or its only entry.
    pooling : {"auto", "mean", "max", "cls", "flatten"}, callable or None, default="auto"
        What makes one row of a map (n, channels, height, width) or of tokens (n, tokens, channels). ``"auto"`` is the
        mean. Means and maxima of tokens leave out what the attention mask of the batch leaves out, also where the
        network does not take it. ``"cls"`` is the first token that it does not leave out. A callable takes the
        network's array, on its device, and returns (n, d).
        None accepts rows only.
    preprocess : callable, default=None
        Makes what the network takes of one sample, such as a transform of torchvision or timm that takes an image.
        Tokenizers and processors of transformers are called with a whole batch; texts are padded to the longest and cut
        to the length that the tokenizer knows (``tokenizer.model_max_length``).
    column : str, default=None
        ``data[column]`` holds the samples: for a Hugging Face Dataset or a data frame.
    batch_size : int, default=64
        Samples that go through the network at once. A DataLoader has its own; so has a session whose first axis is
        fixed.
    device : str or torch.device, default=None
        Where a module computes, such as ``"cuda"``; it is moved there and back. None leaves it where it is.
    half_precision : bool, default=False
        Compute under ``torch.autocast``: products in float16 on a GPU, in bfloat16 on a CPU. Weights stay as they are.
    dtype : {"float16", "float32", "float64"}, default="float32"
        Of the features that are returned.
    out : path-like, default=None
        An ``.npy`` file to write the features to, batch by batch, for more of them than fit into memory. The file
        appears when it is complete; a file of that name is replaced.
    progress : bool, default=False
        Show a bar, on a terminal only.

    Returns
    -------
    features : ndarray of shape (n, d)
        With `out`, the file as a read-only memory map.

    Raises
    ------
    TypeError
        If `model` is none of the above (a name, for example), or samples are of a kind that the network cannot take.
    ValueError
        If a parameter does not fit the network, or data are empty, damaged, or of different shapes within a batch; if
        the network returns another number of rows than it was given, rows of different lengths, or features that are
        not finite.
    RuntimeError
        If the network itself fails: its message follows.
    MemoryError
        If a batch needs more memory than there is.
    ImportError
        If images are to be opened and pillow is missing, or `progress` is asked for and rich is.

    See Also
    --------
    image_folder : Files and labels of a folder of images.
    shallowda.pack_domains : What to do with the features of two domains.

    Notes
    -----
    Time is the network's. Memory is that of one batch on its way through the network, and of the features where `out`
    is None. Samples are read by the thread that computes: where reading takes longer than computing, pass a DataLoader
    with ``num_workers``.

    Examples
    --------
    Two folders of images, of which only the first has labels::

        import timm
        from shallowda import JDA, pack_domains
        from shallowda.features import extract_features, image_folder

        network = timm.create_model("resnet50", pretrained=True, num_classes=0)
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
        sources, ys = image_folder("photos")
        targets, _ = image_folder("sketches")
        Xs, Xt = (extract_features(network, paths, preprocess=transform) for paths in (sources, targets))
        X, y, sample_domain = pack_domains(Xs, ys, Xt)
        JDA().fit(X, y).predict(Xt)

    Texts, by a sentence encoder, and by any encoder of transformers with its tokenizer::

        extract_features(SentenceTransformer("folder/of/an/encoder"), texts)
        extract_features(AutoModel.from_pretrained(folder), texts, preprocess=AutoTokenizer.from_pretrained(folder))

    An inner layer of a network, for more images than fit into memory::

        extract_features(network, paths, preprocess=transform, layer="layer3", device="cuda", out="layer3.npy")
    """
    check_scalar(batch_size, "batch_size", numbers.Integral, min_val=1)
    if pooling is not None and not callable(pooling) and pooling not in _POOLING:
        raise ValueError(f"pooling must be one of {', '.join(_POOLING)}, a callable or None; it is {pooling!r}.")
    dtype = np.dtype(dtype)
    if dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"dtype must be float16, float32 or float64; it is {dtype}.")
    path = None if out is None else _checked_path(out)
    network = open_network(model)(model, layer, preprocess, int(batch_size), device, half_precision)
    with network as (run, rows):
        n, batches = in_batches(data, column, rows)
        blocks = _blocks(batches, run, pooling, dtype)
        if progress:
            blocks = _tracked(blocks, n)
        return _in_memory(blocks, n, dtype) if path is None else _in_file(blocks, path, dtype)


def _blocks(
    batches: Iterator[Any], run: Callable[[Any, int], tuple[Array, Array | None]], pooling: Any, dtype: np.dtype
) -> Generator[np.ndarray, None, None]:
    """Rows of features, batch by batch, checked."""
    first, width = 0, None
    for batch in batches:
        features, mask = run(batch, first)
        n = len(next(iter(batch.values())) if isinstance(batch, Mapping) else batch)
        if len(features.shape) == 0 or features.shape[0] != n:
            raise ValueError(
                f"The network returned an array of shape {tuple(features.shape)} for {n} sample(s): its first axis "
                "must be the samples."
            )
        block = to_numpy(_pooled(features, pooling, mask))
        if block.ndim != 2 or len(block) != n:
            raise ValueError(f"pooling returned an array of shape {block.shape} for {n} sample(s), not one row each.")
        if width not in (None, block.shape[1]):
            raise ValueError(
                f"Samples {first} to {first + n - 1} have {block.shape[1]} features, those before have {width}: bring "
                "samples to one size in preprocess, or pool by mean or max."
            )
        with np.errstate(over="ignore"):  # of float16: what is too large is found below
            block = np.ascontiguousarray(block, dtype=dtype)
        if not (finite := np.isfinite(block).all(axis=1)).all():
            raise ValueError(
                f"The features of sample {first + int(finite.argmin())} are not finite. Look at the sample; in half "
                "precision numbers may also become too large."
            )
        yield block
        first, width = first + n, block.shape[1]
    if width is None:
        raise ValueError("data is empty: there are no samples.")


def _pooled(features: Array, pooling: Any, mask: Array | None) -> Array:
    """One row per sample."""
    xp = namespace(features)
    if xp.isdtype(features.dtype, "complex floating"):
        raise TypeError("The network returns complex numbers, and features are real: pass their parts or moduli.")
    if features.dtype not in (xp.float32, xp.float64):  # sums in half precision lose digits; NumPy has no bfloat16
        features = xp.astype(features, xp.float32)
    axes = len(features.shape)
    if callable(pooling):
        features = pooling(features)
    elif axes == 1:
        features = xp.reshape(features, (-1, 1))
    elif pooling == "flatten":
        features = xp.reshape(features, (features.shape[0], -1))
    elif pooling == "cls" and axes == 3:
        start = 0 if mask is None else xp.argmax(xp.astype(_checked_mask(mask, features), xp.int32), axis=1)
        features = features[xp.arange(features.shape[0]), start]
    elif (pooling is None and axes > 2) or pooling == "cls":
        raise ValueError(
            f"The network returns an array of shape {tuple(features.shape)}, and pooling={pooling!r} does not apply: "
            f"choose one of {', '.join(map(repr, _POOLING))} or a callable."
        )
    elif axes == 3 and mask is not None:
        kept = _checked_mask(mask, features)[:, :, None]
        if pooling == "max":
            features = xp.max(xp.where(kept, features, -xp.inf), axis=1)
        else:
            counts = xp.sum(xp.astype(kept, features.dtype), axis=1)
            features = xp.sum(xp.where(kept, features, 0.0), axis=1) / xp.clip(counts, min=1)
    elif axes > 2:
        over = 1 if axes == 3 else tuple(range(2, axes))
        features = (xp.max if pooling == "max" else xp.mean)(features, axis=over)
    return features


def _checked_mask(mask: Array, features: Array) -> Array:
    """Which tokens count, as booleans."""
    if tuple(mask.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"The attention mask has shape {tuple(mask.shape)} and the layer returns {tuple(features.shape)}, so that "
            "padding cannot be told: pass a callable as pooling."
        )
    return mask != 0


def _in_memory(blocks: Iterator[np.ndarray], n: int | None, dtype: np.dtype) -> np.ndarray:
    if n is None:
        return np.concatenate(list(blocks))
    first = next(blocks)
    features = np.empty((n, first.shape[1]), dtype)
    row = 0
    for block in itertools.chain([first], blocks):
        features[row : row + len(block)] = block
        row += len(block)
    return features


def _in_file(blocks: Iterator[np.ndarray], path: Path, dtype: np.dtype) -> np.ndarray:
    """Rows in a file, which gets its name when it is complete."""

    def header(file: Any, n: int, d: int) -> None:  # NumPy pads it, so that it has one length for every n
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (n, d)}
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, about)

    with replacing(path) as scratch, open(scratch, "wb") as file:
        n = d = 0
        for block in blocks:
            if n == 0:
                header(file, n, d := block.shape[1])
            file.write(block.data)
            n += len(block)
        header(file, n, d)
        file.flush()
        os.fsync(file.fileno())
    return np.load(path, mmap_mode="r")


def _checked_path(out: str | os.PathLike) -> Path:
    path = Path(out)
    if path.suffix != ".npy" or path.is_dir():
        raise ValueError(f"out must be a file that ends with .npy; it is {os.fspath(out)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"out cannot be written: there is no folder {path.parent}.")
    return path


def _tracked(blocks: Iterator[np.ndarray], n: int | None) -> Generator[np.ndarray, None, None]:
    """The same blocks, with a bar on a terminal."""
    try:
        progress = progress_bar(shown=sys.stderr.isatty())
    except ImportError as error:
        raise ImportError("The progress bar needs the package rich: pip install shallowda[features]") from error
    with progress as bar:
        task = bar.add_task("Extracting features", total=n)
        for block in blocks:
            yield block
            bar.advance(task, len(block))
