"""A strict stand-in for CuPy on NumPy, by which code for a GPU is tested where there is none.

`installed` puts it into `sys.modules` as cupy, cupyx and their parts, and takes it away again; the fixtures `machine`
and `cupy` of conftest.py are made of it. It has the names of one release of CuPy and the parameters of its functions
(cupy_names.json, written by record_cupy_names.py), computes with NumPy, and is strict where a device would be:

- nothing becomes a NumPy array without `get`, and NumPy arrays are mixed with nothing;
- memory is counted by device (`Memory`), with the pool that keeps blocks, and it ends;
- an array is computed with on its own device only: there are two, of which one is current in a thread;
- a decomposition that fails raises LinAlgError under ``cupyx.errstate(linalg="raise")`` only;
- ``cupy.RawModule`` runs CUDA C on the CPU (cuda_on_cpu.h).

It is stricter than CuPy in four ways: ``cupy.empty`` is full of NaN, devices have no access to each other's memory,
functions take no NumPy array in place of indices, and an undetected failure of a decomposition is a RuntimeError.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import json
import math
import operator
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import scipy.linalg
import scipy.sparse

NAMES = json.loads(Path(__file__).with_name("cupy_names.json").read_text("utf-8"))

_ALIGNMENT = 512  # bytes of which CuPy's pool makes its blocks
_VIEWS = {"diagonal", "matrix_transpose", "ravel", "reshape", "squeeze", "swapaxes", "transpose", "view"}  # no kernel


# ------------------------------------------------------------------------------------------------ the machine


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""


class Memory:
    """Memory of one device, as CuPy's pool holds it.

    Attributes
    ----------
    total : int
        Bytes of the device: set it to make memory scarce.
    limit : int
        Of the pool, 0 for none.
    used, peak : int
        Bytes in arrays, and the most there were since `reset`.
    held : int
        Bytes that the pool has taken from the device: what was used at once, until its free blocks are given back.
    """

    def __init__(self, number: int, total: int = 2**33) -> None:
        self.number, self.total, self.limit = number, total, 0
        self.used = self.peak = self.held = 0

    @property
    def free(self) -> int:
        """Bytes that `memGetInfo` calls free: not those that the pool keeps."""
        return self.total - self.held

    def reset(self) -> None:
        """Begin anew with the peak, and give back the pool's free blocks."""
        self.peak = self.held = self.used

    def take(self, nbytes: int) -> None:
        wanted = self.used + nbytes
        if wanted > min(self.total, self.limit or math.inf):
            used = f"allocated so far: {self.used:,} bytes"
            raise OutOfMemoryError(f"Out of memory allocating {nbytes:,} bytes ({used}).")
        self.used, self.peak, self.held = wanted, max(self.peak, wanted), max(self.held, wanted)

    def give(self, nbytes: int) -> None:
        self.used -= nbytes


class Machine:
    """What the stand-in computes on, and what it has seen.

    Parameters
    ----------
    build : callable
        Makes an entry point from CUDA C: the fixture `build`.

    Attributes
    ----------
    devices : list of Memory
    attributes : dict
        Of each device.
    to_device, to_host : int
        Bytes that were copied.
    host_indices : list of str
        Places ("file:line") where an array on the device was indexed by a NumPy array or a list.
    kernels : list of Kernel
        In the order in which they were compiled; each knows its calls.
    thread_order : int
        The order in which the threads of a kernel run: see cuda_on_cpu.h.
    """

    def __init__(self, build) -> None:
        self.build = build
        self.devices = [Memory(0), Memory(1)]
        self.attributes = {"MultiProcessorCount": 2}
        self.to_device = self.to_host = 0
        self.host_indices, self.kernels, self.thread_order = [], [], 0

    @property
    def memory(self) -> Memory:
        """Of the current device."""
        return self.devices[_thread.device]


class _Thread(threading.local):
    """What CUDA and CuPy keep for each thread."""

    def __init__(self) -> None:
        self.device, self.entered, self.linalg = 0, [], "ignore"


