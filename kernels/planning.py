"""Which operator, solver and backend a problem gets, what that costs in memory, and why.

Pure arithmetic on sizes: nothing is built, so a plan can be asked for before there is any data.

>>> from shallowda.kernels.planning import plan
>>> print(plan(8000, 2048, "rbf", 30, "float32", backend="numpy", memory_budget=2**30))
operator  dense
solver    block krylov
backend   numpy
memory    302.7 MiB of 1.0 GiB, beyond the input
because   the kernel 'rbf' is not linear, so the problem has order n = 8000;
          the 8000 x 8000 matrix in float32 (244.1 MiB) and the solver's 58.6 MiB fit;
          order 8000 is above 700 and k = 30 below 1/20 of it: 2 x 480 float64 columns instead of a dense solver.
>>> plan(100_000, 512, "rbf", 30, "float32", backend="numpy", memory_budget=2**30).operator
'tiled'
>>> plan(1_000_000, 512, None, 30, "float32", backend="numpy", memory_budget=2**30).operator
'moments'
"""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shallowda.kernels.arrays import library
from shallowda.kernels.operators import TILE_BYTES

__all__ = [
    "TAKEOVER_ORDER",
    "THRESHOLDS",
    "Plan",
    "Thresholds",
    "available_memory",
    "cupy_problem",
    "memory_of",
    "most_columns",
    "plan",
    "resolve_backend",
    "resolve_budget",
    "solver_for",
    "thresholds",
]

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_FLOAT64 = 8
_GRAPH_BLOCKS = 2**28  # blocks of similarities from which ARTL's graph is made
_KRYLOV_ROOM = 256  # columns by which a Krylov space grows at first: old and new ones are there at once
_EIGH_MATRICES = 8  # of the order of an eigenproblem: the matrix, its eigenvectors, cuSOLVER's workspace, products
_MOST_DIRECTIONS = 100  # of a principal subspace
_DEVICE_CHUNK = 2**26  # of what is computed in parts on a device
# columns of a block of tiles on a device, rows of a tile at least, and rows that are summed by parts
_WIDTH, _LEAST_TILE, _PART_ROWS = 32, 64, 2**17
_MATCHED_COLUMNS, _MATCHED_BYTES = 1000, 2**28  # KMM: columns, and kernel values that are stored
_FORMS = ("dual", "sample", "system", "hinge", "coupled", "domains", "weights")

logger = logging.getLogger("shallowda")


@dataclass(frozen=True)
class Thresholds:
    """Every number that a choice depends on.

    Each can be overridden by the environment variable ``SHALLOWDA_`` and its name in capitals, for example
    ``SHALLOWDA_DENSE_ORDER=500``. These are facts about a machine, not about a problem: the environment reaches all
    estimators at once, and the worker processes of joblib, without an argument in every signature.
    """

    #: Up to this order LAPACK's dense subset solver is faster than Lanczos for every k (measured: 2 cores, OpenBLAS).
    dense_order: int = 700
    #: From this share of the eigenpairs on it is faster at any order (measured with it).
    dense_share: float = 1 / 20
    #: Columns of the kernel matrix in the preconditioner of conjugate gradients.
    preconditioner_columns: int = 1024
    #: Flops of the first product from which backend="auto" takes a CuPy device, where the problem fits its memory. An
    #: estimate (about half a second of two cores, against the start of CuPy and the copy there): not yet measured on a
    #: device.
    device_flops: float = 5e10
    #: Float64 copies of rows that one streaming pass has at work: two blocks of `moments`, large enough for BLAS.
    row_block_bytes: int = 2**27
    #: Kernel values at work at a time where the matrix is not stored (measured: see `operators`).
    tile_bytes: int = TILE_BYTES
    #: Numbers in an n x n matrix or in the rows, whichever has more, up to which a fit leaves BLAS one thread. With two
    #: the methods took 0.6 to 3.5 times as long there, above mostly 0.7 to 1 times (measured: 2 cores, OpenBLAS, seven
    #: sizes from 500 x 50 to 20000 x 200).
    one_thread_entries: int = 2**22
    #: Memory that a fit may take beyond its input, of the machine or of the device where it is computed: bytes (int),
    #: or a share of what is free there (float). Half leaves room for what the user's own program still does.
    memory_budget: int | float = 0.5


#: The table as it is without any override.
THRESHOLDS = Thresholds()


