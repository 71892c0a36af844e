"""The parts of benchmarks/gpu_check.py that need no device."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("gpu_check")
    for name in ("gpu_check", "catalogue", "rows"):
        sys.modules.pop(name, None)


def report(gpu_check, **changes):
    found = {"relative_error": 1e-9, "angle": 1e-9, "same_predictions": 1.0, "passes": True}
    steps = [gpu_check.step("Gram", 0.5, 10.0, 40.0, 5.0), gpu_check.step("tiles", 1.0, 8.0, 40.0, None)]
    figures = {
        "device": "NVIDIA Test 100 (80GB)",
        "driver": 13000,
        "date": "2026-01-01",
        "tests": {"passed": True, "summary": "12 passed"},
        "agreement": {"TCA": {"CuPy arrays, float64": found}},
        "ceilings": {"copy": 1e12},
        "steps": steps,
        "fits": [{"name": "TCA", "seconds": 1.0, "cpu_ratio": 12.0}],
    }
    return {**figures, **changes}


def test_figures(gpu_check):
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, 4))
    signs = np.array([1, -1, -1, 1])
    assert gpu_check.relative_error(Z * signs, Z) == 0
    assert gpu_check.relative_error(1.25**0.5 * Z, Z) == pytest.approx(0.25)
    assert gpu_check.principal_angle(Z @ rng.standard_normal((4, 4)), Z) < 1e-12
    turned = np.cos(0.3) * np.eye(5)[:, :1] + np.sin(0.3) * np.eye(5)[:, 1:2]
    assert gpu_check.principal_angle(turned, np.eye(5)[:, :1]) == pytest.approx(0.3)
    step = gpu_check.step("Gram", 0.5, 10.0, 40.0, 5.0)
    assert (step["rate"], step["share"], step["cpu_ratio"]) == (20.0, 0.5, 10.0)


def test_every_estimator_agrees_with_itself_and_float32_is_close(gpu_check):
    X, y = gpu_check.make_rows(160, 30)
    places = {"float64": (np.asarray, "numpy", "float64"), "float32": (np.asarray, "numpy", "float32")}
    found = gpu_check.compared(places, X, y)
    assert set(found) == set(gpu_check.ESTIMATORS)
    for name, figures in found.items():
        assert figures["float64"]["relative_error"] < 1e-12, name
        assert figures["float64"]["same_predictions"] == 1, name
        assert figures["float64"]["passes"], name
        assert 0 < figures["float32"]["relative_error"] < 0.05, name


def test_budget_is_spent_and_scaled(gpu_check):
    budget = gpu_check.Budget(1e-9)
    calls = []
    assert budget.seconds(lambda: calls.append(1), 0.1) > 0
    assert budget.seconds(lambda: calls.append(1)) is None
    assert calls == [1]


def test_report(gpu_check, tmp_path):
    whole = report(gpu_check)
    text = "\n".join(gpu_check.lines(whole))
    for word in ("NVIDIA Test 100", "12 passed", "Gram", "50%", "10.0x", "no CPU", "12.0x"):
        assert word in text
    assert "ABOVE" not in text
    path = gpu_check.save(whole, tmp_path / "results")
    assert path.name == "gpu-nvidia-test-100-80gb.json"
    assert json.loads(path.read_text()) == whole
    assert gpu_check.versions()["numpy"] == np.__version__


def test_what_fails(gpu_check):
    assert gpu_check.passed(report(gpu_check))
    assert not gpu_check.passed(report(gpu_check, tests={"passed": False, "summary": "1 failed"}))
    Z = np.random.default_rng(0).standard_normal((20, 3))
    other = {"values": Z[::-1], "predictions": np.arange(20)}
    found = gpu_check.agreement(
        "TCA", other, {"values": Z, "predictions": np.r_[np.arange(10), np.zeros(10)]}, "float32"
    )
    assert found["same_predictions"] == 0.5
    alike = {"values": -Z, "predictions": np.arange(20)}
    for name in ("TCA", "CORAL"):
        assert gpu_check.agreement(name, alike, {**alike, "values": Z}, "float64")["passes"]
        assert not gpu_check.agreement(name, alike, other, "float64")["passes"]
    bad = report(gpu_check, agreement={"TCA": {"CuPy arrays, float32": found}})
    assert not gpu_check.passed(bad)
    assert "ABOVE THE BOUND" in "\n".join(gpu_check.lines(bad))


def test_without_a_device_it_says_so_and_fails(gpu_check, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "cupy_problem", lambda: "CuPy is not installed")
    assert gpu_check.main(["--sizes", "small"]) == 1
    assert capsys.readouterr().err == "No check was made: CuPy is not installed.\n"
