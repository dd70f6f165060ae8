"""`cmkms state`: the highest thing signed, in and out of CometBFT's form."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from cmkms.cli.options import Chain, HomeDir, MaybeChain, OnlyChain, Output, OutputFormat

__all__ = ["app"]

_SEALED: Final = ", sealed: nothing is signed at or below it"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show, import and export what was signed last.")


@app.command()
def show(
    chain: MaybeChain = None,
    home: HomeDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show how far each chain has been signed. Works beside a running signer."""
    from cmkms.cli.offline import load_chains
    from cmkms.guard.inspection import inspect_guard

    reports = [inspect_guard(loaded.site) for loaded in load_chains(home, chain)]
    if output is OutputFormat.JSON:
        rows = [
            {
                "chain_id": report.chain_id,
                "height": report.record.hrs.height if report.record else None,
                "round": report.record.hrs.round if report.record else None,
                "step": int(report.record.hrs.step) if report.record else None,
                "sealed": report.record.sign_bytes is None if report.record else None,
            }
            for report in reports
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for report in reports:
        if report.record is None:
            typer.echo(f"{report.chain_id}: {'; '.join(report.problems)}")
            continue
        # Every guard begins sealed at 0/0/0, where nothing can be signed anyway.
        sealed = not report.record.sign_bytes and report.record.hrs.height
        typer.echo(f"{report.chain_id}: {report.record.hrs} (height/round/step){_SEALED if sealed else ''}")


@app.command(name="import")
def import_(
    chain: Chain,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A priv_validator_state.json.")],
    home: HomeDir = None,
) -> None:
    """Raise the guard to a state file of CometBFT's form. Never lowers it. The signer must be stopped."""
    from cmkms.cli.offline import load_one_chain
    from cmkms.guard.disk import PosixDisk
    from cmkms.guard.offline import caution, import_state

    site = load_one_chain(home, chain).site
    done = import_state(site, PosixDisk(), file)
    if warning := caution(site):
        typer.echo(warning, err=True)
    if not done.moved:
        typer.echo(f"{chain}: the guard stood at {done.before} already, nothing to raise")
        return
    sealed = _SEALED if done.sealed else ""
    typer.echo(f"{chain}: the guard was raised from {done.before} to {done.after}{sealed}")


@app.command()
def export(
    chain: OnlyChain = None,
    home: HomeDir = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write a new file instead of standard output.")
    ] = None,
) -> None:
    """Write what was signed last as a priv_validator_state.json, for a node that goes on with the key itself.

    The signer must be stopped, and stay so: from here on the other one signs.
    """
    from cmkms.cli.offline import load_one_chain
    from cmkms.errors import OperatorError
    from cmkms.guard.offline import export_state
    from cmkms.home import create_durably

    loaded = load_one_chain(home, chain)
    content = export_state(loaded.site, loaded.key)
    if to is None:
        typer.echo(content.decode(), nl=False)
    else:
        try:
            create_durably(to, content)
        except FileExistsError:
            raise OperatorError(f"{to}: is there already, and is not overwritten; choose another name") from None
        typer.echo(f"Wrote {to}", err=True)
    if not loaded.site.alone:
        typer.echo(
            f"This is what ONE guard of {len(loaded.site.members)} knows: stop every replica, export on each of them "
            f"({', '.join(loaded.site.members)}), and give the other signer the highest.",
            err=True,
        )
    typer.echo("Take the key away from this replica before the other signer starts: two would sign twice.", err=True)
