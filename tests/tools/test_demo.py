"""The demo runs from start to end, fast enough to be tested, and fails politely without its extra."""

import sys

import pytest

from shallowda import all_methods
from shallowda.demo import main

METHODS = [
    name for name, method in all_methods().items() if {"unsupervised", "pseudo-labels"} & set(method.card.settings)
]


def test_table_names_every_method_and_picture_is_written(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    folder = tmp_path / "new" / "folder"
    assert main(["--output", str(folder), "--samples", "200", "--seed", "1"]) == 0
    printed = capsys.readouterr()
    rows = {line.split()[0]: line for line in printed.out.splitlines() if "%" in line}
    assert list(rows) == ["Source", *METHODS]
    accuracy = {name: float(line[: line.index("%")].split()[-1]) for name, line in rows.items()}
    assert all(0 <= value <= 100 for value in accuracy.values())
    assert all(30 < accuracy[name] < 95 for name in ("Source", "JDA", "CORAL"))
    gain = float(rows["JDA"][rows["JDA"].index("%") + 1 :].split()[0])
    assert gain == pytest.approx(accuracy["JDA"] - accuracy["Source"], abs=0.11)
    assert "Adapting" not in printed.out + printed.err  # no progress bar in a pipe
    assert str(folder / "demo.png") in printed.out
    with image.open(folder / "demo.png") as picture:
        assert picture.size > (1500, 800)
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 1000
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("package", ["matplotlib", "PIL", "rich"])
def test_missing_extra_is_one_message_and_status_1(monkeypatch, capsys, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stopped:
        main(["--output", str(tmp_path / "unused")])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert package in message
    assert 'pip install "shallowda[demo]"' in message
    assert message.count("\n") == 1
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--samples", "50", "--samples must be at least 100, got 50"),
        ("--seed", "-1", "--seed must be between 0 and"),
        ("--output", __file__, "--output cannot be created"),
    ],
)
def test_bad_argument_is_named(capsys, option, value, message):
    with pytest.raises(SystemExit) as stopped:
        main([option, value])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
