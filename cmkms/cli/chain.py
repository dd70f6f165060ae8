"""`cmkms chain`: what an operator may allow a chain."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

from typing import Annotated

import typer

from cmkms.cli.options import Chain, HomeDir

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What a chain may do.")


@app.callback()
def group() -> None:
    """What a chain may do."""


@app.command(name="allow-height")
def allow_height(
    chain: Chain,
    height: Annotated[int, typer.Argument(metavar="HEIGHT", min=1, help="A height that the chain has really reached.")],
    home: HomeDir = None,
) -> None:
    """Lift the guard's height ceiling. Signs nothing, and forgets nothing. The signer must be stopped.

    The ceiling keeps a broken or hostile node from having an absurd height signed, after which no real one could be.
    """
    from cmkms.cli.offline import load_one_chain
    from cmkms.guard.disk import PosixDisk
    from cmkms.guard.offline import allow_height as lift
    from cmkms.guard.offline import caution

    site = load_one_chain(home, chain).site
    ceiling = lift(site, PosixDisk(), height)
    typer.echo(
        f"{chain}: heights up to {ceiling} are allowed now" if ceiling else f"{chain}: any first height is allowed"
    )
    if warning := caution(site):
        typer.echo(warning, err=True)