_thread = _Thread()
_machine: Machine | None = None
_owners: dict[int, Memory] = {}  # by the identity of the NumPy array that owns the memory


def _owner(values: np.ndarray) -> Memory:
    """The memory that an array lies in; it is taken from the current device where the array is new."""
    root = values
    while isinstance(root.base, np.ndarray):
        root = root.base
    if id(root) not in _owners:
        nbytes, memory = -(-root.nbytes // _ALIGNMENT) * _ALIGNMENT, _machine.memory
        memory.take(nbytes)
        _owners[id(root)] = memory
        weakref.finalize(root, _dropped, id(root), nbytes).atexit = False
    return _owners[id(root)]


def _dropped(identity: int, nbytes: int) -> None:
    _owners.pop(identity).give(nbytes)


class Device:
    """`cupy.cuda.Device`."""

    def __init__(self, device=None) -> None:
        self.id = _thread.device if device is None else int(device)

    attributes = property(lambda self: _machine.attributes)
    mem_info = property(lambda self: (_machine.devices[self.id].free, _machine.devices[self.id].total))
    compute_capability = "90"

    def __enter__(self):
        _thread.entered.append(_thread.device)
        self.use()
        return self

    def __exit__(self, *error):
        _thread.device = _thread.entered.pop()

    def use(self):
        if self.id not in range(len(_machine.devices)):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        _thread.device = self.id

    def synchronize(self):
        pass

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


class Stream:
    """`cupy.cuda.Stream`. Everything is done at once, so streams wait for nothing."""

    null: Stream
    done = True

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def use(self):
        return self

    def synchronize(self):
        pass

    def wait_event(self, event):
        pass

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event


Stream.null = Stream(null=True)


class Event:
    """`cupy.cuda.Event`."""

    done = True

    def __init__(self, block=False, disable_timing=False, interprocess=False) -> None:
        self._time = None

    def record(self, stream=None):
        self._time = time.perf_counter()

    def synchronize(self):
        pass


def get_elapsed_time(start_event, end_event):
    """Milliseconds between two events."""
    return max(1e3 * (end_event._time - start_event._time), 1e-3)


class MemoryPool:
    """`cupy.cuda.MemoryPool`, of the current device."""

    def used_bytes(self):
        return _machine.memory.used

    def total_bytes(self):
        return _machine.memory.held

    def free_bytes(self):
        return _machine.memory.held - _machine.memory.used

    def free_all_blocks(self, stream=None):
        _machine.memory.held = _machine.memory.used

    def get_limit(self):
        return _machine.memory.limit

    def set_limit(self, size=None, fraction=None):
        _machine.memory.limit = int(fraction * _machine.memory.total) if size is None else size


# -------------------------------------------------------------------------------------------------- arrays


class ndarray:
    """`cupy.ndarray`: NumPy's values, in the memory of a device."""

    __slots__ = ("__weakref__", "_memory", "_values")
    __array_priority__ = 100
    __hash__ = None

    shape = property(lambda self: self._values.shape)
    strides = property(lambda self: self._values.strides)
    dtype = property(lambda self: self._values.dtype)
    ndim = property(lambda self: self._values.ndim)
    size = property(lambda self: self._values.size)
    itemsize = property(lambda self: self._values.itemsize)
    nbytes = property(lambda self: self._values.nbytes)
    device = property(lambda self: Device(self._memory.number))
    T = property(lambda self: _on_device(self._values.T))
    mT = property(lambda self: _on_device(self._values.mT))
    real = property(lambda self: _on_device(self._values.real))

    @property
    def flags(self):
        names = ("c_contiguous", "f_contiguous", "owndata")
        return SimpleNamespace(**{name: getattr(self._values.flags, name) for name in names})

    @property
    def data(self):
        return SimpleNamespace(ptr=self._values.ctypes.data, device=self.device, device_id=self.device.id)

    # ---- to the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        _machine.to_host += self.nbytes
        if out is None:
            return np.array(self._values, order=order)
        out[...] = self._values
        return out

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, format_spec):
        return format(self.get(), format_spec)

    def __reduce__(self):
        return array, (self.get(),)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    # ---- NumPy's functions

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or NAMES["cupy"].get(ufunc.__name__) != "ufunc":
            return NotImplemented
        return _universal(ufunc)(*inputs, **kwargs)

    def __array_function__(self, func, types, args, kwargs):
        place = functools.reduce(getattr, func.__module__.split(".")[1:], MODULES["cupy"])
        return getattr(place, func.__name__)(*args, **kwargs)

    # ---- values

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError("Only a numpy.ndarray of the same shape and dtype can be set to cupy.ndarray")
        _machine.to_device += arr.nbytes
        self._values[...] = arr

    def copy(self, order="C"):
        return _on_device(self._values.copy(order))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.dtype == np.dtype(dtype):
            return self
        _require_here(self)
        return _on_device(self._values.astype(_known(dtype), order=order))

    def fill(self, value):
        _require_here(self)
        self._values.fill(_host(value))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, slices):
        key = _key(slices)
        found = self._values[key]
        if not isinstance(found, np.ndarray):  # an element is a view too
            found = self._values[(*(key if isinstance(key, tuple) else (key,)), ...)]
        return _on_device(found)

    def __setitem__(self, slices, value):
        if isinstance(value, (list, tuple)):
            raise TypeError(f"Unsupported type {type(value)}")
        _require_here(self, value)
        self._values[_key(slices)] = _host(value)


