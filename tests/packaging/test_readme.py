"""The README's blocks run as written, in their order, in one folder and with the names of the blocks before them."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w*)(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_HERE = ("pip install", "make ")  # of another environment, or what runs this test
NEEDS = {  # what a block holds, and what it needs besides the packages of the tests
    "import torch": ("torch", find_spec("torch") is not None),
    "fetch_": ("SHALLOWDA_DATA", "SHALLOWDA_DATA" in os.environ),
}


def run_console(code):
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for line in code.strip().splitlines():
        prompt, command = line[:2], line[2:]
        assert prompt == "$ ", line
        if not command.startswith(NOT_HERE):
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_blocks_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, left_out = {}, []
    for language, code in BLOCK.findall(README.read_text(encoding="utf-8")):
        missing = [what for text, (what, there) in NEEDS.items() if text in code and not there]
        if missing:
            left_out += missing
        elif language == "python":
            exec(compile(code, "README.md", "exec"), names)
        elif language == "console":
            run_console(code)
        elif language == "toml":
            Path("my_benchmark.toml").write_text(code)
        else:
            assert all(line.startswith(NOT_HERE) for line in code.split("\n") if line), code
    assert {"predictions.csv", "jda.skops", "report.html", "labels.csv", "model.skops"} <= set(os.listdir())
    labels = Path("labels.csv").read_text().splitlines()[1:]
    right = [line.split(",")[1] == str(true) for line, true in zip(labels, names["yt"][400:], strict=True)]
    assert sum(right) > 0.9 * len(right)
    if left_out:
        pytest.skip(f"all ran but blocks that need {' and '.join(left_out)}")
