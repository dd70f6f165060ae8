"""`cmkms config`: what is configured, and whether it can be."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import typer

from cmkms.cli.options import Output, OutputFormat, takes_settings

if TYPE_CHECKING:
    from cmkms.config import Flags

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check and show the configuration.")


@app.command()
@takes_settings()
def check(flags: Flags) -> None:
    """Say what is wrong with flags, variables and config.toml together; exit code 0 if nothing is, else 2."""
    from cmkms.config import check_own_pin, load_config

    config = load_config(flags, os.environ)
    check_own_pin(config)
    chains = ", ".join(chain.id for chain in config.chains)
    if len(config.peers) == 1:
        typer.echo(f"The configuration is good: {config.id} is the only signer of {chains}.")
    else:
        members = ", ".join(peer.id for peer in config.peers)
        count = len(config.peers)
        typer.echo(
            f"The configuration is good: {config.id} is one of {count} replicas ({members}) that sign for {chains}."
        )
    for warning in config.warnings:
        typer.echo(f"Warning: {warning}")
    if not os.path.lexists(config.home.identity_file):
        typer.echo(f"Still missing: the identity for connections, {config.home.identity_file}")
        typer.echo("  take it from the backup, or from a new home (cmkms init) if no guard was born with it")
    for chain in config.chains:
        if not os.path.lexists(chain.key_file):
            typer.echo(f"Still missing: the consensus key of {chain.id}, {chain.key_file}")


@app.command()
@takes_settings()
def show(flags: Flags, output: Output = OutputFormat.TEXT) -> None:
    """Show every value in force, and where it came from."""
    from cmkms.config import resolve_config

    values = resolve_config(flags, os.environ).values
    if output is OutputFormat.JSON:
        rows = [{"key": value.key, "value": value.value, "source": value.source} for value in values]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    key_width = max(len(value.key) for value in values)
    source_width = max(len(value.source) for value in values)
    for value in values:
        typer.echo(f"{value.key:{key_width}}  {value.source:{source_width}}  {value.value}")
