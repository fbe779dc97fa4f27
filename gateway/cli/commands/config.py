"""`tandem config`: the documented example, or what is in force."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.app import app, example, settings


@app.command(epilog=example("config > tandem.toml", "config --effective"))
def config(
    context: typer.Context,
    effective: Annotated[
        bool,
        typer.Option(
            "--effective", help="What is in force from file, environment and defaults; secrets masked."
        ),
    ] = False,
) -> None:
    """Print a complete, documented configuration file with every default: `tandem config > tandem.toml`."""
    from gateway import reference

    typer.echo(reference.effective(settings(context)) if effective else reference.example(), nl=False)
