"""The root command: options all commands share, and how they report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from gateway import config, log
from gateway.exits import Exit

out = Console(highlight=False)
"What was asked for."
err = Console(stderr=True, highlight=False)
"Everything else."

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""**Tandem**: one presence and chat system with two doors, XMPP and SIP.

Start it with `tandem run`; look inside with `presence show`, `who-sees`, `sessions`, `bus tail`, `trace`.""",
    epilog="""Exit codes: 0 fine, 1 the answer is no or something failed, 2 wrong command line, 69 gateway,
bus or store not reachable, 70 a process died, 78 the configuration cannot be used.""",
)


@app.callback()
def root(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            envvar="TANDEM_CONFIG",
            help="TOML file. Else ./tandem.toml, else /etc/tandem/tandem.toml, else defaults only. "
            "TANDEM_SECTION__NAME in the environment wins. It goes before the command.",
        ),
    ] = None,
) -> None:
    context.obj = config_file
    log.configure("error", log.LogFormat.TEXT, node="cli")  # what a role says is its own to configure


def example(*lines: str) -> str:
    """The foot of a command's help."""
    return "For example:\n\n" + "\n\n".join(f"`tandem {line}`" for line in lines)


def fail(text: str, code: Exit = Exit.FAILED) -> NoReturn:
    """Say why, and end with the code."""
    err.print(text, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


def settings(context: typer.Context, *, demo: bool | None = None) -> config.Settings:
    """The configuration, or all that is wrong with it and exit code 78."""
    try:
        return config.load(context.obj, demo=demo)
    except config.ConfigError as error:
        err.print("The configuration cannot be used:", style="bold red")
        for problem in error.problems:
            err.print(f"  {problem}", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.CONFIG) from error
