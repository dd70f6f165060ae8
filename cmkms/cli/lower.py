"""`cmkms cluster lower`: a chain that began anew under its old id is signed from its beginning again.

The one command that can make a key sign a height a second time, so each guard needs the word of its own operator.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cmkms.cli.change import STEP_SECONDS, Teller, ask, control_socket
from cmkms.cli.options import HomeDir, OnlyChain
from cmkms.cli.reporting import printable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["lower"]

_AGAIN_SECONDS: Final = 15.0
"""How often it is proposed again: the last command does so at once, and nothing is signed until it is forgotten."""


def lower(
    height: Annotated[
        int, typer.Option("--to", metavar="HEIGHT", min=0, help="Sign again above this height; 0: from the beginning.")
    ],
    chain: OnlyChain = None,
    home: HomeDir = None,
    confirm: Annotated[str | None, typer.Option("--confirm", metavar="CHAIN", help="The chain id, once more.")] = None,
    seconds: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Wait for the other replicas for so long.")
    ] = 300,
) -> None:
    """Forget what was signed above a height: for a test net that was reset under its old chain id, and nothing else.

    On a chain that goes on, what is forgotten is signed a second time, and costs the stake. All guards begin again at
    once, by a change of generation, each by the word of its own operator: run the same on every replica, while all
    run; the last one begins.
    """
    from cmkms.cli.confirm import confirm_chain

    path = control_socket(home)
    progress = ask(path, {"do": "progress", "chain": chain})
    chain = str(progress["chain"])
    wanted: dict[str, Any] = {"chain": chain, "lower_to": height}
    if progress["lower_to"] == height:
        wanted["to_hash"] = progress["to_hash"]
        typer.echo(f"chain {chain} is about to be lowered to height {height}: {printable(str(progress['why']))}")
    else:
        plan = ask(path, {"do": "plan", **wanted})
        wanted["to_hash"] = plan["to_hash"]
        _show(chain, plan)
    confirm_chain(chain, confirm, f"let this guard forget what it has signed above height {height}")
    _wait(path, int(progress["generation"]), {"do": "change", **wanted}, seconds)


def _show(chain: str, plan: dict[str, Any]) -> None:
    typer.echo(f"chain        {chain}, signed up to {plan['at']}")
    typer.echo(f"becomes      as if nothing above {plan['lowers_to']} had ever been signed")
    typer.echo(f"needs        this command on each of {', '.join(plan['members'])}")


def _wait(path: Path, generation: int, change: dict[str, Any], seconds: float) -> None:
    """Propose it now and then: it is done once the operators of all replicas have agreed."""
    from cmkms.errors import UnavailableError

    deadline, due, teller = time.monotonic() + seconds, time.monotonic(), Teller()
    while True:
        again = time.monotonic() >= due
        progress = ask(path, change if again else {"do": "progress", "chain": change["chain"]})
        due = time.monotonic() + _AGAIN_SECONDS if again else due
        if teller.tell(progress, in_force=progress["generation"] > generation and not progress["to_hash"]):
            return
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"not done after {seconds:g} s: {printable(teller.told)}. If it has begun, it goes on by itself; run "
                f"this again to see"
            )
        time.sleep(STEP_SECONDS)
