"""Files that replace others: permissions, links, and what is left behind."""

import os
import re
import stat
import sys

import numpy as np
import pytest

import shallowda
from shallowda import CORAL
from shallowda.commands.common import atomic
from shallowda.core.files import replacing

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def with_model(path):
    pytest.importorskip("skops")
    rows = np.random.default_rng(0).standard_normal((20, 2))
    shallowda.save(CORAL().fit(rows, np.repeat([0, 1, -1, -1], 5)), path)


def with_features(path):
    from shallowda.features._extract import _in_file

    _in_file(iter([np.ones((2, 3))]), path, np.dtype(float))


def with_command(path):
    with atomic(path) as scratch:
        assert scratch.suffix == path.resolve().suffix
        scratch.write_text("new")


@pytest.fixture(params=[with_model, with_features, with_command])
def write(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.npy"


@posix
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o444])
def test_permissions_are_kept(write, path, permissions):
    path.write_text("old")
    path.chmod(permissions)
    write(path)
    assert mode(path) == permissions
    assert path.read_bytes() != b"old"
    assert os.listdir(path.parent) == [path.name]


@posix
@pytest.mark.parametrize(("mask", "permissions"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_permissions_of_the_umask(write, path, mask, permissions):
    before = os.umask(mask)
    try:
        write(path)
    finally:
        os.umask(before)
    assert mode(path) == permissions


@posix
@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(write, tmp_path, there):
    (tmp_path / "target").mkdir()
    target, between, link = tmp_path / "target" / "file.npy", tmp_path / "between", tmp_path / "link.npy"
    if there:
        target.write_text("old")
        target.chmod(0o600)
    between.symlink_to("target/file.npy")
    link.symlink_to(between)
    write(link)
    assert link.is_symlink()
    assert between.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() != b"old"
    assert not there or mode(target) == 0o600
    assert os.listdir(target.parent) == [target.name]


@posix
def test_a_missing_folder_is_named(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no such folder to write to: '.*missing'$"):
        write(tmp_path / "missing" / "file.npy")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileNotFoundError, match=r"no such folder to write to: '.*file'$"):
        write(tmp_path / "file" / "file.npy")


def test_links_in_a_circle_are_an_error(path, tmp_path):
    path.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"), replacing(path):
        pass
    assert path.is_symlink()


@posix
def test_nobody_else_reads_what_is_being_written(path):
    path.write_text("old")
    path.chmod(0o644)
    with replacing(path) as scratch:
        assert mode(scratch) == 0o600
    assert mode(path) == 0o644


@posix
def test_a_group_that_cannot_be_kept_leaves_no_right_to_another(path, monkeypatch):
    path.write_text("old")
    path.chmod(0o664)

    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    plain = type(path).stat

    def of_another_group(self, **options):
        found = plain(self, **options)
        return os.stat_result([*found[:5], found.st_gid + 1, *found[6:10]]) if self == path else found

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "stat", of_another_group)
        with replacing(path) as scratch:
            scratch.write_text("new")
    assert mode(path) == 0o604


def test_what_fails_leaves_everything_as_it_was(path):
    path.write_text("old")

    def fail():
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_is_named_before_anything_is_written(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    told = pytest.raises(IsADirectoryError, match=rf"This is a folder, .*: '{re.escape(str(folder))}'$")
    with told, replacing(folder):
        pytest.fail("the work was done")
    assert os.listdir(tmp_path) == ["folder"]