def _on_device(values: np.ndarray) -> ndarray:
    made = ndarray()
    made._memory, made._values = _owner(values), values
    return made


def _key(slices):
    """An index as NumPy takes it; one that has to be copied to the device is noted."""
    if isinstance(slices, tuple):
        return tuple(map(_key, slices))
    if isinstance(slices, ndarray):
        _require_here(slices)
        return slices._values
    if isinstance(slices, (np.ndarray, list)):
        frame = sys._getframe()
        while frame.f_code.co_filename == __file__:
            frame = frame.f_back
        _machine.host_indices.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        _machine.to_device += np.asarray(slices).nbytes
    return slices


def _host(value):
    """NumPy's values of arrays on the device, also in lists; NumPy arrays and those of third libraries are refused."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, (list, tuple)):
        return type(value)(map(_host, value))
    if hasattr(value, "__array__") and not isinstance(value, (np.generic, type, np.dtype)):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _back(value):
    """What NumPy returned, on the device."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _on_device(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return [*map(_back, value)] if isinstance(value, list) else tuple(map(_back, value))
    return value


def _require_here(*values) -> None:
    """Refuse arrays of a device that is not the current one."""
    for value in values:
        if isinstance(value, (list, tuple)):
            _require_here(*value)
        elif isinstance(value, ndarray) and value._memory is not _machine.memory:
            raise ValueError(
                f"The device where the array resides ({value._memory.number}) is different from the current device "
                f"({_thread.device}). Peer access is unavailable between these devices."
            )


def _known(dtype):
    """A dtype that CuPy has."""
    if np.dtype(dtype).kind not in "biufc":
        raise ValueError(f"Unsupported dtype {np.dtype(dtype)}")
    return dtype


def _called(function, args, kwargs, *, view=False):
    if not view:
        _require_here(*args, *kwargs.values())
    values = function(*map(_host, args), **{name: _host(value) for name, value in kwargs.items()})
    return kwargs["out"] if isinstance(kwargs.get("out"), ndarray) else _back(values)


# ----------------------------------------------------------------------------------------------- functions


def _lifted(function, parameters: str | None, *, view: bool = False):
    """A function of NumPy on arrays of the device, with CuPy's parameters."""
    signature = None if parameters is None else inspect.signature(eval(f"lambda {parameters}: None"))

    @functools.wraps(function)
    def on_device(*args, **kwargs):
        if signature is not None:
            signature.bind(*args, **kwargs)
        return _called(function, args, kwargs, view=view)

    return on_device


