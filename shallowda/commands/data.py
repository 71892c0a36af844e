"""``shallowda data``: which data sets there are, where their files are, and getting them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from shallowda.commands import common
from shallowda.commands.common import FAILED, say, say_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


def _names(incomplete: str) -> list[str]:
    from shallowda.datasets.store import registry

    return [name for name in registry() if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(help="Name of `shallowda data list`.", autocompletion=_names, show_default=False)]


@app.callback()
def data() -> None:
    """Data sets of the literature: list, fetch, find."""


@app.command("list")
def list_(as_json: common.AsJson = False) -> None:
    """List the data sets, and which of their domains are at hand."""
    from shallowda.datasets.store import domains_at_hand, folder, known_domains, registry

    home = folder(None)
    entries = [
        {
            "name": key,
            "domains": list(known_domains(key)),
            "at_hand": list(domains_at_hand(key, home)),
            "n_features": entry["n_features"],
            "features": entry["feature_description"],
            "licence": entry["licence"],
            "source": entry["source"],
        }
        for key, entry in registry().items()
    ]
    if as_json:
        say_json({"folder": str(home), "datasets": entries})
        return
    for entry in entries:
        typer.echo(f"{entry['name']}: {entry['n_features']} features, {entry['features']}")
        typer.echo(f"    domains  {', '.join(entry['domains'])}")
        typer.echo(f"    at hand  {', '.join(entry['at_hand']) or 'none'}")
        typer.echo(f"    licence  {entry['licence']}")
    say(f"Folder: {home}")


@app.command()
def fetch(
    name: Name,
    domain: Annotated[
        list[str] | None, typer.Option(help="Only this domain; may be given several times. By default all.")
    ] = None,
    as_json: common.AsJson = False,
) -> None:
    """Download what is not at hand, check it, and say where it is."""
    from shallowda.datasets.loaders import fetch_registered
    from shallowda.datasets.store import obtain

    key = _known(name, domain or ())
    try:
        found = fetch_registered(key, domains=domain or None)
        files = obtain(key, found.domain_names, None, False)
    except OSError as error:  # no network, or no public copy: the request was right
        say(f"Error: {error}")
        raise typer.Exit(FAILED) from error
    rows = {name: int((found.sample_domain == code).sum()) for code, name in enumerate(found.domain_names)}
    _say_files({name: path for name, (path, _) in files.items()}, as_json, {"rows": rows})


@app.command()
def path(name: Name = "", as_json: common.AsJson = False) -> None:
    """Say where the data folder is, or the files of a data set that are at hand."""
    from shallowda.datasets.store import domains_at_hand, folder, obtain

    home = folder(None)
    if not name:
        _say_files({"": home}, as_json, {})
        return
    key = _known(name)
    domains = domains_at_hand(key, home)
    if not domains:
        say(f"Error: no file of {key} is in {home}. `shallowda data fetch {key}` downloads what is public.")
        raise typer.Exit(FAILED)
    _say_files({domain: path for domain, (path, _) in obtain(key, domains, None, False).items()}, as_json, {})


def _known(name: str, domains: Sequence[str] = ()) -> str:
    """The key of the registry that a name means, if it has these domains."""
    from shallowda.datasets.store import known_domains, registry

    keys = [key for key in registry() if name in (key, key.partition("[")[0])]
    if not keys:
        close = get_close_matches(name, registry(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"There is no data set {name!r}{hint} There are {', '.join(registry())}.")
    if len(keys) > 1:
        raise ValueError(f"{name} comes with several kinds of features: name one of {', '.join(keys)}.")
    if unknown := [domain for domain in domains if domain not in known_domains(keys[0])]:
        raise ValueError(f"{keys[0]} has no domain {unknown[0]!r}; it has {', '.join(known_domains(keys[0]))}.")
    return keys[0]


def _say_files(files: dict[str, Path], as_json: bool, more: dict[str, dict]) -> None:
    """Each file once, a line each, for other programs to read."""
    if as_json:
        say_json({"files": files} | more)
        return
    for place in dict.fromkeys(files.values()):
        typer.echo(str(place))
