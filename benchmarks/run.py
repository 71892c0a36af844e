"""The benchmark: ``python benchmarks/run.py`` (see README.md here for options and for how to read it).

Every job runs in a process of its own; jobs of a case take turns, and medians over the rounds are kept. Results are
saved after every round, so that nothing is lost when it is interrupted; ``--only`` fills in single cases.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import cases
import peers
import threadpoolctl
from rich.console import Console
from rich.table import Table
from rows import save_rows

HERE = Path(__file__).resolve().parent
LONG = 5.0  # seconds from which a job is not repeated
console = Console(stderr=True)


def machine() -> dict:
    """What the figures depend on."""
    import numpy  # noqa: F401  loads the BLAS that is asked about

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        model = found.group(1) if found else model
    blas = [
        f"{pool['internal_api']} {pool['version']} ({pool.get('architecture')}), {pool['num_threads']} threads"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model.strip(),
        "cores": cores,
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "blas": list(dict.fromkeys(blas)),
    }


def versions() -> dict[str, str]:
    """Releases that were measured."""
    packages = ("shallowda", "numpy", "scipy", "scikit-learn", "numba")
    found = {"python": platform.python_version(), **{package: version(package) for package in packages}}
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    if described.returncode == 0:
        found["shallowda"] += f" ({described.stdout.strip()})"
    return found


def slug(machine: dict) -> str:
    """Name of a machine in file names."""
    text = re.sub(r"\(r\)|\(tm\)|cpu|processor|@", " ", machine["cpu"].lower())
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-") + f"-{machine['cores']}-cores"


def measure(job: cases.Job, folder: Path, timeout: float) -> dict:
    """Figures of one job, in a process of its own."""
    separation = job.options.get("separation", 0.35)
    X, y = save_rows(folder, job.n, job.d, job.dtype, separation)
    work = {"kind": job.kind, "args": job.args, "X": str(X), "y": str(y), **job.options}
    interpreter = peers.python() if job.library in peers.PEERS else sys.executable
    command = [str(interpreter), str(HERE / "measure.py"), json.dumps(work)]
    # skada's optimal transport library would load TensorFlow where it finds it
    environment = {**os.environ, "POT_BACKEND_DISABLE_TENSORFLOW": "1"}
    if "threads" in job.options:
        environment |= dict.fromkeys(
            ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), job.options["threads"]
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {timeout:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": f"exit {done.returncode}: {peers.last_line(done.stderr)}"}
    return json.loads(lines[-1])


def combine(runs: list[dict]) -> dict:
    """Medians over the rounds; the first error, if any."""
    failed = next((run for run in runs if "error" in run), None)
    if failed:
        return failed
    merged = dict(runs[0])
    for key, value in runs[0].items():
        if isinstance(value, float):
            merged[key] = statistics.median(run[key] for run in runs)
    if "seconds" in merged:
        merged["all_seconds"] = [run["seconds"] for run in runs]
    return merged


def run_case(case: cases.Case, folder: Path, timeout: float, skipped: dict[str, str], save) -> None:
    """Measure a case round by round; `save` gets the result after each."""
    seen: dict[str, list[dict]] = {job.label: [] for job in case.jobs}
    for turn in range(case.rounds):
        for job in case.jobs:
            runs = seen[job.label]
            if turn and ("error" in runs[-1] or runs[-1].get("seconds", 0) > LONG):
                continue
            start = time.perf_counter()
            reason = skipped.get(job.library)
            runs.append({"error": f"skipped: {reason}"} if reason else measure(job, folder, timeout))
            text = runs[-1].get("error") or f"{runs[-1].get('seconds', 0):.3g} s, {runs[-1]['memory_mib']:.0f} MiB"
            took = time.perf_counter() - start
            console.print(f"  {job.label:32s} {text}  [dim](process {took:.1f} s)[/dim]", highlight=False)
        result = {
            "title": case.title,
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "runs": {
                job.label: {
                    "library": job.library,
                    "n": job.n,
                    "d": job.d,
                    "dtype": job.dtype,
                    "note": job.note,
                    **combine(seen[job.label]),
                }
                for job in case.jobs
            },
        }
        save(case.name, result)


def evaluate(done: dict) -> list[dict]:
    """All bars, from the cases that were run."""
    return [bar.evaluate(done[bar.case]["runs"]) for bar in cases.bars() if bar.case in done]


def print_bars(bars: list[dict]) -> None:
    """A table in the terminal."""
    table = Table(title="Bars")
    for column, justify in (("what", "left"), ("bar", "right"), ("measured", "right"), ("", "left")):
        table.add_column(column, justify=justify)
    for bar in bars:
        verdict = bar.get("reason") or ("met" if bar["met"] else "MISSED")
        measured = "-" if bar["measured"] is None else f"{bar['measured']:.3g} {bar['unit']}"
        table.add_row(bar["bar"], f"{bar['sense']} {bar['limit']:.4g} {bar['unit']}", measured, verdict)
    Console().print(table)


def main() -> None:
    """Run the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the cases and leave")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases, added to the results at hand")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--no-peers", action="store_true", help="leave the other libraries out")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one job (default: 600)")
    parser.add_argument("--output", type=Path, help="result file (default: results/cpu-<machine>.json)")
    parser.add_argument("--scratch", type=Path, help="folder for the data, 3 GB (default: a temporary one)")
    options = parser.parse_args()
    known = {case.name: case for case in (cases.quick() if options.quick else cases.full())}
    if options.list:
        for case in known.values():
            print(f"{case.name:12s} {case.title}: {len(case.jobs)} jobs, {case.rounds} round(s)")
        return
    unknown = sorted(set(options.only or []) - set(known))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(known)}")

    here = machine()
    results_file = HERE / "results" / f"cpu-{slug(here)}.json"
    output = options.output or (HERE.parent / "build" / "bench-quick.json" if options.quick else results_file)
    output.parent.mkdir(parents=True, exist_ok=True)
    results: dict = {"cases": {}}
    if options.only and output.exists():
        results = json.loads(output.read_text())

    wanted = sorted({job.library for case in known.values() for job in case.jobs} & set(peers.PEERS))
    if options.no_peers:
        found, skipped = {}, dict.fromkeys(wanted, "left out by --no-peers")
    else:
        console.print(f"Installing {', '.join(wanted)} into {peers.ENVIRONMENT.name}, if they are not there yet ...")
        found, skipped = peers.install(wanted)
    results.update(machine=here, versions=versions(), peers=found, skipped=skipped, quick=options.quick)

    def save(name: str, result: dict) -> None:
        results["cases"][name] = result
        results["bars"] = [] if options.quick else evaluate(results["cases"])  # bars are about the full sizes
        part = output.with_suffix(".part")
        part.write_text(json.dumps(results, indent=1) + "\n")
        part.replace(output)

    start = time.perf_counter()
    if options.scratch is not None:
        options.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        for name in options.only or known:
            console.print(f"[bold]{name}[/bold]: {known[name].title}")
            run_case(known[name], Path(folder), options.timeout, skipped, save)
    if results["bars"]:
        print_bars(results["bars"])
    print(f"{time.perf_counter() - start:.0f} s; written to {output}")


if __name__ == "__main__":
    main()