@functools.cache
def _universal(ufunc):
    @functools.wraps(ufunc, assigned=("__name__", "__doc__"), updated=())
    def on_device(*args, **kwargs):
        if unknown := set(kwargs) - {"out", "dtype", "casting"}:
            raise TypeError(f"Wrong arguments {unknown}")
        if isinstance(kwargs.get("out"), tuple):
            (kwargs["out"],) = kwargs["out"]
        return _called(ufunc, args, kwargs)

    return on_device


def _decomposition(function):
    """A function of linear algebra, whose failure is an error where it was asked for."""

    @functools.wraps(function)
    def on_device(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            if _thread.linalg == "raise":
                raise
            raise RuntimeError(f'this would go unseen without cupyx.errstate(linalg="raise"): {error}') from error

    return on_device


def _operators() -> None:
    """Give `ndarray` its operators."""

    def binary(function, swapped=False):
        def method(self, value, /):
            if not isinstance(value, (ndarray, int, float, complex, np.generic, np.ndarray)):
                return NotImplemented
            return _called(function, (value, self) if swapped else (self, value), {})

        return method

    def in_place(function):
        def method(self, value, /):
            return _called(function, (self, value), {"out": self, "casting": "same_kind"})

        return method

    def unary(function):
        return lambda self: _called(function, (self,), {})

    arithmetic = {"sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide"}
    for name in ("add", *arithmetic, "mod", "pow", "matmul", "and", "or", "xor"):
        function = getattr(operator, name, None) or getattr(operator, f"{name}_")
        setattr(ndarray, f"__{name}__", binary(function))
        setattr(ndarray, f"__r{name}__", binary(function, swapped=True))
        if f"__i{name}__" in NAMES["cupy.ndarray"]:
            ufunc = {"pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", **arithmetic}
            setattr(ndarray, f"__i{name}__", in_place(getattr(np, ufunc.get(name, name))))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(ndarray, f"__{name}__", binary(getattr(operator, name)))
    for name in ("neg", "pos", "abs", "invert"):
        setattr(ndarray, f"__{name}__", unary(getattr(operator, name)))


def _methods() -> None:
    """Give `ndarray` those of CuPy's methods that NumPy's arrays have and that are not written above."""
    for name, parameters in NAMES["cupy.ndarray"].items():
        if not name.startswith("_") and parameters and name not in vars(ndarray) and hasattr(np.ndarray, name):
            setattr(ndarray, name, _lifted(getattr(np.ndarray, name), parameters, view=name in _VIEWS))


_operators()
_methods()
ndarray.__module__ = "cupy"


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """`cupy.array`: the one way of NumPy arrays, and of all that NumPy takes, to the device."""
    if isinstance(obj, ndarray):
        same = obj._memory is _machine.memory and (dtype is None or obj.dtype == np.dtype(dtype)) and obj.ndim >= ndmin
        if same and not copy:
            return obj
        return _on_device(np.array(obj._values, dtype=dtype, order=order, ndmin=ndmin))
    values = np.array(_nested(obj), dtype=dtype, order=order, ndmin=ndmin)
    _known(values.dtype)
    _machine.to_device += values.nbytes
    return _on_device(values)


def _nested(obj):
    """Lists of arrays on the device may be stacked into one array."""
    return [_nested(part) for part in obj] if isinstance(obj, (list, tuple)) else getattr(obj, "_values", obj)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """`cupy.asarray`."""
    return array(a, dtype, bool(copy), order or "K", blocking=blocking)


def ascontiguousarray(a, dtype=None):
    """`cupy.ascontiguousarray`."""
    found = asarray(a, dtype)
    return found if found.flags.c_contiguous else found.copy()


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """`cupy.asnumpy`."""
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def empty(shape, dtype=float, order="C"):
    """`cupy.empty`: what is read before it is written shows."""
    return _on_device(np.full(shape, np.nan if np.dtype(dtype).kind in "fc" else 1, dtype=_known(dtype), order=order))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    """`cupy.empty_like`."""
    return empty(prototype.shape if shape is None else shape, prototype.dtype if dtype is None else dtype)


def fuse(*args, **kwargs):
    """`cupy.fuse`, as a decorator with or without arguments: the function itself."""
    return args[0] if args and callable(args[0]) else lambda function: function


# ------------------------------------------------------------------------------------------------- kernels


class Kernel:
    """What `cupy.RawModule.get_function` returns. Arguments of a call are marshalled as CuPy does it."""

    def __init__(self, function) -> None:
        self.function, self.calls = function, []
        function.restype = ctypes.c_char_p

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        _require_here(*args)
        self.calls.append((grid, block, args))
        values = [self._value(argument) for argument in args]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        sizes = (ctypes.c_uint * len(values))(*(value.nbytes for value in values))
        shape, order = (ctypes.c_uint * 2)(*grid), ctypes.c_uint(_machine.thread_order)
        error = self.function(shape, ctypes.c_uint(*block), order, pointers, sizes, len(values))
        if error:
            raise RuntimeError(error.decode())

    @staticmethod
    def _value(argument):
        if isinstance(argument, ndarray):
            assert argument.flags.c_contiguous, "a kernel was given an array that is not contiguous"
            return np.array([argument.data.ptr], dtype=np.uint64)
        # Python numbers become 64-bit ones in CuPy too, so a missing np.int32 shows as a wrong size.
        argument = _host(argument)
        return np.array([argument]) if isinstance(argument, np.generic) else np.array([argument], dtype=type(argument))


class RawModule:
    """`cupy.RawModule`."""

    def __init__(
        self,
        code=None,
        *,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        name_expressions=None,
        jitify=None,
    ) -> None:
        self.code, self.options = code, options

    def get_function(self, name):
        _machine.kernels.append(Kernel(_machine.build(self.code, self.options, name)))
        return _machine.kernels[-1]


class ElementwiseKernel:
    """`cupy.ElementwiseKernel`, run on the CPU as one thread that takes one number after another."""

    def __init__(self, in_params, out_params, operation, name="kernel", reduce_dims=True, preamble="", **kwargs):
        self.inputs, self.outputs = (self._parsed(parameters) for parameters in (in_params, out_params))
        self.operation, self.preamble, self.name = operation, preamble, name

    @staticmethod
    def _parsed(parameters):
        """Type, name and whether it is raw, of each parameter."""
        parts = [parameter.split() for parameter in parameters.split(",")]
        return [(part[-2], part[-1], part[0] == "raw") for part in parts]

    def __call__(self, *args, size=None):
        parameters = self.inputs + self.outputs
        assert len(args) == len(parameters), "the stand-in wants results to be written into arrays that are given"
        _require_here(*args)
        types = {}
        for (kind, _, _), argument in zip(parameters, args, strict=True):
            if isinstance(argument, ndarray) and types.setdefault(kind, argument.dtype) != argument.dtype:
                raise TypeError(f"Type is mismatched. {kind} {types[kind]} {argument.dtype}")
        types = {kind: types.get(kind) or np.dtype(kind) for kind, _, _ in parameters}
        whole = [argument for (_, _, raw), argument in zip(parameters, args, strict=True) if not raw]
        shape = (
            np.broadcast_shapes(*(getattr(argument, "shape", ()) for argument in whole)) if size is None else (size,)
        )
        results = [argument for (_, _, raw), argument in zip(self.outputs, args[len(self.inputs) :], strict=True)]
        assert size is not None or all(result.shape == shape for result in results)
        values, declared, taken = [], [], []
        for (kind, name, raw), argument in zip(parameters, args, strict=True):
            real = {"float32": "float", "float64": "double", "int64": "long long", "bool": "bool"}[types[kind].name]
            declared.append(f"{real}* {name}{'' if raw else '_at'}")
            if raw:
                assert argument.flags.c_contiguous, "the stand-in wants raw arrays to be contiguous"
                values.append(_host(argument))
            else:
                values.append(np.array(np.broadcast_to(np.asarray(_host(argument), types[kind]), shape), order="C"))
                taken.append(f"{real}& {name} = {name}_at[i];")
            if len(kind) == 1:
                taken.append(f"using {kind} = {real};")
        taken = sorted(dict.fromkeys(taken), key=lambda line: not line.startswith("using"))
        code = f"""{self.preamble}
            extern "C" __global__ void {self.name}(long long size, {", ".join(declared)}) {{
                for (long long i = 0; i < size; i++) {{ {" ".join(taken)} {self.operation}; }}
            }}"""
        kernel = Kernel(_machine.build(code, ("-std=c++17",), self.name))
        pointers = [np.uint64(value.ctypes.data) for value in values]
        _machine.kernels.append(kernel)
        kernel((1, 1), (1,), (np.int64(math.prod(shape)), *pointers))
        for (_, _, raw), result, value in zip(self.outputs, results, values[len(self.inputs) :], strict=True):
            if not raw:
                result._values[...] = value


# --------------------------------------------------------------------------------------------------- cupyx


@contextmanager
def errstate(*, divide=None, over=None, under=None, invalid=None, linalg=None):
    """`cupyx.errstate`."""
    before = _thread.linalg
    _thread.linalg = before if linalg is None else linalg
    try:
        yield
    finally:
        _thread.linalg = before


class csr_matrix:
    """`cupyx.scipy.sparse.csr_matrix`, from a sparse matrix of SciPy, for products with dense arrays."""

    def __init__(self, arg1, shape=None, dtype=None, copy=False) -> None:
        host = scipy.sparse.csr_matrix(arg1, shape=shape, dtype=dtype)
        self._parts = tuple(map(array, (host.data, host.indices, host.indptr)))
        self._matrix = scipy.sparse.csr_matrix(tuple(map(_host, self._parts)), shape=host.shape, copy=False)
        self.shape, self.dtype, self.nnz = host.shape, host.dtype, host.nnz

    def __matmul__(self, other):
        return _called(self._matrix.__matmul__, (other,), {})


# --------------------------------------------------------------------------------------------- the modules


class _Module(ModuleType):
    """A module of the stand-in. What it lacks is either not CuPy's, or not written here yet."""

    def __getattr__(self, name):
        if not name.startswith("_") and name in NAMES.get(self.__name__, ()):
            raise AttributeError(f"The stand-in has no {self.__name__}.{name} yet: add it to {Path(__file__).name}.")
        raise AttributeError(f"module {self.__name__!r} of CuPy {NAMES['release']} has no attribute {name!r}")


def _module(name: str, written: dict | None = None, like: ModuleType | None = None, decorate=lambda f: f) -> _Module:
    """A module of what is written here, and of what NumPy has of CuPy's names."""
    module = _Module(name)
    for key, parameters in NAMES.get(name, {}).items():
        value = getattr(like, key, None)
        if parameters == "ufunc" and isinstance(value, np.ufunc):
            setattr(module, key, _universal(value))
        elif parameters not in (None, "ufunc") and callable(value):
            setattr(module, key, decorate(_lifted(value, parameters, view=key in _VIEWS)))
        elif _is_number_type(value) or isinstance(value, float):
            setattr(module, key, value)
    for key, value in (written or {}).items():
        setattr(module, key, value)
    return module


def _is_number_type(value) -> bool:
    return isinstance(value, type) and (issubclass(value, np.generic) or value in (np.dtype, np.finfo, np.iinfo))


def _modules() -> dict[str, ModuleType]:
    """All of them by name."""
    properties = {"name": b"Stand-in for a device", "major": 9, "minor": 0, "multiProcessorCount": 2}
    runtime = {
        "CUDARuntimeError": CUDARuntimeError,
        "getDevice": lambda: _thread.device,
        "setDevice": lambda device: Device(device).use(),
        "getDeviceCount": lambda: len(_machine.devices),
        "getDeviceProperties": lambda device: {**properties, "totalGlobalMem": _machine.devices[device].total},
        "memGetInfo": lambda: (_machine.memory.free, _machine.memory.total),
        "deviceSynchronize": lambda: None,
        "driverGetVersion": lambda: 13000,
        "runtimeGetVersion": lambda: 13000,
    }
    pool = MemoryPool()
    cuda = {
        "Device": Device,
        "Event": Event,
        "MemoryPool": MemoryPool,
        "Stream": Stream,
        "alloc_pinned_memory": bytearray,
        "device": _module("cupy.cuda.device", {"Device": Device}),
        "get_current_stream": lambda: Stream.null,
        "get_device_id": lambda: _thread.device,
        "get_elapsed_time": get_elapsed_time,
        "is_available": lambda: True,
        "memory": _module("cupy.cuda.memory", {"OutOfMemoryError": OutOfMemoryError}),
        "runtime": _module("cupy.cuda.runtime", runtime),
        "stream": _module("cupy.cuda.stream", {"Event": Event, "Stream": Stream}),
    }
    normal = _lifted(np.random.default_rng(0).standard_normal, NAMES["cupy.random"]["standard_normal"])
    top = {
        "ElementwiseKernel": ElementwiseKernel,
        "RawModule": RawModule,
        "__path__": [],
        "__version__": NAMES["release"],
        "array": array,
        "asanyarray": asarray,
        "asarray": asarray,
        "ascontiguousarray": ascontiguousarray,
        "asnumpy": asnumpy,
        "bool": np.bool_,
        "cuda": _module("cupy.cuda", {"__path__": [], **cuda}),
        "empty": empty,
        "empty_like": empty_like,
        "fft": _module("cupy.fft", like=np.fft),
        "fuse": fuse,
        "get_default_memory_pool": lambda: pool,
        "is_available": lambda: True,
        "linalg": _module("cupy.linalg", {"LinAlgError": np.linalg.LinAlgError}, np.linalg, _decomposition),
        "ndarray": ndarray,
        "newaxis": None,
        "random": _module("cupy.random", {"standard_normal": normal}),
        "size": lambda a, axis=None: np.size(a._values, axis),
    }
    sparse = _module("cupyx.scipy.sparse", {"csr_matrix": csr_matrix})
    solvers = _module("cupyx.scipy.linalg", like=scipy.linalg, decorate=_decomposition)
    extra = {
        "__path__": [],
        "empty_pinned": np.empty,
        "errstate": errstate,
        "scipy": _module("cupyx.scipy", {"__path__": [], "linalg": solvers, "sparse": sparse}),
        "zeros_pinned": np.zeros,
    }
    found = {}

    def add(module):
        found[module.__name__] = module
        for part in vars(module).values():
            if isinstance(part, _Module):
                add(part)

    add(_module("cupy", top, np))
    add(_module("cupyx", extra))
    return found


array.__module__ = "cupy"  # where pickle looks for it
MODULES = _modules()


@contextmanager
def installed(build):
    """Context in which CuPy is the stand-in, on a new machine.

    Parameters
    ----------
    build : callable
        Takes CUDA C, options and the name of an entry point, and returns the entry point compiled for the CPU.

    Yields
    ------
    machine : Machine
    """
    global _machine, _thread
    parts = ("cupy", "cupyx", "array_api_compat.cupy")

    def removed():
        named = [name for name in sys.modules if f"{name}.".startswith(tuple(f"{part}." for part in parts))]
        return {name: sys.modules.pop(name) for name in named}

    before, _thread = removed(), _Thread()
    sys.modules.update(MODULES)
    _machine = Machine(build)
    try:
        yield _machine
    finally:
        removed()
        sys.modules.update(before)
        compat = sys.modules.get("array_api_compat")
        if compat is not None and "cupy" in vars(compat):
            del compat.cupy
