"""The CUDA compiler on every source, for every architecture: registers, shared memory and spills."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from shallowda.kernels import device

ARCHITECTURES = (75, 80, 90, 100, 120)
#: Two blocks of 256 threads share the 64 Ki registers of a multiprocessor; 48 KiB is what every device gives a block.
REGISTERS, SHARED = 128, 48 * 1024

FULL = ("-DKERNEL_RBF", "-DWIDTH=32")
NEAREST = ("nearest_row", ())
VARIANTS = [("kernel_times_block", FULL), NEAREST]
OTHERS = [
    ("kernel_times_block", ("-DKERNEL_LAPLACIAN", "-DL1", "-DWIDTH=32")),
    ("kernel_times_block", ("-DKERNEL_POLY", "-DWIDTH=16")),
    ("kernel_times_block", ("-DKERNEL_SIGMOID", "-DWIDTH=8")),
]


@pytest.fixture(scope="module")
def nvcc():
    path = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if path is None:
        pytest.skip("no nvcc: the CUDA sources cannot be compiled for devices")
    return path


@pytest.mark.slow
def test_sources_compile_without_spills_for_every_architecture(nvcc, tmp_path):
    jobs = [(*variant, real, 90) for variant in OTHERS for real in ("float", "double")]
    jobs += [(*variant, real, arch) for variant in VARIANTS for real in ("float", "double") for arch in ARCHITECTURES]
    listed = subprocess.run([nvcc, "--list-gpu-code"], check=True, capture_output=True, text=True).stdout.split()
    jobs = [job for job in jobs if f"sm_{job[-1]}" in listed]  # a compiler knows the devices of its time
    assert jobs

    def report(job):
        entry, macros, real, arch = job
        stem = tmp_path / "_".join((entry, *macros, real, str(arch)))
        source = stem.with_suffix(".cu")
        source.write_text(device._source(entry))
        options = ["-std=c++17", f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v", f"-DREAL={real}", *macros]
        command = [nvcc, *options, str(source), "-o", str(stem.with_suffix(".cubin"))]
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr

    with ThreadPoolExecutor(2) as pool:
        for job, text in zip(jobs, pool.map(report, jobs), strict=True):
            spills = [int(figure) for figure in re.findall(r"(\d+) bytes spill", text)]
            registers, shared = (int(re.search(rf"(\d+) {what}", text)[1]) for what in ("registers", "bytes smem"))
            assert spills, text
            assert max(spills) == 0, (job, text)
            assert registers <= REGISTERS, (job, text)
            assert shared <= SHARED, (job, text)


@pytest.mark.slow
@pytest.mark.parametrize("real", ["float", "double"])
def test_the_compiler_that_cupy_uses_takes_the_sources(real):
    # NVRTC is stricter than nvcc in places, and has no headers of the host.
    core = pytest.importorskip("cuda.core", reason="no cuda-core: NVRTC cannot be asked")
    for entry, macros in (*VARIANTS, *OTHERS):
        defines = [tuple((macro.removeprefix("-D") + "=1").split("=")[:2]) for macro in (*macros, f"-DREAL={real}")]
        for arch in (ARCHITECTURES[0], ARCHITECTURES[-1]):
            options = core.ProgramOptions(std="c++17", arch=f"sm_{arch}", define_macro=defines)
            assert core.Program(device._source(entry), "c++", options=options).compile("cubin").code