def thresholds() -> Thresholds:
    """The table, with what the environment overrides.

    Raises
    ------
    ValueError
        If a variable is set to something that is not a positive number, or not a whole one where that is needed.
    """
    names = {field.name: f"SHALLOWDA_{field.name.upper()}" for field in dataclasses.fields(Thresholds)}
    changes = {name: _from_environment(name, key) for name, key in names.items() if os.environ.get(key)}
    return dataclasses.replace(THRESHOLDS, **changes)


def _from_environment(name: str, key: str) -> Any:
    text, whole = os.environ[key], isinstance(getattr(THRESHOLDS, name), int)
    value = next((parsed for parsed in (_parsed(int, text), _parsed(float, text)) if parsed is not None), None)
    if value is None or not value > 0 or (whole and not isinstance(value, int)):
        raise ValueError(f"{key} must be a positive {'whole number' if whole else 'number'}; it is {text!r}.")
    return value


def _parsed(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return None


#: Up to this order a stored matrix whose spectrum has no gaps is left to LAPACK when the Krylov space grows too large.
TAKEOVER_ORDER = 2048


def most_columns(k: int) -> int:
    """Columns that a Krylov space for k eigenpairs has at most."""
    return max(480, 12 * k)


@dataclass(frozen=True)
class Plan:
    """How a problem will be solved; ``print(plan)`` explains it.

    Attributes
    ----------
    operator : {"moments", "factored", "dense", "tiled", "nystroem"}
        What stands for the matrix: its d x d sufficient statistics, its factor, itself, tiles computed anew for each
        product, or an approximation from landmarks.
    solver : {"lapack", "block krylov", "conjugate gradients", "quadratic programme"}
    backend : {"numpy", "cupy", "torch"}
        Whose memory is taken, and with "cupy" where NumPy arrays are computed with. "torch" is for tensors on a CUDA
        device; other arrays than these lie in the machine's memory, as NumPy's.
    nbytes : int
        Estimated peak beyond the input and the n x k result, in the memory of the backend.
    budget : int
        Bytes that it may take there.
    reasons : tuple of str
        Why, one clause each.
    """

    operator: str
    solver: str
    backend: str
    nbytes: int
    budget: int = dataclasses.field(compare=False)  # what is free may differ from fit to fit
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        because = (";\n" + 10 * " ").join(self.reasons)
        return (
            f"operator  {self.operator}\nsolver    {self.solver}\nbackend   {self.backend}\n"
            f"memory    {_size(self.nbytes)} of {_size(self.budget)}, beyond the input\nbecause   {because}."
        )


def plan(
    n: int,
    d: int,
    kernel: str | Callable | None,
    k: int,
    dtype: Any = np.float64,
    *,
    form: str = "dual",
    n_landmarks: int | None = None,
    backend: str = "auto",
    memory_budget: int | float | None = None,
    copied: bool = True,
) -> Plan:
    """Plan for the top k components of n rows with d features.

    Parameters
    ----------
    n, d, k : int >= 1
    kernel : str, callable or None
        None is the linear problem for a map of the features, "linear" its dual; "precomputed" takes the matrix as the
        input.
    dtype : float32 or float64
        Of the rows.
    form : {"dual", "sample", "system", "hinge", "coupled", "domains", "weights"}, default="dual"
        "sample" for one ridge per sample (TJM): a linear problem then has weighted moments as well. "system" for the
        regularised system of ARTL, whose k is the number of right-hand sides, and "hinge" where there is one for each
        source row (ARTL with the hinge loss). "coupled" for two maps (JGSA): twice the order, and the eigenvectors of a
        kernel matrix, which has to be stored. "domains" for the second moments of either domain (CORAL and the methods
        of principal subspaces), and "weights" for those of source rows (KMM). These two take no budget of the
        machine's memory: there is no other way to solve them.
    n_landmarks : int, optional
        Approximates a kernel that is not linear; linear problems need no approximation.
    backend : {"auto", "numpy", "cupy", "torch"}, default="auto"
        See `resolve_backend`; "auto" is also NumPy where the device has too little memory. "torch" for tensors on a
        CUDA device.
    memory_budget : int, float or None, default=None
        See `resolve_budget`.
    copied : bool, default=True
        Whether the rows have to be copied to the device; False where they are there.

    Returns
    -------
    plan : Plan

    Raises
    ------
    MemoryError
        If no way of solving the problem fits the budget.
    ValueError
        If an argument is none of the above.
    RuntimeError
        From `resolve_backend`.
    """
    for name, value in {"n": n, "d": d, "k": k, "n_landmarks": 1 if n_landmarks is None else n_landmarks}.items():
        if not _is_whole(value) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; it is {value!r}.")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; it is {dtype}.")
    if form not in _FORMS:
        raise ValueError(f"form must be one of {', '.join(map(repr, _FORMS))}; it is {form!r}.")
    if kernel == "precomputed" and n_landmarks is not None:
        raise ValueError("n_landmarks= needs the rows, and kernel='precomputed' has none. Pass one of the two.")
    problem = _Problem(int(n), int(d), int(k), kernel, np.dtype(dtype), form, n_landmarks, thresholds(), copied)
    chosen = backend if backend == "torch" else resolve_backend(backend, n, d, linear=problem.linear)
    try:
        result = problem.planned(chosen, resolve_budget(memory_budget, chosen))
    except MemoryError:
        if (backend, chosen) != ("auto", "cupy"):
            raise
        result = problem.planned("numpy", resolve_budget(memory_budget))
        least, allowed = _size(problem.least("cupy")[0]), _size(resolve_budget(memory_budget, "cupy"))
        too_little = (
            f"the device has too little memory: it takes {least} with the rows, and {allowed} are allowed there"
        )
        result = dataclasses.replace(result, reasons=(*result.reasons, too_little))
    logger.info(
        "n=%d, d=%d, kernel=%s, k=%d, %s: operator %s, solver %s, backend %s, %s of %s.",
        *(n, d, kernel, k, problem.dtype, result.operator, result.solver, result.backend),
        *(_size(result.nbytes), _size(result.budget)),
    )
    return result


