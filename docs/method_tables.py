"""Tables of the methods, written from the catalogue into the pages that have a place for them.

    make tables                             # after a method was added, or its card changed
    python docs/method_tables.py --print    # on the screen only

A place is what stands between ``<!-- methods: NAME -->`` and ``<!-- end of methods -->``; NAME is a function below. A
test says which page is not up to date.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shallowda import all_methods
from shallowda.core.catalogue import SCALINGS, family_of

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(r"(<!-- methods: (\w+) -->\n).*?(<!-- end of methods -->)", re.DOTALL)


def table(head: str, rows: Iterator[str]) -> str:
    """A table in Markdown from its head and its rows."""
    rule = "|".join([" --- "] * (head.count("|") - 1))
    return "\n".join([head, f"|{rule}|", *rows])


def page_of(method: Any) -> str:
    """Name of a method's page in docs/methods."""
    return method.__module__.rpartition(".")[2]


def readme() -> str:
    """What each method does, and when to use it."""
    return table(
        "| estimator | what it does | adapts by labels | use it when |",
        (
            f"| `{name}` | {method.card.idea} | {'no' if 'unsupervised' in method.card.settings else 'yes'} | "
            f"{method.card.use_when} |"
            for name, method in all_methods().items()
        ),
    )


def guide() -> str:
    """When each method helps, and when it does not."""
    return table(
        "| estimator | what it does | try it when | fails when |",
        (
            f"| {{doc}}`{name} <../methods/{page_of(method)}>` | {method.card.idea} | {method.card.use_when} | "
            f"{method.card.fails_when} |"
            for name, method in all_methods().items()
        ),
    )


def scaling() -> str:
    """Which rows each method is meant for."""
    of_scaling = {
        key: ", ".join(f"`{name}`" for name, method in all_methods().items() if method.card.scaling == key)
        for key in SCALINGS
    }
    return table(
        "| scaling | methods |", (f"| {SCALINGS[key]} | {methods} |" for key, methods in of_scaling.items() if methods)
    )


def papers() -> str:
    """Papers and families."""
    return table(
        "| method | paper | family |",
        (
            f"| {{doc}}`{method.card.title} <{page_of(method)}>` (`{name}`) | {method.card.paper} | "
            f"{family_of(method).replace('_', ' ')} |"
            for name, method in all_methods().items()
        ),
    )


def pages() -> str:
    """The pages of all methods, for the table of contents."""
    return "\n".join(["```{toctree}", ":hidden:", "", *map(page_of, all_methods().values()), "kernels", "```"])


TABLES: dict[str, Callable[[], str]] = {made.__name__: made for made in (readme, guide, scaling, papers, pages)}


def written(text: str) -> str:
    """A page with every table anew."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}\n{place[3]}", text)


def outdated() -> Iterator[tuple[Path, str]]:
    """Pages whose tables are not those of the catalogue, and their text as it should be."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        before = page.read_text(encoding="utf-8")
        if (after := written(before)) != before:
            yield page, after


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    if parser.parse_args().print:
        print(*(made() for made in TABLES.values()), sep="\n\n")
        return
    for page, text in outdated():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
