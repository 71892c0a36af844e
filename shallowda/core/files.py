"""Files that appear under their name when they are complete."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike, *, suffix: str = "") -> Iterator[Path]:
    """Context with a name beside `path` to write to, which takes the place of `path` if all goes well.

    A file that is replaced leaves its permissions to the new one, which nobody else may read until then; a new file has
    those of the umask. Symbolic links are followed, as `open` follows them. Access control lists and extended
    attributes are not kept, and other hard links keep the old content.

    Parameters
    ----------
    path : path-like
    suffix : str, default=""
        Of the name to write to, for writers that look at it.

    Raises
    ------
    FileNotFoundError
        If there is no folder to write to; it is named.
    IsADirectoryError
        If `path` is a folder itself.

    Yields
    ------
    scratch : Path
        An empty file, of this call only: threads may write to one path.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder to write to", str(target.parent))
    if target.is_dir():  # os.replace would say so too, after the work, and would name the scratch file
        raise IsADirectoryError(errno.EISDIR, "This is a folder, and a file is to be written", str(target))
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    scratch = target.with_name(f".{uuid4().hex}{suffix}")
    os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if old is None else 0o600))
    try:
        yield scratch
        if old is not None:
            scratch.chmod(_permissions(scratch, old))
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def _permissions(scratch: Path, old: os.stat_result) -> int:
    """The old file's permissions, after its owner and group were given to the new one as far as the system lets us."""
    mode = stat.S_IMODE(old.st_mode)
    if not hasattr(os, "chown"):
        return mode
    for owner, group in ((old.st_uid, -1), (-1, old.st_gid)):
        with suppress(PermissionError):
            os.chown(scratch, owner, group)
    return (
        mode if scratch.stat().st_gid == old.st_gid else mode & ~stat.S_IRWXG
    )  # another group had no right to read it
