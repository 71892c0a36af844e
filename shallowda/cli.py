"""The command line, ``shallowda``: one module of `shallowda.commands` for each subcommand.

It needs ``pip install "shallowda[cli]"``; `shallowda bench` alone is content with ``[bench]``.
"""

from __future__ import annotations

import sys
from typing import Annotated

from shallowda._version import __version__

try:
    try:
        import typer

        from shallowda.commands import common
    except ImportError as error:
        raise ImportError('The command line needs typer and rich: pip install "shallowda[cli]"') from error

    from shallowda.commands import adapt, bench, data, demo, diagnose, doctor, predict
except KeyboardInterrupt:  # before there is a command that could tell it
    sys.stderr.write("Interrupted.\n")
    sys.exit(130)

__all__ = ["app", "main"]

app = typer.Typer(
    cls=common.Plain,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit status: 0 done, 1 the work failed, 2 refused (usage, files), 130 Ctrl-C, 141 the reader of a pipe is "
    "gone, 143 terminated.",
)


def _say_version(asked: bool) -> None:
    if asked:
        common.put(f"shallowda {__version__}")
        raise typer.Exit


@app.callback()
def shallowda(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version, and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Classical domain adaptation: from a labelled source to an unlabelled target."""


for command in (demo.demo, adapt.adapt, predict.predict, diagnose.diagnose, bench.bench, doctor.doctor):
    app.command()(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point of the console script ``shallowda``."""
    app(prog_name="shallowda")


if __name__ == "__main__":
    main()
