"""`cmkms cluster birth`: begin the birth of a guard of several anew, where it cannot be finished.

Must never touch a guard that may have answered; that is for `cmkms.guard.offline` to see.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

from typing import Annotated

import typer

from cmkms.cli.confirm import confirm_chain
from cmkms.cli.options import HomeDir, OnlyChain

__all__ = ["birth"]


def birth(
    chain: OnlyChain = None,
    home: HomeDir = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Set this replica's unarmed guard aside; the next start makes a new one.")
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", "--yes", metavar="CHAIN", help="The chain id again, not to be asked for it."),
    ] = None,
) -> None:
    """Begin the birth of the guards anew, where it cannot be finished. The replica must be stopped.

    For replicas whose log or status says so, and only while no replica's guard is armed: a guard that is set aside
    while others are armed is lost to them. Run it on every replica that is told to, then start them all.
    """
    from cmkms.cli.offline import load_one_chain
    from cmkms.guard.disk import PosixDisk
    from cmkms.guard.inspection import inspect_guard
    from cmkms.guard.offline import restart_birth

    site = load_one_chain(home, chain).site
    report = inspect_guard(site)
    if not restart:
        typer.echo(f"{site.chain_id}: {report.state}")
        for problem in report.problems:
            typer.echo(f"{site.chain_id}: {problem}")
        return
    typer.echo(f"chain     {site.chain_id}", err=True)
    typer.echo(f"guard     {report.state}, {report.path}", err=True)
    typer.echo(f"replicas  {', '.join(site.members)}", err=True)
    typer.echo("Go on only if no replica's guard is armed: `cmkms guard show` tells on each of them.", err=True)
    confirm_chain(site.chain_id, confirm, "set this replica's unarmed guard aside")
    aside = restart_birth(site, PosixDisk())
    typer.echo(f"{site.chain_id}: the unarmed guard was set aside as {aside.name}; the next start makes a new one")
    if not site.alone:
        typer.echo("Do the same on every other replica that waits for this birth, then start them all.", err=True)
