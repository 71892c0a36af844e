"""``shallowda demo``: the demonstration, as ``python -m shallowda.demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    output: Annotated[Path, typer.Option(help="Folder of the picture.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Seed of the printed digits.", min=0, max=2**32 - 1)] = 0,
    samples: Annotated[int, typer.Option(help="Digits per domain.", min=100)] = 2000,
) -> None:
    """Adapt from printed digits to handwritten ones by every method; a table and a picture."""
    from shallowda.demo import main

    main(["--output", str(output), "--seed", str(seed), "--samples", str(samples)])
