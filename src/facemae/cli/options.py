"""Options and arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[str | None, typer.Option("--recipe", help="A recipe file, or the name of one of the package's.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that decode images; 0 uses none.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images read at a time; changes no result.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
In = Annotated[Path, typer.Argument(exists=True)]
Out = Annotated[Path, typer.Argument(help="The directory to make.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Keep embeddings here and use those that are there.")]
