"""`cmkms start`: run this replica."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cmkms.cli.options import takes_settings

if TYPE_CHECKING:
    from cmkms.config import Flags

__all__ = ["start"]


@takes_settings()
def start(
    flags: Flags,
    never_signed: Annotated[
        list[str] | None,
        typer.Option(
            "--never-signed", metavar="CHAIN", help="Said once: the key of CHAIN never signed anything, anywhere."
        ),
    ] = None,
) -> None:
    """Sign, until told to stop.

    Every flag but --never-signed is also an environment variable (CMKMS_HTTP_ADDR) and all but --home a key of
    config.toml (http_addr). Flags win over variables, variables over the file.
    """
    from cmkms.config import load_config
    from cmkms.node import run

    raise typer.Exit(run(load_config(flags, os.environ), frozenset(never_signed or ())))
