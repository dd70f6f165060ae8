"""`cmkms status`: what a running replica says of itself and of its cluster."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cmkms.cli.options import HomeDir, Output, OutputFormat, StatusAddr
from cmkms.cli.reporting import EXIT_FAILED, printable

if TYPE_CHECKING:
    from cmkms.config import HostPort
    from cmkms.http.schema import StatusBody

__all__ = ["status"]


def status(
    home: HomeDir = None,
    http_addr: StatusAddr = None,
    output: Output = OutputFormat.TEXT,
    watch: Annotated[
        float | None, typer.Option("--watch", "-w", metavar="SECONDS", min=0.2, help="Show it again and again.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say whether the cluster can sign now; exit code 0 if it can, else 1.")
    ] = False,
) -> None:
    """Show this replica and its cluster: who holds the lease, who is connected, how far each chain is signed.

    Asks the replica that runs with this home, at its http_addr.
    """
    from cmkms.cli.asking import ask, find_address
    from cmkms.errors import OperatorError

    if check and watch is not None:
        raise OperatorError("--check and --watch: expected one of them; `cmkms cluster wait` waits until it can sign")
    address = find_address(home, http_addr)
    if watch is not None:
        _watch(address, watch, output)
        return
    answer = ask(address)
    if check:
        _check(answer.body)
    elif output is OutputFormat.JSON:
        typer.echo(answer.text)
    else:
        _show(answer.body)


def _check(body: StatusBody) -> None:
    obstacles = body.obstacles()
    for obstacle in obstacles:
        typer.echo(f"cannot sign: {printable(obstacle)}", err=True)
    if obstacles:
        raise typer.Exit(EXIT_FAILED)
    typer.echo(f"can sign: {can_sign_sentence(body)}")


def can_sign_sentence(body: StatusBody) -> str:
    """Say which chains are signed for, and by whom."""
    chains = ", ".join(chain.chain_id for chain in body.chains)
    by = f"{body.lease.holder} holds the lease (term {body.lease.epoch})" if body.lease else f"{body.id} signs alone"
    return printable(f"{chains}; {by}")


def _watch(address: HostPort, seconds: float, output: OutputFormat) -> None:
    """Show it until interrupted. A replica that does not answer for a while is said so, and asked again."""
    from rich.console import Console

    from cmkms.cli.asking import ask
    from cmkms.errors import UnavailableError

    console = Console()
    with suppress(KeyboardInterrupt):
        while True:
            try:
                answer = ask(address)
            except UnavailableError as error:
                typer.echo(printable(str(error)), err=True)
            else:
                if output is OutputFormat.JSON:
                    typer.echo(answer.text)
                else:
                    console.clear()
                    _show(answer.body)
            time.sleep(seconds)


def _show(body: StatusBody) -> None:
    from cmkms.cli.status_page import print_status

    print_status(body)
