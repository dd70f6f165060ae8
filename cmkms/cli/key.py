"""`cmkms key`: make and show a consensus key.

Must never show its private part, nor make one over another.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from cmkms.cli.options import HomeDir, Output, OutputFormat

if TYPE_CHECKING:
    from pathlib import Path

    from cmkms.keys import ConsensusKey

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and show the consensus key.")

_WhichChain = Annotated[
    str | None, typer.Option("--chain-id", metavar="CHAIN", help="Whose key, if config.toml has several chains.")
]


@app.command()
def generate(home: HomeDir = None, chain_id: _WhichChain = None) -> None:
    """Make a new consensus key, for a validator that has none yet. Never overwrites."""
    from cmkms.config import Flags, locate_key_file
    from cmkms.home import make_private_dir
    from cmkms.keys import generate_key, write_key_file

    path = locate_key_file(Flags(home=home, chain_id=chain_id), os.environ)
    # Each of several chains has a folder of its own, which is not there yet.
    make_private_dir(path.parent)
    key = generate_key()
    write_key_file(path, key)
    _print_key(path, key)
    typer.echo("\nThis key is new. It signs for nobody until it is registered on the chain: in the genesis file, or by")
    typer.echo("the transaction that creates the validator. Keep a copy offline: nobody else can restore it.")


@app.command()
def show(home: HomeDir = None, chain_id: _WhichChain = None, output: Output = OutputFormat.TEXT) -> None:
    """Print public key, address, and the pub_key for a genesis file."""
    from cmkms.config import Flags, locate_key_file
    from cmkms.keys import genesis_pub_key, load_key_file

    path = locate_key_file(Flags(home=home, chain_id=chain_id), os.environ)
    key = load_key_file(path)
    if output is OutputFormat.TEXT:
        _print_key(path, key)
        return
    shown = {
        "file": str(path),
        "type": key.type_name,
        "address": key.address,
        "public_key": key.pub_key.hex(),
        "pub_key": genesis_pub_key(key.pub_key),
    }
    typer.echo(json.dumps(shown, indent=2))


def _print_key(path: Path, key: ConsensusKey) -> None:
    from cmkms.keys import genesis_pub_key

    typer.echo(f"file        {path}")
    typer.echo(f"type        {key.type_name}")
    typer.echo(f"address     {key.address}")
    typer.echo(f"public key  {key.pub_key.hex()}")
    typer.echo(f"pub_key     {json.dumps(genesis_pub_key(key.pub_key))}")
