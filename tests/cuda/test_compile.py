"""The compilers of CUDA on every source, for every architecture: registers, shared memory and spills."""

import itertools
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from shallowda.kernels import device

ARCHITECTURES = (75, 80, 90, 100, 120)
#: Two blocks of 256 threads share the 64 Ki registers of a multiprocessor; 48 KiB is what every device gives a block.
REGISTERS, SHARED = 128, 48 * 1024
#: Bytes of a thread that NVRTC may leave in local memory: of 130 variants, with CuPy's options, release 12.9 spills
#: nine, of at most 92 bytes.
NVRTC_SPILLS = 96

#: Every variant that kernels/device.py compiles: entry point and macros.
VARIANTS = [("nearest_row", ())] + [
    ("kernel_times_block", device._macros(name, width))
    for name, width in itertools.product(device._ON_CHIP, device._WIDTHS)
]
#: For every architecture; of the others nvcc takes a few for one.
FULL = [("nearest_row", ()), ("kernel_times_block", device._macros("rbf", 32))]
OTHERS = [
    ("kernel_times_block", device._macros(*variant)) for variant in (("laplacian", 32), ("poly", 16), ("sigmoid", 8))
]
#: What CuPy adds: cupy/cuda/compiler.py of release 14.2.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")


def check_resources(text, what, most_spills):
    """That ptxas's report tells of no more spills, and of room for two blocks."""
    spills = [int(figure) for figure in re.findall(r"(\d+) bytes spill", text)]
    registers, shared = (int(re.search(rf"(\d+) {unit}", text)[1]) for unit in ("registers", "bytes smem"))
    assert spills, text
    assert max(spills) <= most_spills, (what, text)
    assert registers <= REGISTERS, (what, text)
    assert shared <= SHARED, (what, text)


@pytest.fixture(scope="module")
def nvcc():
    path = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if path is None:
        pytest.skip("no nvcc: the CUDA sources cannot be compiled for devices")
    return path


@pytest.mark.slow
def test_sources_compile_without_spills_for_every_architecture(nvcc, tmp_path):
    jobs = [(*variant, dtype, 90) for variant in OTHERS for dtype in ("float32", "float64")]
    jobs += [(*variant, dtype, arch) for variant in FULL for dtype in ("float32", "float64") for arch in ARCHITECTURES]
    listed = subprocess.run([nvcc, "--list-gpu-code"], check=True, capture_output=True, text=True).stdout.split()
    jobs = [job for job in jobs if f"sm_{job[-1]}" in listed]  # a compiler knows the devices of its time
    assert jobs

    def report(job):
        entry, macros, dtype, arch = job
        stem = tmp_path / "_".join((entry, *macros, dtype, str(arch)))
        source = stem.with_suffix(".cu")
        source.write_text(device._source(entry))
        options = [*device._options(dtype, *macros), f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v"]
        command = [nvcc, *options, str(source), "-o", str(stem.with_suffix(".cubin"))]
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr

    with ThreadPoolExecutor(2) as pool:
        for job, text in zip(jobs, pool.map(report, jobs), strict=True):
            check_resources(text, job, 0)


@pytest.fixture(scope="module")
def nvrtc():
    return pytest.importorskip("cuda.bindings.nvrtc", reason="no cuda-bindings (of cuda-core): NVRTC cannot be asked")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_compiler_that_cupy_uses_takes_every_variant(nvrtc, arch, dtype):
    # NVRTC is stricter than nvcc in places, and has no headers of the host.
    if arch not in nvrtc.nvrtcGetSupportedArchs()[1]:
        pytest.skip(f"this NVRTC does not know sm_{arch}")
    for entry, macros in VARIANTS:
        options = (*device._options(dtype, *macros), *CUPY_OPTIONS, f"-arch=sm_{arch}", "--ptxas-options=-v")
        log = compile_with(nvrtc, device._source(entry), options)
        check_resources(log, (entry, macros), NVRTC_SPILLS)


def compile_with(nvrtc, source, options):
    """Compile CUDA C with NVRTC, and return what it said."""
    _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], [])
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = bytearray(nvrtc.nvrtcGetProgramLogSize(program)[1])
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(program)
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
    return log.decode()
