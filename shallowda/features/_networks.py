"""Networks of several libraries, made ready to compute features, and left as they were."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np

from shallowda.features._samples import first_line, is_a, network_inputs, opened_samples
from shallowda.kernels.arrays import Array, to_numpy

#: Entries of a network's output that hold features, the first that is there counts.
OUTPUTS = ("sentence_embedding", "image_embeds", "text_embeds", "last_hidden_state", "pooler_output", "logits")

_LABELS = {"label", "labels"}
_ENCODED = 16  # batches in one call of a sentence encoder, which sorts its texts by length: less padding
_KINDS = {  # types of the inputs of ONNX sessions
    "tensor(bool)": np.bool_,
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


class Network(NamedTuple):
    """A network that is ready: what it makes of a batch, and how many samples it wants at once."""

    run: Callable[[Any, int], tuple[Array, Array | None]]  # batch, number of its first sample -> features, token mask
    rows: int


def open_network(model: Any) -> Callable[..., AbstractContextManager[Network]]:
    """What makes a network of this kind ready. Libraries are not imported: the object comes with its own."""
    if is_a(model, "onnxruntime", "InferenceSession"):
        return _session
    if is_a(model, "sentence_transformers", "SentenceTransformer"):
        return _sentence_encoder
    if is_a(model, "torch", "Module"):
        return _module
    if isinstance(model, str | os.PathLike):
        raise TypeError(
            f"model is a name or file, {os.fspath(model)!r}, and nothing is loaded or downloaded here. Load it with "
            "the library it belongs to and pass the object: SentenceTransformer(...), timm.create_model(...), "
            "transformers.AutoModel.from_pretrained(...), onnxruntime.InferenceSession(...)."
        )
    kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    raise TypeError(
        "model must be a torch.nn.Module (those of torchvision, timm and transformers are), a SentenceTransformer or "
        f"an onnxruntime.InferenceSession; it is {kind}."
    )


@contextmanager
def _module(
    model: Any, layer: str | None, preprocess: Any, batch_size: int, device: Any, half_precision: bool
) -> Iterator[Network]:
    """A torch module in evaluation mode, on its device, with a hook in the layer."""
    import torch

    submodule = None if layer is None else _submodule(model, layer)
    captured: list[Any] = []

    def capture(module: Any, arguments: Any, output: Any) -> None:
        captured[:] = [_tensor(output).clone()]  # the next layer may work in place

    def run(batch: Any, first: int) -> tuple[Array, Array | None]:
        inputs, mask = network_inputs(batch, preprocess, first, accepted)
        with _named_failure(inputs, first, batch_size):
            named = {key: to_tensor(values) for key, values in inputs.items()} if isinstance(inputs, dict) else {}
            with torch.no_grad(), torch.autocast(place.type, enabled=half_precision):
                output = model(**named) if named else model(to_tensor(inputs))
        if submodule is not None:
            if not captured:
                raise ValueError(
                    f"The layer {layer!r} did not run when the model was called. Layers that are not used, or that are "
                    "compiled or fused with others, cannot be looked into; name one around it."
                )
            output = captured.pop()
        return _tensor(output).detach(), None if mask is None else to_tensor(mask)

    def to_tensor(values: Any) -> Any:  # a copy: a network may work in place
        if not isinstance(values, torch.Tensor):
            values = to_numpy(values)
            values = torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
        kind = weights if weights is not None and values.is_floating_point() else values.dtype
        return values.to(place, kind, copy=True)

    def accepted(keys: Iterable[str]) -> list[str]:
        parameters = inspect.signature(model.forward).parameters.values()
        names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - _LABELS
        if not names and any(p.kind is p.VAR_KEYWORD for p in parameters):
            names = set(keys) - _LABELS
        return _wanted(keys, names)

    with _evaluated(model, device) as place:
        weights = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        hook = None if submodule is None else submodule.register_forward_hook(capture)
        try:
            yield Network(run, batch_size)
        finally:
            if hook is not None:
                hook.remove()


@contextmanager
def _sentence_encoder(
    model: Any, layer: str | None, preprocess: Any, batch_size: int, device: Any, half_precision: bool
) -> Iterator[Network]:
    """A sentence encoder, which tokenizes and pools by itself."""
    import torch

    if preprocess is not None:
        raise ValueError("A sentence encoder prepares its inputs by itself: leave out preprocess.")
    if layer is not None:
        raise ValueError(
            "A sentence encoder returns sentence embeddings. For a layer pass the network within it and the tokenizer: "
            "extract_features(model[0].auto_model, texts, preprocess=model.tokenizer, layer=...)."
        )

    def run(batch: Any, first: int) -> tuple[Array, None]:
        if not isinstance(batch, list):
            raise TypeError("A sentence encoder takes texts: pass a list of str.")
        samples = opened_samples(batch, first)
        if isinstance(samples[0], Mapping):
            raise ValueError(f"The samples have the entries {', '.join(samples[0])}: name one of them, column=...")
        with _named_failure(samples, first, batch_size), torch.autocast(place.type, enabled=half_precision):
            rows = model.encode(samples, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
        return rows, None

    with _evaluated(model, device) as place:
        yield Network(run, _ENCODED * batch_size)


@contextmanager
def _evaluated(model: Any, device: Any) -> Iterator[Any]:
    """A module in evaluation mode and on a device, and then again as it was."""
    import torch

    weights = [*model.parameters(), *model.buffers()]
    homes = {tensor.device for tensor in weights} or {torch.device("cpu")}
    if any(home.type == "meta" for home in homes):
        raise ValueError("The weights of model are on the device 'meta', which holds no numbers. Load them first.")
    home = place = next(iter(weights), torch.empty(0)).device
    if device is not None:
        if len(homes) > 1:
            raise ValueError("The weights of model lie on several devices; leave out device, so that they stay there.")
        try:
            place = torch.empty(0, device=device).device
        except (AssertionError, RuntimeError) as error:  # torch asserts that it was built for CUDA
            raise ValueError(f"device={str(device)!r} cannot be used: {first_line(error)}") from error
        if place.type == "meta":
            raise ValueError("device='meta' cannot be used: nothing is computed there, and the weights would be lost.")
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        if place != home:
            model.to(place)
        yield place
    finally:
        for module, mode in modes:
            module.training = mode
        if place != home:
            model.to(home)


@contextmanager
def _session(
    session: Any, layer: str | None, preprocess: Any, batch_size: int, device: Any, half_precision: bool
) -> Iterator[Network]:
    """A session of ONNX Runtime, which knows its device and precision, and names its inputs and outputs."""
    if device is not None or half_precision:
        raise ValueError(
            "An ONNX session has its device and precision already: choose providers when making it, and leave out "
            "device and half_precision."
        )
    inputs = {entry.name: entry for entry in session.get_inputs()}
    outputs = [entry.name for entry in session.get_outputs()]
    output = _named_output(outputs) if layer is None else _known(layer, outputs, "outputs")
    fixed = next((e.shape[0] for e in inputs.values() if e.shape and isinstance(e.shape[0], int)), None)

    def accepted(keys: Iterable[str]) -> list[str]:
        return _wanted(keys, set(inputs))

    def run(batch: Any, first: int) -> tuple[Array, Array | None]:
        given, mask = network_inputs(batch, preprocess, first, accepted)
        if not isinstance(given, dict):
            if len(inputs) > 1:
                raise ValueError(f"The session has the inputs {', '.join(inputs)}: pass data as a dict of these.")
            given = {next(iter(inputs)): given}
        if missing := [name for name in inputs if name not in given]:
            raise ValueError(f"The session also needs the input(s) {', '.join(missing)}; data have {', '.join(given)}.")
        arrays = {name: feed(inputs[name], to_numpy(values)) for name, values in given.items()}
        n = len(next(iter(arrays.values())))
        with _named_failure(arrays, first, batch_size):
            (features,) = session.run([output], {name: filled(values) for name, values in arrays.items()})
        if fixed is not None and len(features) == fixed:
            features = features[:n]
        return features, None if mask is None else to_numpy(mask)

    def feed(entry: Any, values: np.ndarray) -> np.ndarray:
        wanted = np.dtype(_KINDS.get(entry.type, values.dtype))
        if not np.can_cast(values.dtype, wanted, "same_kind"):
            raise TypeError(f"The input {entry.name} of the session is a {entry.type}; data are {values.dtype}.")
        return np.ascontiguousarray(values, dtype=wanted)

    def filled(values: np.ndarray) -> np.ndarray:  # the last batch may be short
        return values if fixed is None else np.concatenate([values, values[-1:].repeat(max(0, fixed - len(values)), 0)])

    yield Network(run, fixed or batch_size)


def _submodule(model: Any, layer: str) -> Any:
    if is_a(model, "torch", "ScriptModule"):
        raise ValueError("A scripted module cannot be looked into: leave out layer, or pass the module it was made of.")
    modules = dict(model.named_modules(remove_duplicate=False))
    return modules[_known(layer, list(modules), "submodules")]


def _known(layer: str, names: list[str], kind: str) -> str:
    if layer in names:
        return layer
    near = difflib.get_close_matches(str(layer), names, n=5, cutoff=0.5) or [name for name in names if name][:20]
    raise ValueError(f"layer={layer!r} is none of the {kind} of model. Near names: {', '.join(near)}.")


def _wanted(keys: Iterable[str], names: set[str]) -> list[str]:
    """Those keys of a sample that the network takes."""
    found = [key for key in keys if key in names]
    if not found:
        raise ValueError(
            f"The samples have the entries {', '.join(map(str, keys))}, and the network takes "
            f"{', '.join(sorted(names)) or 'none by name'}. Name the one that holds the samples: column=..."
        )
    return found


def _named_output(names: Sequence[str]) -> str:
    """The entry of an output that holds features."""
    found = names if len(names) == 1 else [name for name in OUTPUTS if name in names]
    if not found:
        raise ValueError(
            f"The network returns {', '.join(names) or 'nothing'}; it is not clear which of them are features: "
            "name a layer."
        )
    return found[0]


def _tensor(output: Any) -> Any:
    """The tensor of features among whatever a module returned."""
    if isinstance(output, Mapping):
        tensors = {key: value for key, value in output.items() if is_a(value, "torch", "Tensor")}
        return tensors[_named_output(list(tensors))]
    if isinstance(output, tuple | list):
        output = next((value for value in output if is_a(value, "torch", "Tensor")), None)
    if not is_a(output, "torch", "Tensor"):
        raise TypeError(f"The network returns a {type(output).__name__}, in which no tensor of features was found.")
    return output


@contextmanager
def _named_failure(inputs: Any, first: int, batch_size: int) -> Iterator[None]:
    """Whatever a network raises, as an error that says with which samples, and what to do where memory is short."""
    try:
        yield
    except Exception as error:
        reason = first_line(error)
        if isinstance(error, MemoryError) or any(t in reason.lower() for t in ("out of memory", "allocate memory")):
            raise MemoryError(
                f"The network needs more memory than there is: lower batch_size ({batch_size})."
            ) from error
        arrays = inputs if isinstance(inputs, dict) else {"input": inputs}
        shapes = ", ".join(
            f"{name} {tuple(a.shape)} {a.dtype}" if hasattr(a, "shape") else f"{len(a)} samples"
            for name, a in arrays.items()
        )
        raise RuntimeError(f"The network failed on the batch from sample {first} on ({shapes}): {reason}") from error