def solver_for(order: int, k: int) -> str:
    """Solver for the k largest eigenpairs of a symmetric matrix: "lapack" or "block krylov"."""
    table = thresholds()
    return "lapack" if order <= table.dense_order or k >= table.dense_share * order else "block krylov"


class _Way(NamedTuple):
    """One way of solving a problem, with the order of its eigenproblem."""

    operator: str
    order: int
    solver: str
    nbytes: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Problem:
    """The sizes of a problem, and the ways there are to solve it."""

    n: int
    d: int
    k: int
    kernel: str | Callable | None
    dtype: np.dtype
    form: str
    n_landmarks: int | None
    table: Thresholds
    copied: bool

    @property
    def linear(self) -> bool:
        return self.kernel is None or self.kernel == "linear"

    def planned(self, backend: str, budget: int) -> Plan:
        """The first way that fits the budget."""
        # methods without a budget of their own are not refused where there is no other place for them
        limited = self.form not in ("domains", "weights") or (backend != "numpy" and self.copied)
        for way in self.ways():
            total = self.needed(way, backend)
            if total <= budget or not limited:
                copied = backend != "numpy" and self.copied
                moved = (f"the rows ({_size(self.rows)}) are copied to the device",) if copied else ()
                reasons = (*way.reasons, *moved, self.about_solver(way.order, way.solver))
                return Plan(way.operator, way.solver, backend, total, budget, reasons)
        total, operator = self.least(backend)
        cheaper = "" if self.linear or self.kernel == "precomputed" or self.n_landmarks else "pass n_landmarks=, "
        elsewhere = "" if backend == "numpy" else "take backend='numpy', "
        raise MemoryError(
            f"n = {self.n}, d = {self.d}, kernel = {self.kernel!r}, k = {self.k} needs {_size(total)} ({total} bytes) "
            f"beyond the input even with the operator {operator!r}, and memory_budget allows {_size(budget)} "
            f"({budget} bytes). Raise memory_budget, {cheaper}{elsewhere}or use fewer components or rows."
        )

    def least(self, backend: str) -> tuple[int, str]:
        """The bytes of the way that needs fewest, and its operator."""
        return min((self.needed(way, backend), way.operator) for way in self.ways())

    def needed(self, way: _Way, backend: str) -> int:
        """Bytes that a way takes where it is computed."""
        on_device = 0 if backend == "numpy" else self.beside(way) + (self.rows if self.copied else 0)
        return way.nbytes + on_device

    @property
    def rows(self) -> int:
        """Bytes of the rows."""
        return self.n * self.d * self.dtype.itemsize

    def beside(self, way: _Way) -> int:
        """Bytes that a device takes beside what the machine would, and beside the rows.

        Libraries of devices decompose in memory of their own and compute few things in place; and what an embedding and
        its neighbours take is a small matter on the machine only. (Measured on a stand-in for CuPy that counts.)
        """
        n, d, order = self.n, self.d, way.order
        wide = _FLOAT64 * n * d  # rows in float64
        block = min(self.table.row_block_bytes, 2 * wide)
        total = 6 * _FLOAT64 * n * self.k + block
        if way.solver == "block krylov":
            total += 2 * _FLOAT64 * _KRYLOV_ROOM * order
        elif self.form != "weights" and not self.system:
            total += _EIGH_MATRICES * _FLOAT64 * order**2
        if self.system:
            total += 3 * self.rows
        elif self.form == "domains":  # both domains mapped, in blocks
            total += 2 * self.rows + 2 * block + 2 * _FLOAT64 * n * min(d, _MOST_DIRECTIONS)
        elif self.form == "coupled":
            total += _FLOAT64 * n * order
        if not self.linear and self.kernel != "precomputed":
            total += 3 * wide + min(_DEVICE_CHUNK, _FLOAT64 * n**2)
            tiled = way.operator == "tiled" and self.form != "weights"
            if tiled:  # the padded rows of both sides, and sums of parts of the rows
                total += 2 * wide + 16 * _FLOAT64 * n
                total += _FLOAT64 * _WIDTH * min(n * (n // _LEAST_TILE + 1), 2 * (n + _PART_ROWS))
            if self.kernel == "laplacian":
                total += 3 * min(_DEVICE_CHUNK, wide * n)
        return total

    def ways(self) -> Iterator[_Way]:
        """From the fastest to the smallest."""
        n, d, item = self.n, self.d, self.dtype.itemsize
        if self.form == "domains":
            yield self.domains_way()
        elif self.form == "weights":
            yield self.weights_way()
        elif self.linear:
            unused = ("n_landmarks is not used: a linear kernel is solved exactly",) if self.n_landmarks else ()
            ways = [self.coupled_way()] if self.form == "coupled" else self.linear_ways()
            yield from (way._replace(reasons=way.reasons + unused) for way in ways)
        elif self.form == "coupled":
            yield self.coupled_way()
        elif self.n_landmarks is not None:
            m = min(self.n_landmarks, n)
            solver, work = self.solved(m)
            kept = item * (n * m + m * d + m * m)
            passing = max(3 * _FLOAT64 * m * m, _FLOAT64 * m * m + work) + self.table.tile_bytes + 2 * _FLOAT64 * m * d
            what = f"n_landmarks = {m}: {n} x {m} features ({_size(item * n * m)}) stand for the kernel"
            yield _Way(
                "nystroem", m, solver, kept + passing, (what, "an approximation, whose error the operator reports")
            )
        else:
            yield from self.kernel_ways()

    def domains_way(self) -> _Way:
        """Mean and scatter of either domain, and their eigenvectors."""
        n, d, order = self.n, self.d, min(self.n, self.d)
        if d <= n:
            operator, made = "moments", 0
            because = f"d = {d} <= n = {n}: {d} x {d} moments of either domain in one pass over the rows"
        else:
            operator, made = "factored", 3 * _FLOAT64 * n * d
            because = f"d = {d} > n = {n}: products of the rows of a domain are the smaller matrix"
        block = min(self.table.row_block_bytes, 2 * _FLOAT64 * n * d)
        return _Way(operator, order, "lapack", self.rows + made + 5 * _FLOAT64 * order**2 + block, (because,))

    def weights_way(self) -> _Way:
        """Kernel values among the source rows, and columns of them."""
        n, d = self.n, self.d
        columns = min(n, _MATCHED_COLUMNS)
        values = min(_MATCHED_BYTES, _FLOAT64 * n * n) + min(2 * self.table.tile_bytes, 2 * _FLOAT64 * n * n)
        because = f"weights of the source rows: at most {columns} columns of their kernel matrix, the rest in tiles"
        return _Way("tiled", columns, "quadratic programme", values + _FLOAT64 * n * (columns + 2 * d), (because,))

    def coupled_way(self) -> _Way:
        """Two maps in the coordinates of the rows, of the basis of their span, or of the kernel's feature space."""
        n, d, item = self.n, self.d, self.dtype.itemsize
        rows = item * n * d  # of either domain, where they do not lie together
        if self.linear and d <= n:
            operator, r, made = "moments", d, rows + (_FLOAT64 * n * d if self.kernel else 0)
            because = f"the kernel is linear and d = {d} <= n = {n}: scatters of either domain, {d} x {d}"
        elif self.linear:
            operator, r, made = "factored", n, _FLOAT64 * (2 * n * d + 3 * n * n)
            because = f"the kernel is linear and d = {d} > n = {n}: solved in an orthonormal basis of the {n} rows"
        elif self.n_landmarks is not None:
            r = m = min(self.n_landmarks, n)
            operator, made = "nystroem", (item + _FLOAT64) * n * m + item * (m * d + m * m) + self.table.tile_bytes
            because = f"n_landmarks = {m}: {n} x {m} features stand for the kernel, an approximation"
        else:
            operator, r, made = "dense", n, (item * (self.kernel != "precomputed") + 5 * _FLOAT64) * n * n
            because = f"the kernel is not linear: all eigenvectors of the {n} x {n} matrix are the coordinates"
        solver, work = self.solved(2 * r, None if 2 * r <= TAKEOVER_ORDER else "block krylov")
        scatters = 5 * _FLOAT64 * r * r + min(self.table.row_block_bytes, 2 * _FLOAT64 * n * r)
        return _Way(operator, 2 * r, solver, made + max(scatters, 3 * _FLOAT64 * r * r + work), (because,))

    def linear_ways(self) -> Iterator[_Way]:
        n, d = self.n, self.d
        solver, work = self.solved(min(n, d))
        if d <= n:
            # a dense dual also has the Gram matrix and its root; one ridge per sample, weighted moments as well
            factored = solver == "lapack" or d <= TAKEOVER_ORDER
            matrices = 1 if self.kernel is None else 5 if self.form == "sample" else 3 if factored else 1
            summed = _FLOAT64 * d * d + min(self.table.row_block_bytes, 2 * _FLOAT64 * n * d)  # a block, its products
            if self.form == "dual" and self.kernel is not None and solver != "lapack":
                work += work // 2  # columns of the space in a third basis
            nbytes = matrices * _FLOAT64 * d * d + max(summed, work)
            reasons = [f"the kernel is linear and d = {d} <= n = {n}: {d} x {d} moments in one pass over the rows"]
            if self.system:
                nbytes += self.graph
            if self.form == "sample":
                reasons.append("one ridge per sample: one more pass for weighted moments whenever the ridge changes")
            yield _Way("moments", d, solver, nbytes, tuple(reasons))
        elif self.kernel is None or self.system:
            nbytes = _FLOAT64 * (2 * n * d + 2 * n * n) + work
            because = f"the kernel is linear and d = {d} > n = {n}: solved in an orthonormal basis of the {n} rows"
            yield _Way("factored", n, solver, nbytes, (because,))
        else:
            because = f"the kernel is linear and d = {d} > n = {n}: the {n} x {n} matrix X X^T is the smaller one"
            yield _Way("dense", n, solver, self.stored(n) + work, (because,))

    def kernel_ways(self) -> Iterator[_Way]:
        n, d = self.n, self.d
        given = self.kernel == "precomputed"
        # a given matrix is copied where it is written into
        matrix = (self.stored(n) if self.dtype == np.float32 else 0) if given else self.stored(n)
        name = repr(self.kernel) if isinstance(self.kernel, str) else "function"
        order = f"the kernel {name} is not linear, so the problem has order n = {n}"
        stored = f"the {n} x {n} matrix " + ("is the input" if given else f"in {self.dtype} ({_size(matrix)})")
        last, work = self.solved(n, "block krylov")
        work_of_tiles = work if self.system else 2 * _FLOAT64 * n * min(most_columns(self.k), n)
        for solver, its_work in dict.fromkeys([self.solved(n), (last, work)]):  # the same, for most orders
            if solver == "conjugate gradients":
                continue  # for a matrix that is not stored
            yield _Way(
                "dense", n, solver, matrix + its_work, (order, f"{stored} and the solver's {_size(its_work)} fit")
            )
        if not given:
            above = f"{stored} and the solver's {_size(work)} are above the budget: exact, but never stored"
            again = f"each product computes {n * n / 2:.1e} kernel values again, about {n * n * d:.1e} flops"
            cheaper = "n_landmarks= is the cheap approximation"
            yield _Way("tiled", n, last, self.table.tile_bytes + work_of_tiles, (order, above, again, cheaper))

    @property
    def system(self) -> bool:
        """Whether it is one of ARTL's."""
        return self.form in ("system", "hinge")

    @property
    def graph(self) -> int:
        """Bytes of the blocks of similarities that ARTL's graph is made of."""
        return min(_GRAPH_BLOCKS, 4 * _FLOAT64 * self.n * self.n)

    def stored(self, n: int) -> int:
        """Bytes of a kernel matrix of the rows."""
        return n * n * self.dtype.itemsize

    def solved(self, order: int, solver: str | None = None) -> tuple[str, int]:
        """The solver of a problem of this order, and the bytes it works with."""
        if self.system:
            if solver is None:  # the factors, blocks of the graph, and the right-hand sides with solutions
                sides = 2 if self.form == "hinge" else 0
                return "lapack", (1 + sides) * _FLOAT64 * order * order + self.graph
            return "conjugate gradients", _FLOAT64 * order * min(self.table.preconditioner_columns, order)
        solver = solver or solver_for(order, self.k)
        if solver == "lapack":  # the matrix, LAPACK's copy
            return solver, 2 * _FLOAT64 * order * order
        space = 2 * _FLOAT64 * order * min(most_columns(self.k), order)
        return solver, max(space, 4 * _FLOAT64 * order * order) if order <= TAKEOVER_ORDER else space

    def about_solver(self, order: int, solver: str) -> str:
        """Why this solver."""
        if self.form == "weights":
            return "it is solved on those columns"
        if self.form == "domains":
            return f"all eigenvectors of order {order} by LAPACK"
        if self.system:
            if solver == "lapack":
                return f"the system of order {order} is factored once, for all passes"
            return f"a matrix of order {order} that is not stored cannot be factored"
        limit, share = self.table.dense_order, f"1/{round(1 / self.table.dense_share)}"
        if solver != solver_for(order, self.k):
            return f"a dense solver of order {order} would be faster, and needs more than the budget or a stored matrix"
        if solver == "block krylov":
            columns = min(most_columns(self.k), order)
            return (
                f"order {order} is above {limit} and k = {self.k} below {share} of it: 2 x {columns} float64 columns "
                "instead of a dense solver"
            )
        if order <= limit:
            return f"up to order {limit} a dense solver is the fastest; this is {order}"
        return f"k = {self.k} is at least {share} of the order {order}, where a dense solver is the fastest"


def resolve_backend(backend: str, n: int, d: int, *, linear: bool = True) -> str:
    """The backend that will compute, "numpy" or "cupy".

    Parameters
    ----------
    backend : {"auto", "numpy", "cupy"}
        "auto" is CuPy where a device is usable and the first product is large enough to gain by it.
    n, d : int
        Rows and features.
    linear : bool, default=True
        Whether the first product has n d min(n, d) multiplications, or n^2 d.

    Returns
    -------
    backend : {"numpy", "cupy"}

    Raises
    ------
    RuntimeError
        If "cupy" is asked for and cannot be used.
    ValueError
        If `backend` is none of the three.
    """
    if backend not in ("auto", "numpy", "cupy"):
        raise ValueError(f"backend must be 'auto', 'numpy' or 'cupy'; it is {backend!r}.")
    if backend == "auto":
        large = 2.0 * n * d * (min(n, d) if linear else n) >= thresholds().device_flops
        return "cupy" if large and cupy_problem() is None else "numpy"
    if backend == "cupy" and (problem := cupy_problem()) is not None:
        raise RuntimeError(
            f"backend='cupy' cannot be used: {problem}. With an NVIDIA GPU, pip install shallowda[cuda12] or "
            "shallowda[cuda13], as its driver needs; without one, use backend='numpy'."
        )
    return backend


def cupy_problem() -> str | None:
    """Why CuPy cannot compute here, in words; None where it can. Found out once, by a product and a decomposition.

    A device whose memory is full at the moment has no problem: plans weigh what is free, and it may have room later.
    """
    try:
        return _lasting_problem()
    except MemoryError:  # which is not kept
        return None


@cache
def _lasting_problem() -> str | None:
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy is installed, but there is no device"
        cupy.linalg.eigh(cupy.eye(2) @ cupy.eye(2))[0].get()
    except MemoryError:
        raise
    except Exception as error:  # drivers and libraries fail in many ways: what they said is the answer
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return "CuPy is not installed"
        return f"CuPy is installed, but cannot compute: {type(error).__name__}: {error}"
    return None


def resolve_budget(memory_budget: int | float | None, backend: str = "numpy") -> int:
    """Bytes that a fit may take beyond its input.

    Parameters
    ----------
    memory_budget : int, float or None
        Bytes (int), or a share in (0, 1] of the memory that is free (float). None: what the environment variable
        SHALLOWDA_MEMORY_BUDGET says in the same way, or half of what is free. A device, which cannot borrow, never
        gives more than what is free there.
    backend : {"numpy", "cupy", "torch"}, default="numpy"
        Whose memory: the machine's, or the device's.

    Returns
    -------
    budget : int

    Raises
    ------
    TypeError, ValueError
        If `memory_budget` is none of these.
    """
    if memory_budget is None:
        return resolve_budget(thresholds().memory_budget, backend)
    if _is_whole(memory_budget):
        if memory_budget < 1:
            raise ValueError(f"memory_budget must be at least one byte; it is {memory_budget}.")
        return int(memory_budget) if backend == "numpy" else min(int(memory_budget), available_memory(backend))
    if not isinstance(memory_budget, (float, np.floating)):
        raise TypeError(f"memory_budget must be an int, a float or None; it is {memory_budget!r}.")
    if not 0 < memory_budget <= 1:
        raise ValueError(
            f"memory_budget={memory_budget!r}: a float is a share of the free memory, in (0, 1]. Pass bytes as an int."
        )
    return int(memory_budget * available_memory(backend))


def memory_of(array: Any) -> str:
    """Whose memory an array lies in, and so what is computed of it: a backend of a `Plan`."""
    if library(array) == "torch" and array.device.type == "cuda":
        return "torch"
    return "cupy" if library(array) == "cupy" else "numpy"


def available_memory(backend: str = "numpy") -> int:
    """Bytes that are free for this process: the least of what the machine and its control groups have left.

    What the system can drop at once (cached files) counts as free. Where it does not say what is free (macOS), half of
    the physical memory is assumed to be.

    Parameters
    ----------
    backend : {"numpy", "cupy", "torch"}, default="numpy"
        "cupy" and "torch": of the current device instead. What the library keeps of it and has no array in is free;
        CuPy's memory pool may have a limit.
    """
    if backend == "cupy":
        import cupy

        pool = cupy.get_default_memory_pool()
        free, limit = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes(), pool.get_limit()
        return max(int(min(free, limit - pool.used_bytes()) if limit else free), 0)
    if backend == "torch":
        import torch

        return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
    return max(min([_free_in_machine(), *_free_in_groups()]), 0)


def _free_in_machine() -> int:
    if sys.platform == "win32":
        return _free_in_windows()
    if (available := _number(_PROC / "meminfo", "MemAvailable:")) is not None:
        return available * 1024
    page = os.sysconf("SC_PAGE_SIZE")
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return page * os.sysconf("SC_AVPHYS_PAGES")
    return page * os.sysconf("SC_PHYS_PAGES") // 2


def _free_in_windows() -> int:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 5),
        ]

    status = Status(length=ctypes.sizeof(Status))
    if not vars(ctypes)["windll"].kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("Windows did not say how much memory is free. Pass memory_budget as a number of bytes.")
    return int(status.available)


def _free_in_groups() -> Iterator[int]:
    """What this process's control group and those above it have left, where they have a limit (versions 1 and 2)."""
    membership = _PROC / "self" / "cgroup"
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cached = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if (folder / limit).is_file() and (text := (folder / limit).read_text().strip()) != "max":
                used = int((folder / usage).read_text()) - (_number(folder / "memory.stat", cached) or 0)
                yield int(text) - used
            if folder == root:
                break


def _number(file: Path, name: str) -> int | None:
    """The number in the line "name number ..." of a file of the kernel; None where there is none."""
    found = re.search(rf"^{name}\s+(\d+)", file.read_text(), re.MULTILINE) if file.is_file() else None
    return int(found[1]) if found else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _size(nbytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} bytes" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} TiB"
