"""`tandem run`: the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.app import app, example, settings
from gateway.config import Role


@app.command(epilog=example("--config /etc/tandem/tandem.toml run", "run --only sip --index 2"))
def run(
    context: typer.Context,
    only: Annotated[
        Role | None, typer.Option("--only", help="Serve this role in this process, without a supervisor.")
    ] = None,
    index: Annotated[
        int, typer.Option("--index", min=1, max=64, help="Number of this process among those of its role.")
    ] = 1,
    demo: Annotated[
        bool | None,
        typer.Option("--demo/--no-demo", help="Accounts alice and bob, on loopback; print how to log in."),
    ] = None,
) -> None:
    """Start the gateway: one process per role, restarted when it dies.

    SIGTERM and SIGINT drain (a second one kills), SIGHUP reloads certificates and logging. With `--only`,
    processes are placed by systemd, compose or Kubernetes instead; they meet at `bus.url`, or at the embedded
    Valkey of a supervisor with the same state directory.
    """
    from gateway import processes

    chosen = settings(context, demo=demo)
    if only is None:
        code = processes.supervise(chosen, context.obj)
    else:
        code = processes.serve(chosen, context.obj, only, index)
    raise typer.Exit(code)
