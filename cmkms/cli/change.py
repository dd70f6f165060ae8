"""`cmkms cluster change`: which guards sign for a chain, from now on. Plans, asks, begins, and tells how it goes.

Nothing here is needed for a change to be finished: once begun, the replicas go on by themselves.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cmkms.cli.options import HomeDir, OnlyChain
from cmkms.cli.reporting import EXIT_FAILED, printable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STEP_SECONDS", "Teller", "ask", "change", "control_socket"]

STEP_SECONDS: Final = 0.1
"""How often it is asked how far a change is."""
_LISTED_SECONDS: Final = 2.0
"""How long the last members may take after the change is in force: each of them needs one heartbeat."""


def change(
    chain: OnlyChain = None,
    member: Annotated[
        list[str] | None,
        typer.Option("--member", metavar="ID", help="A replica that signs from now on. Repeat. All of the peer list."),
    ] = None,
    home: HomeDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    seconds: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Stop watching after this; it goes on.")
    ] = 60,
) -> None:
    """Change which guards sign for a chain: after a lost guard or machine, to grow, to shrink.

    Run it on a replica that signs, while all run. New members must be there: started, with the same peer list, and, on
    a replica that had a guard before, with that guard given up (`cmkms guard replace`). The nodes stay connected; what
    they ask meanwhile waits for a moment. Interrupted, it goes on by itself; run it again to see how far it is.
    """
    path = control_socket(home)
    before = ask(path, {"do": "progress", "chain": chain})
    chain = str(before["chain"])
    if before["under_way"]:
        typer.echo(f"a change of chain {chain} is under way already: {printable(str(before['why']))}")
        _watch(path, chain, before, seconds)
        return
    plan = ask(path, {"do": "plan", "chain": chain, "members": member})
    _show(chain, plan)
    if plan_only:
        return
    if not yes and not typer.confirm("Go on?", err=True):
        typer.echo("nothing was changed")
        raise typer.Exit(EXIT_FAILED)
    begun = ask(path, {"do": "change", "chain": chain, "members": plan["members"], "to_hash": plan["to_hash"]})
    _watch(path, chain, begun, seconds)


def control_socket(home: str | None) -> Path:
    """Return where the replica of this home takes commands."""
    import os

    from cmkms.config import Flags, find_home

    home_found, _ = find_home(Flags(home=home), os.environ)
    return home_found.control_socket


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the replica. Raises OperatorError where it refuses, UnavailableError where it is not there."""
    from cmkms.control.client import control

    return control(path, request)


def _show(chain: str, plan: dict[str, Any]) -> None:
    typer.echo(f"chain        {chain}, signed up to {plan['at']}")
    typer.echo(f"generation   {plan['from']} ({_names(plan['before'])})")
    typer.echo(f"becomes      {plan['to']} ({_names(plan['members'])})")
    for what, text in (
        ("new", "brings a new guard, which is sealed above all that was signed"),
        ("away", "is not there or out of order: a member all the same, once it is well"),
        ("dropped", "signs no more; stop it and shorten the peer lists when this is done"),
    ):
        for one in plan[what]:
            typer.echo(f"  {one}   {text}")
    if plan["drains"]:
        typer.echo("What is being signed is finished first, so the node misses nothing.")
    else:
        typer.echo(
            f"The cluster cannot sign now ({printable(plan['undrained'])}). So the highest place signed is given up: "
            "if the node has no signature for it yet, it never gets one there. A validator that is alone on its "
            "chain, or has a third of the power, may have to be restarted to go on."
        )


def _names(names: list[str]) -> str:
    return ", ".join(names)


def _watch(path: Path, chain: str, progress: dict[str, Any], seconds: float) -> None:
    """Tell what is waited for, whenever that changes, until all is done that can be done."""
    from cmkms.errors import UnavailableError

    generation, deadline, teller = progress["generation"], time.monotonic() + seconds, Teller()
    while time.monotonic() < deadline:
        if not progress["under_way"] and progress["generation"] == generation:
            typer.echo(f"nothing was changed: {printable(str(progress['why']))}", err=True)
            raise typer.Exit(EXIT_FAILED)
        if teller.tell(progress, in_force=not progress["under_way"]):
            return
        time.sleep(STEP_SECONDS)
        progress = ask(path, {"do": "progress", "chain": chain})
    raise UnavailableError(
        f"the change is not done after {seconds:g} s: {printable(str(progress['why']))}. It goes on by itself as soon "
        f"as it can; run this again to see how far it is"
    )


class Teller:
    """Tells an operator how far a change is, each thing once. `told` is what it was last said to wait for."""

    def __init__(self) -> None:
        self.told = ""
        self._listed = 0.0

    def tell(self, progress: dict[str, Any], *, in_force: bool) -> bool:
        """Tell what is new; returns whether all is done that can be done: in force, and the last have had time."""
        if in_force:
            self._listed = self._listed or time.monotonic() + _LISTED_SECONDS
            if not progress["left_behind"] or time.monotonic() > self._listed:
                _show_done(progress)
                return True
        elif progress["why"] and progress["why"] != self.told:
            self.told = str(progress["why"])
            typer.echo(printable(self.told))
        return False


def _show_done(progress: dict[str, Any]) -> None:
    typer.echo(
        f"done: chain {progress['chain']} is signed for by {_names(progress['members'])}, "
        f"generation {progress['generation']}"
    )
    for one in progress["left_behind"]:
        typer.echo(f"{one} is not armed yet ({progress['guards'].get(one, 'not connected')}): it follows when it can")
