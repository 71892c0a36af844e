"""What the subcommands share: exit statuses, messages, outputs that are whole or not there, and options."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from typer.core import TyperGroup

from shallowda.core.files import replacing

if TYPE_CHECKING:
    from shallowda.datasets.tables import Table

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "REFUSED",
    "STDOUT",
    "AsJson",
    "Drop",
    "Evaluate",
    "Features",
    "Force",
    "Ids",
    "Impute",
    "Labels",
    "OneHot",
    "Out",
    "Plain",
    "Proba",
    "TargetFeatures",
    "atomic",
    "check_dropped",
    "check_outputs",
    "check_used",
    "end",
    "once",
    "plain",
    "put",
    "read_target",
    "require",
    "say",
    "say_json",
    "say_unused",
    "working",
    "write_all",
]

FAILED, REFUSED, INTERRUPTED, UNREAD, TERMINATED = 1, 2, 130, 141, 143
STDOUT = "-"

# Options of every command that reads rows.
Labels = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Labels of the source: column (a name, or a number from 0), array, or a file with nothing else. "
        "By default a column or array of a usual name, such as label, labels, y, class.",
    ),
]
Features = Annotated[
    list[str] | None,  # to notice a second one
    typer.Option(metavar="NAME", help="Array of the features, or Parquet column of lists. By default recognised."),
]
TargetFeatures = Annotated[
    str, typer.Option(metavar="NAME", help="Array of the features in TARGET, where it has another name than in SOURCE.")
]
Ids = Annotated[
    str, typer.Option("--id", metavar="NAME", help="Column or array that names the rows; copied to the predictions.")
]
Drop = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="Leave this column out; may be given several times.")
]
Impute = Annotated[
    str,
    typer.Option(
        metavar="STRATEGY",
        help="Fill missing numbers by the mean, median or most_frequent of the column over both files, and missing "
        "categories by the most frequent. A saved model keeps it.",
    ),
]
OneHot = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Encode this column of categories as one column of 0 and 1 for each; may be given several times. all-text "
        "is every column of text. A saved model keeps it.",
    ),
]
Evaluate = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="True labels of the target, where they are known: only to report the accuracy, never to fit.",
    ),
]
Proba = Annotated[bool, typer.Option("--proba", help="Write a column p(CLASS) for each class too.")]
Out = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="Predictions: .csv, .parquet, or - for standard output (csv).", show_default=True
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace output files that exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]

_WORK_ERRORS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Plain(TyperGroup):
    """A group of commands whose errors tell a user what to change, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; exceptions become messages and exit statuses.

        Parameters
        ----------
        ctx : click.Context

        Returns
        -------
        result : object
            What the command returned.
        """
        signal.signal(signal.SIGTERM, _terminate)
        with _said_plainly(), warnings.catch_warnings():
            warnings.showwarning = lambda message, *others, **more: say(f"Note: {message}")
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except typer.Exit:  # a RuntimeError
        raise
    except KeyboardInterrupt as error:
        say("Interrupted.")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:  # whoever read has read enough, as `head` does; the rest goes nowhere
        _to_nowhere()
        raise typer.Exit(UNREAD) from error
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        say(f"Error: {error}")
        raise typer.Exit(REFUSED) from error
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # told by whoever wrote; Python would try again at its end, and change the status
            _to_nowhere()


def _to_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(number: int, frame: Any) -> NoReturn:
    raise SystemExit(TERMINATED)


def say(text: str) -> None:
    """Print a line for a person, on standard error: standard output is for data.

    Parameters
    ----------
    text : str
    """
    typer.echo(text, err=True)


def say_json(value: Any) -> None:
    """Print one line of JSON on standard output.

    Parameters
    ----------
    value : object
        As `plain` takes it.
    """
    put(json.dumps(plain(value), allow_nan=False))


def put(text: str) -> None:
    """Print text on standard output.

    Parameters
    ----------
    text : str

    Raises
    ------
    typer.Exit
        With status 1 where it cannot be written, as on a full disk.
    """
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"Error: standard output was not written: {error}")
        raise typer.Exit(FAILED) from error


def plain(value: Any) -> Any:
    """The same in types that JSON has: lists for arrays, null for what is not finite.

    Parameters
    ----------
    value : object
        Mappings, sequences and arrays are taken apart; what else has no type in JSON becomes text.

    Returns
    -------
    value : dict, list, str, int, float, bool or None
    """
    import numpy as np

    if isinstance(value, Mapping):
        return {str(plain(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class _Shown(logging.Handler):
    """Progress that the library logs, on the line that moves."""

    def __init__(self, status: Status, what: str) -> None:
        super().__init__(logging.INFO)
        self.status, self.what = status, what

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if record.levelno > logging.INFO:
            say(record.getMessage())
        else:
            line = " ".join(f"{self.what}. {record.getMessage()}".split())
            self.status.update(escape(line[: self.status.console.width - 4]))


@contextmanager
def _shown(what: str) -> Iterator[None]:
    console, logger = Console(stderr=True), logging.getLogger("shallowda")
    if not console.is_terminal:
        yield
        return
    level = logger.level
    with console.status(escape(what)) as status:
        handler = _Shown(status, what)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def working(what: str, failed: dict[str, str] | None = None) -> Iterator[None]:
    """Context of long work: a moving line on a terminal, nothing of it on standard output, status 1 when it fails.

    Parameters
    ----------
    what : str
        The work, as it reads in the line and in a message.
    failed : dict of str to str, optional
        A failure is noted here, and the command goes on; `end` tells it.

    Raises
    ------
    typer.Exit
        With status 1 if the work fails and there is no `failed`.
    """
    with redirect_stdout(sys.stderr), _shown(what):
        try:
            yield
        except _WORK_ERRORS as error:
            message = f"{what} failed: {str(error) or type(error).__name__}"
            if failed is None:
                say(f"Error: {message}")
                raise typer.Exit(FAILED) from error
            failed[what] = message


def check_outputs(outputs: Mapping[str, str | Path | None], inputs: Collection[str | Path], force: bool) -> None:
    """Refuse, before any work, what could not be written or would overwrite something.

    Parameters
    ----------
    outputs : mapping of str to path
        By option; None and "-" are no files.
    inputs : collection of path
    force : bool
        Whether files that exist may be replaced.

    Raises
    ------
    ValueError, OSError
        Naming the option.
    """
    taken: dict[Path, str] = {Path(path).resolve(): "an input" for path in inputs if str(path) != STDOUT}
    for option, place in outputs.items():
        if place is None or str(place) == STDOUT:
            continue
        path = Path(place)
        folder = path.resolve().parent  # what a link leads to is replaced, not the link
        if path.resolve() in taken:
            raise ValueError(f"{option}: {path} is {taken[path.resolve()]} too. Choose another name.")
        taken[path.resolve()] = option
        if path.is_dir():
            raise IsADirectoryError(f"{option}: {path} is a folder; name a file.")
        if path.exists() and not path.is_file():
            raise ValueError(f"{option}: {path} is no regular file; name one. Standard output is -.")
        if not folder.is_dir():
            shown = folder if path.is_symlink() else path.parent
            raise FileNotFoundError(f"{option}: there is no folder {shown}. Make it first.")
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{option}: the folder {folder} is not to be written to.")
        if path.exists() and not force:
            raise FileExistsError(f"{option}: {path} exists. Choose another name, or replace it with --force.")


def check_dropped(drop: Collection[str] | None, *columns: Collection[str]) -> None:
    """Refuse a column to leave out that no file has: a misspelt one would stay in.

    Parameters
    ----------
    drop : collection of str or None
    *columns : collections of str
        Those of each file.

    Raises
    ------
    ValueError
    """
    if unknown := [name for name in drop or () if not any(name in names for names in columns)]:
        from shallowda.core.columns import listed

        raise ValueError(f"--drop: there is no column {unknown[0]!r}; there are {listed(list(columns[0]))}.")


def once(option: str, given: Collection[str] | None) -> str:
    """Value of an option that may be given once.

    Parameters
    ----------
    option : str
        Its name, for the message.
    given : collection of str or None

    Returns
    -------
    value : str
        Empty where it was not given.

    Raises
    ------
    ValueError
        If it was given more than once.
    """
    if given and len(given) > 1:
        raise ValueError(f"{option} can be given once only; it was given {' and '.join(given)}.")
    return next(iter(given or ()), "")


def check_used(option: str, given: str, used: str) -> None:
    """Refuse an option that none of the files has a use for.

    Parameters
    ----------
    option, given : str
        Its name and its value.
    used : str
        What the files made of it; empty where it was of no use.

    Raises
    ------
    ValueError
    """
    if given and not used:
        raise ValueError(f"{option} {given}: text and .npy files have no arrays to choose from. Leave it out.")


def read_target(
    path: str,
    source: str,
    known: Table,
    features: str,
    target_features: str,
    drop: Collection[str] | None,
    **options: Any,
) -> Table:
    """The table of the target, read by what is known of the source.

    Parameters
    ----------
    path, source : str
        Files of the target and of the source.
    known : Table
        Of the source.
    features, target_features : str
        Values of ``--features`` and ``--target-features``.
    drop : collection of str or None
        Values of ``--drop``.
    **options
        Further arguments of `shallowda.datasets.tables.read_table`.

    Returns
    -------
    table : Table

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, an option was of no use to either file, or the rows are those of the source.
    """
    from shallowda.core.columns import listed
    from shallowda.datasets.tables import read_table

    table = read_table(
        path,
        features=target_features or features,
        option="--target-features",
        drop=drop or (),
        unused=known.labels,
        width=known.X.shape[1],
        names=known.names,
        part="tar",
        text=[known.names[place] for place in known.text] if known.names else known.text,
        **options,
    )
    check_dropped(drop, known.columns, table.columns)
    check_used("--features", features, known.features or table.features)
    check_used("--target-features", target_features, table.features)
    if STDOUT in (path, source) or not Path(path).samefile(source):
        return table
    if table.array == known.array:
        told = (
            f"{table.array} would be read as both. Name the array of the target by --target-features; there are "
            f"{listed(table.columns)}"
            if table.array
            else "all its rows would be both. Rows of the target must be in a file of their own"
        )
        raise ValueError(f"{path} is SOURCE and TARGET, and {told}.")
    if table.labels and table.labels == known.labels:
        raise ValueError(f"--evaluate {table.labels}: in {path} these are the labels of the source.")
    return table._replace(unused="" if table.unused == known.labels else table.unused)


def say_unused(name: str, path: str) -> None:
    """Say that there is a column of labels that is left out.

    Parameters
    ----------
    name, path : str
    """
    say(f"Note: {name!r} of {path} is not used. (--evaluate {name} compares the predictions with it.)")


def end(failed: Mapping[str, str]) -> None:
    """Say what failed, and exit accordingly.

    Parameters
    ----------
    failed : mapping of str to str
        Messages, as `working` and `write_all` note them.

    Raises
    ------
    typer.Exit
        With status 1 if there is any.
    """
    for message in failed.values():
        say(f"Error: {message}")
    if failed:
        raise typer.Exit(FAILED)


def require(option: str, extra: str, *packages: str) -> None:
    """Refuse an option whose packages are missing.

    Parameters
    ----------
    option : str
        What needs them.
    extra : str
        Extra of this package that they come with.
    *packages : str

    Raises
    ------
    ImportError
    """
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ImportError(f'{option} needs {" and ".join(missing)}: pip install "shallowda[{extra}]"')


def atomic(path: Path) -> AbstractContextManager[Path]:
    """Context with a name beside `path`, of the same ending, to write to.

    The file appears under its own name, or where a link leads, when it is complete.

    Parameters
    ----------
    path : Path

    Returns
    -------
    context : context manager
        Of the Path to write to.
    """
    return replacing(path, suffix=path.resolve().suffix)


def write_all(writers: Mapping[str, tuple[str | Path, Callable[[], object]]]) -> tuple[dict[str, str], dict[str, str]]:
    """Write each output, also when another one fails.

    Parameters
    ----------
    writers : mapping of str to (path, callable)
        By what it is: where it goes and what writes it.

    Returns
    -------
    written, failed : dict of str to str
        Paths, and what went wrong, by what it is.
    """
    written, failed = {}, {}
    for what, (path, write) in writers.items():
        try:
            write()
        except BrokenPipeError:
            raise
        except _WORK_ERRORS as error:
            place = "standard output" if str(path) == STDOUT else path
            failed[what] = f"{place} was not written: {str(error) or type(error).__name__}"
            continue
        written[what] = str(path)
    return written, failed
