"""docs/performance.md and its figures, from the results: ``python benchmarks/report.py [results/cpu-<machine>.json]``.

The page is generated as a whole; nothing in it is written by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import cases
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"

# Okabe and Ito's colours, told apart with any colour vision; markers and dashes repeat the distinction
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A00", "#767676"]
MARKERS = "osD^vPX*<"
STYLES = {"shallowda": "-", "floor": ":", "textbook": "-."}  # peers: dashed


def markdown(header: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; columns after the first are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def seconds(value: float | None) -> str:
    """Three digits."""
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def mebibytes(value: float | None) -> str:
    """Whole MiB."""
    return "-" if value is None else f"{value:.0f}"


def sweeps(results: dict) -> dict[str, dict[int, dict]]:
    """Runs by label and n, over all cases ``sweep-...``."""
    found: dict[str, dict[int, dict]] = {}
    for name, case in results["cases"].items():
        if name.startswith("sweep-"):
            for label, run in case["runs"].items():
                found.setdefault(label, {})[run["n"]] = run
    return found


def growing(results: dict) -> dict[str, dict[int, dict]]:
    """Runs of the case ``growth`` by label and n."""
    found: dict[str, dict[int, dict]] = {}
    for label, run in results["cases"].get("growth", {"runs": {}})["runs"].items():
        found.setdefault(label.split(", n = ")[0], {})[run["n"]] = run
    return found


def slope(runs: dict[int, dict], quantity: str = "seconds") -> str:
    """Growth exponent over the sizes that were measured."""
    points = [(n, run[quantity]) for n, run in sorted(runs.items()) if run.get(quantity, 0) > 0]
    return f"{cases.exponent(*zip(*points, strict=True)):.2f}" if len(points) > 1 else "-"


def over_sizes(found: dict[str, dict[int, dict]]) -> str:
    """Time over n, memory at the largest n, exponent and note of each label."""
    sizes = sorted({n for runs in found.values() for n in runs})
    rows = []
    for label, runs in found.items():
        last = next((runs[n] for n in reversed(sizes) if "memory_mib" in runs.get(n, {})), {})
        note = next((run["note"] for run in runs.values() if run["note"]), "")
        memory = mebibytes(last.get("memory_mib")) + (f" (n = {last['n']})" if last else "")
        rows.append([label, *[seconds(runs.get(n, {}).get("seconds")) for n in sizes], slope(runs), memory, note])
    return markdown(["", *[f"n = {n}" for n in sizes], "exponent", "MiB beyond the input", "remark"], rows)


def failures(runs: dict[str, dict]) -> str:
    """What was not measured, and why."""
    lines = [f"- {label}: {run['error']}" for label, run in runs.items() if "error" in run]
    return "\nNot measured:\n\n" + "\n".join(lines) + "\n" if lines else ""


def bars_table(bars: list[dict]) -> str:
    """Every bar with its figure."""
    rows = []
    for bar in bars:
        measured = "-" if bar["measured"] is None else f"{bar['measured']:.3g} {bar['unit']}"
        verdict = bar.get("reason") or ("met" if bar["met"] else "**missed**")
        limit = f"{bar['sense']} {bar['limit']:.4g} {bar['unit']}"
        rows.append([bar["bar"], limit, measured, verdict, f"`{bar['case']}`"])
    return markdown(["what", "bar", "measured", "", "case"], rows)


def floors_table(found: dict[str, dict[int, dict]]) -> str:
    """Our times over those of the floors of the same array."""
    linear, full = ["Gram product", "PCA covariance_eigh"], ["product of K", "K @ 32 columns"]
    ours = [label for label, runs in found.items() if next(iter(runs.values()))["library"] == "shallowda"]
    sizes = sorted({n for runs in found.values() for n in runs})
    rows = []
    for label in [label for label in ours if not label.endswith("float32")]:
        for floor in full if "rbf" in label else linear:
            pairs = [(found[label].get(n, {}), found.get(floor, {}).get(n, {})) for n in sizes]
            ratios = [a["seconds"] / b["seconds"] if "seconds" in a and "seconds" in b else None for a, b in pairs]
            rows.append([f"{label} over {floor}", *map(seconds, ratios)])
    return markdown(["fit and predict, as a multiple", *[f"n = {n}" for n in sizes]], rows)


def single(case: dict) -> str:
    """A case of one size."""
    rows = [
        [
            label,
            seconds(run.get("fit_s")),
            seconds(run.get("predict_s")),
            mebibytes(run.get("memory_mib")),
            str(run.get("passes") or "-"),
        ]
        for label, run in case["runs"].items()
        if "error" not in run
    ]
    table = markdown(["", "fit, s", "predict, s", "MiB beyond the input", "passes"], rows)
    return f"## {case['title']}\n\n{table}\n{failures(case['runs'])}"


def accuracy_table(case: dict) -> str:
    """Distances by path, one column for each shape and dtype."""
    columns = [label for label, run in case["runs"].items() if "paths" in run]
    paths = list(dict.fromkeys(path for label in columns for path in case["runs"][label]["paths"]))
    rows = []
    for path in paths:
        found = [case["runs"][label]["paths"][path] for label in columns]
        rows.append([path, found[0]["quantity"], *[f"{one['angle']:.1e}" for one in found]])
    return markdown(["", "quantity", *columns], rows)


def plot(found: dict[str, dict[int, dict]], quantity: str, title: str, path: Path) -> None:
    """Log-log lines of a figure over n."""
    fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for i, (label, runs) in enumerate(found.items()):
        points = [(n, run[quantity]) for n, run in sorted(runs.items()) if run.get(quantity, 0) > 0]
        if not points:
            continue
        library = next(iter(runs.values()))["library"]
        style = STYLES.get(library, "--")
        name = f"{library} {label}" if library == "shallowda" else label
        ax.plot(
            *zip(*points, strict=True),
            style,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            label=name,
        )
    ax.set(xscale="log", yscale="log", title=title, xlabel="rows n of both domains")
    ax.set_ylabel("seconds, fit and predict" if quantity == "seconds" else "peak memory beyond the input, MiB")
    ax.grid(which="both", alpha=0.25)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def figures(results: dict, folder: Path) -> list[tuple[str, str]]:
    """Draw what there is; return file names and captions."""
    found, large = sweeps(results), growing(results)

    def chosen(*labels: str) -> dict[str, dict[int, dict]]:
        return {label: found[label] for label in labels if label in found}

    tca = chosen("TCA", "skada TCA", "adapt TCA", "pykale MIDA", "textbook TCA", "Gram product")
    rbf = chosen("TCA rbf", "JDA rbf", "skada TCA rbf", "textbook TCA rbf", "textbook JDA rbf", "product of K")
    maps = chosen("CORAL", "SA", "GFK", "skada CORAL", "skada SA", "adapt SA", "Gram product")
    ours = chosen("TCA", "JDA", "BDA", "TJM", "ARTL", "SA", "Gram product", "PCA covariance_eigh")
    plots = [
        (tca, "seconds", "TCA, linear kernel, d = {d}", "tca-time"),
        (tca, "memory_mib", "TCA, linear kernel, d = {d}", "tca-memory"),
        (rbf, "seconds", "RBF kernel, d = {d}", "rbf-time"),
        (maps, "seconds", "CORAL, SA and GFK, d = {d}", "maps-time"),
        (ours, "seconds", "Linear methods and their floors, d = {d}", "linear-time"),
        (large, "seconds", "From a memory-mapped float32 file, d = {d}", "growth-time"),
        (large, "memory_mib", "From a memory-mapped float32 file, d = {d}", "growth-memory"),
    ]
    drawn = []
    for group, quantity, title, name in plots:
        if any(quantity in run for runs in group.values() for run in runs.values()):
            d = next(run["d"] for runs in group.values() for run in runs.values())
            plot(group, quantity, title.format(d=d), folder / f"{name}.png")
            what = "time" if quantity == "seconds" else "memory beyond the input"
            drawn.append((f"{name}.png", f"{title.format(d=d)}: {what}"))
    return drawn


def page(results: dict, pictures: list[tuple[str, str]]) -> str:
    """The whole page."""
    machine, done = results["machine"], results["cases"]
    found, large = sweeps(results), growing(results)
    listed = ", ".join(f"{name} {version}" for name, version in {**results["versions"], **results["peers"]}.items())
    dates = sorted(case["date"] for case in done.values())
    parts = [
        "# Performance",
        "Generated by `python benchmarks/report.py` from the results of `python benchmarks/run.py`; do not edit.",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; BLAS: "
        f"{'; '.join(machine['blas'])}. {listed}. Measured {dates[0]} to {dates[-1]}.",
        "Times are medians of repetitions that take turns, each process with one job; absolute times do not carry to "
        "another machine, ratios roughly do. Memory is the peak resident size beyond that of the warm process with its "
        "input. Data: a mixture of 31 Gaussians with a power-law spectrum, unit rows, half source, half target.",
    ]
    parts += [f"{peer} was skipped: {reason}" for peer, reason in results["skipped"].items()]
    if results["bars"]:
        parts += ["## Bars", bars_table(results["bars"])]
    if found:
        runs = {f"{label}, n = {n}": run for label, sized in found.items() for n, run in sized.items()}
        d = next(iter(runs.values()))["d"]
        parts += [f"## Methods over n, d = {d}, seconds of fit and predict", over_sizes(found) + failures(runs)]
        parts += ["## Over the floors", floors_table(found)]
    parts += [single(done[name]) for name in ("jda", "kernel", "laplacian", "neighbours", "threads") if name in done]
    if large:
        parts += [f"## {done['growth']['title']}"]
        parts += [
            "Target rows are labelled by the nearest class mean: exact nearest neighbours are quadratic in n, whatever "
            "the method costs. The pages of the file are resident and count as input."
        ]
        parts += [over_sizes(large) + failures(done["growth"]["runs"])]
    if "accuracy" in done:
        parts += [f"## {done['accuracy']['title']}"]
        parts += [
            "Largest principal angle in radians between the subspace found and that of the textbook solution in "
            "float64; where the result is not a subspace (the map of CORAL, the kernel of GFK, the scores of ARTL), "
            "the relative difference. JDA and BDA are compared for the labels that they settle on."
        ]
        parts += [accuracy_table(done["accuracy"]) + failures(done["accuracy"]["runs"])]
    parts += [f"## {caption}\n\n![{caption}](figures/{name})" for name, caption in pictures]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> None:
    """Write the page and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, help="default: the newest results/cpu-*.json")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write to (default: docs)")
    options = parser.parse_args()
    at_hand = sorted((HERE / "results").glob("cpu-*.json"), key=lambda path: path.stat().st_mtime)
    if options.results is None and not at_hand:
        parser.error("no results yet: run python benchmarks/run.py")
    results = json.loads((options.results or at_hand[-1]).read_text())
    options.docs.mkdir(parents=True, exist_ok=True)
    text = page(results, figures(results, options.docs / "figures"))
    (options.docs / "performance.md").write_text(text)
    print(f"written: {options.docs / 'performance.md'}")


if __name__ == "__main__":
    main()
