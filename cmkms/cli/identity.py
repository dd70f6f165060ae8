"""`cmkms identity`: by which key a replica is known to the others.

Must never show its private part.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from cmkms.cli.options import HomeDir, Output, OutputFormat

if TYPE_CHECKING:
    from cmkms.config import OwnEntry

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="By which key this replica is known to the others.")


@app.callback()
def group() -> None:
    """By which key this replica is known to the others."""


@app.command()
def show(
    home: HomeDir = None,
    replica_id: Annotated[str | None, typer.Option("--id", metavar="NAME", help="Name of this replica.")] = None,
    raft_addr: Annotated[
        str | None, typer.Option("--raft-addr", metavar="HOST:PORT", help="Where the others reach this one.")
    ] = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Print this replica's line for the list of members, `id=host:port#PIN`: it goes into every replica's config.toml.

    Name and address are those of config.toml, which need not be finished. The pin is the public identity key.
    """
    from cmkms.config import Flags, find_own_entry
    from cmkms.keys import load_identity

    entry = find_own_entry(Flags(home=home, id=replica_id, raft_addr=raft_addr), os.environ)
    identity = load_identity(entry.home.identity_file)
    pin = identity.public_key.hex()
    line = f"{entry.id or 'ID'}={entry.addr or 'HOST:PORT'}#{pin}"
    if output is OutputFormat.JSON:
        address = str(entry.addr) if entry.addr else None
        shown = {"id": entry.id, "address": address, "pin": pin, "line": line, "node_id": identity.node_id}
        typer.echo(json.dumps(shown, indent=2))
    else:
        typer.echo(line)
    for hint in _hints(entry):
        typer.echo(hint, err=True)


def _hints(entry: OwnEntry) -> list[str]:
    hints: list[str] = []
    if entry.id is None:
        hints.append("ID: this replica has no name yet; put it there, or give --id.")
    if entry.addr is None:
        hints.append(
            "HOST:PORT: put the address there at which the other replicas reach this one (or give --raft-addr)."
        )
    elif entry.addr.is_loopback:
        hints.append(f"{entry.addr} is reached from this machine only; others need an address of its network.")
    return hints
