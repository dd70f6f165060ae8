"""`cmkms guard`: look at the durable watermark, verify it, and replace one that is lost or fused.

Must never change a guard without the chain's id typed by whoever asks for it.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cmkms.cli.confirm import confirm_chain
from cmkms.cli.options import Chain, HomeDir, MaybeChain, Output, OutputFormat
from cmkms.cli.reporting import EXIT_FAILED, printable

if TYPE_CHECKING:
    from cmkms.guard.inspection import GuardReport
    from cmkms.guard.replacement import Replacement
    from cmkms.guard.site import GuardSite

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at, verify and replace the guard.")


@app.command()
def show(
    chain: MaybeChain = None,
    home: HomeDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show what the guards hold. Works beside a running signer."""
    from cmkms.cli.offline import load_chains
    from cmkms.guard.inspection import inspect_guard

    reports = [inspect_guard(loaded.site) for loaded in load_chains(home, chain)]
    shown = [_fields(report) for report in reports]
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(shown, indent=2))
        return
    for number, fields in enumerate(shown):
        if number:
            typer.echo()
        for name, value in fields.items():
            for line in _lines(_as_read(name, value, fields)):
                typer.echo(f"{name:14}  {line}")


def _fields(report: GuardReport) -> dict[str, Any]:
    record, fuse = report.record, report.fuse
    return {
        "chain_id": report.chain_id,
        "path": str(report.path),
        "height": record.hrs.height if record else None,
        "round": record.hrs.round if record else None,
        "step": int(record.hrs.step) if record else None,
        "sealed": record.sign_bytes is None if record else None,
        "armed": record.armed if record else None,
        "state": report.state,
        "members": list(report.members),
        "paused": record.paused if record else None,
        "generation": record.generation.number if record else None,
        "nonce": record.nonce.hex() if record else None,
        "sequence": record.sequence if record else None,
        "accepted_at": record.accepted_at if record else None,
        "max_height": record.max_height if record else None,
        "allowed_height": record.allowed_height if record else None,
        "fuse": {"reason": fuse.reason, "since": fuse.since} if fuse else None,
        "damage": list(report.damage),
        "problems": list(report.problems),
    }


def _as_read(name: str, value: Any, fields: dict[str, Any]) -> Any:
    """Show what stands in the record as people mean it."""
    match name:
        case "accepted_at":
            return _date(value)
        case "sealed":
            # Every guard begins sealed at 0/0/0, where nothing can be signed anyway.
            return value and bool(fields["height"])
        case _:
            return value


def _date(seconds: int | None) -> str | None:
    """Show Unix seconds as a date; 0 is no date: it was not known when the guard was made."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).isoformat() if seconds else None
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _lines(value: Any) -> list[str]:
    match value:
        case None | []:
            return ["-"]
        case bool():
            return ["yes" if value else "no"]
        case list():
            return [printable(str(item)) for item in cast("list[object]", value)]
        case {"reason": reason}:
            return [printable(f"BLOWN: {reason}")]
        case _:
            return [printable(str(value))]


@app.command()
def verify(chain: MaybeChain = None, home: HomeDir = None) -> None:
    """Say whether the guards would start; exit code 0 if all would, else 1. Works beside a running signer."""
    from cmkms.cli.offline import load_chains
    from cmkms.guard.inspection import inspect_guard

    reports = [inspect_guard(loaded.site) for loaded in load_chains(home, chain)]
    for report in reports:
        if not report.problems and report.record:
            typer.echo(f"{report.chain_id}: good, at {report.record.hrs}")
        for problem in report.problems:
            typer.echo(f"{report.chain_id}: {printable(problem)}")
        for damage in report.damage:
            typer.echo(f"{report.chain_id}: damage: {printable(damage)}")
    if any(report.problems for report in reports):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def replace(
    chain: Chain,
    from_state: Annotated[
        Path | None,
        typer.Option("--from-state", metavar="FILE", help="Above what this priv_validator_state.json says was signed."),
    ] = None,
    above: Annotated[
        int | None, typer.Option("--above", metavar="HEIGHT", min=0, help="Above this height, which is never signed.")
    ] = None,
    lower: Annotated[
        bool, typer.Option("--lower", help="Even below what was signed: a test net was reset under its old chain id.")
    ] = False,
    home: HomeDir = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="CHAIN", help="The chain id again, not to be asked for it."),
    ] = None,
) -> None:
    """Put a new guard in the place of one that is lost, rotten or fused. The signer must be stopped.

    A replica that signs alone: you say what the old guard can no longer tell, how far this key has signed. If you say
    less than is true, the key can sign twice. Look at the chain: a height above its newest block is safe.

    --lower --above 0 lets it begin anew, for a test net that was reset under its old chain id. On a chain that goes on,
    what is forgotten so is signed a second time.

    One of several: the old guard is given up. Start the replica again, and run `cmkms cluster change` on one that
    signs: the others tell the new guard where to begin.
    """
    from cmkms.cli.offline import load_one_chain
    from cmkms.errors import OperatorError
    from cmkms.guard.disk import PosixDisk
    from cmkms.guard.replacement import plan_replacement, replace_guard

    site = load_one_chain(home, chain).site
    if lower and not site.alone:
        raise OperatorError(f"of several, all guards are lowered at once: `cmkms cluster lower {chain}`, while all run")
    if not site.alone and from_state is None and above is None:
        _give_up(site, confirm)
        return
    if (from_state is None) == (above is None):
        raise OperatorError("say how far the key has signed: either --from-state FILE or --above HEIGHT")
    plan = plan_replacement(site, from_state if from_state is not None else above or 0, lowers=lower)
    _show_plan(chain, plan)
    confirm_chain(chain, confirm, "let its guard forget what it has signed" if lower else "replace its guard")
    record = replace_guard(site, PosixDisk(), plan)
    typer.echo(f"{chain}: a new guard, generation {record.generation.number}, sealed at {record.hrs}; the old is kept")


def _give_up(site: GuardSite, confirm: str | None) -> None:
    from cmkms.guard.disk import PosixDisk
    from cmkms.guard.giving_up import give_up_guard
    from cmkms.guard.inspection import inspect_guard

    report, chain = inspect_guard(site), site.chain_id
    at = report.record.hrs if report.record else "nothing"
    typer.echo(f"chain                    {chain}", err=True)
    typer.echo(f"replica                  {site.member_id}, one of {', '.join(site.members)}", err=True)
    typer.echo(f"its guard, as readable   {report.state}, at {at}", err=True)
    for problem in report.problems:
        typer.echo(f"                         {printable(problem)}", err=True)
    if not report.problems:
        typer.echo("It looks sound. Give it up only if you know better: until the change of generation,", err=True)
        typer.echo("the others sign without it, and one more that fails stops them.", err=True)
    confirm_chain(chain, confirm, "give this replica's guard up")
    kept = give_up_guard(site, PosixDisk())
    for path in kept:
        typer.echo(f"kept: {path}")
    typer.echo(f"{chain}: given up. Start this replica; then, where one signs: cmkms cluster change {chain}")


def _show_plan(chain: str, plan: Replacement) -> None:
    readable = plan.readable.hrs if plan.readable else "nothing"
    typer.echo(f"chain                    {chain}", err=True)
    typer.echo(f"old guard, as readable   {readable}", err=True)
    typer.echo(f"new guard                sealed at {plan.seal}: nothing at or below it is ever signed again", err=True)
    typer.echo(f"by                       {plan.floor.origin}", err=True)
    if plan.lowers:
        typer.echo("THE WATERMARK IS LOWERED: what was signed above can be signed again, with other content.", err=True)
