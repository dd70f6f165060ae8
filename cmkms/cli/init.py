"""`cmkms init`: a home for one replica.

Must never overwrite anything, never make a consensus key (whose it is, is not for a set-up command to decide), and
never take it for granted that a replica signs alone.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from cmkms.cli.options import takes_settings

if TYPE_CHECKING:
    from cmkms.config import Flags
    from cmkms.home import Home
    from cmkms.keys import Identity

__all__ = ["init"]


@takes_settings()
def init(
    flags: Flags,
    alone: Annotated[
        bool, typer.Option("--alone", help="This replica is the only signer of its key: the list names only itself.")
    ] = False,
) -> None:
    """Make a home: configuration, folders, and the identity for connections. Never overwrites, makes no key.

    What is given is written into config.toml. A home that has a config.toml is left as it is; whatever else is there
    already, such as a key, is kept. Without --peer or --alone no list of members is written, and without one nothing
    starts. `cmkms cluster init` makes the homes of several at once.
    """
    from cmkms.cli.homes import make_parents, make_rooms, write_config
    from cmkms.config import check_flags, find_home, listed_alone, render_sample

    place, _ = find_home(flags, os.environ)
    _refuse_initialised(place)
    check_flags(flags)
    if alone:
        flags = listed_alone(flags)
    make_parents(place.path)
    identity = make_rooms(place)
    flags = _with_own_pin(flags, identity, place)
    write_config(place, render_sample(flags))
    match len(_members(flags)):
        case 0:
            what, steps = "a replica that does not know yet who signs", _open_steps(place, flags)
        case 1:
            what, steps = "a replica that is the only signer", _sole_steps(place, flags)
        case _:
            what, steps = "one replica of a cluster", _cluster_steps(place, flags)
    _tell(place, what, identity)
    _tell_next(steps)


def _refuse_initialised(home: Home) -> None:
    from cmkms.errors import OperatorError

    if not os.path.lexists(home.config_file):
        return
    inside = ", ".join(sorted(entry.name for entry in home.path.iterdir()))
    message = f"{home.path}: is a home already (it holds {inside}), and nothing in it was touched"
    raise OperatorError(f"{message}; edit {home.config_file}, or choose another --home")


def _members(flags: Flags) -> list[str]:
    return [item.strip() for text in flags.peer for item in text.split(",")]


def _with_own_pin(flags: Flags, identity: Identity, home: Home) -> Flags:
    """Fill in the one pin that is known here: this replica's own. Raises OperatorError if it was given another one."""
    from dataclasses import replace

    from cmkms.config import foreign_pin
    from cmkms.config.sample import DEFAULT_ID
    from cmkms.config.syntax import parse_peer
    from cmkms.errors import OperatorError

    peers = tuple(parse_peer(text) for text in _members(flags))
    own = next((peer for peer in peers if peer.id == (flags.id or DEFAULT_ID)), None)
    if own is None:
        return flags
    fault = foreign_pin(peers, own, identity)
    if fault:
        raise OperatorError(f"{home.identity_file}: {fault}; the home has no config.toml yet")
    if len(peers) > 1 and not own.addr.is_loopback:
        own = replace(own, pin=identity.public_key.hex())
    return replace(flags, peer=tuple(str(own if peer.id == own.id else peer) for peer in peers))


def _tell(home: Home, what: str, identity: Identity) -> None:
    typer.echo(f"Made the home of {what}: {home.path}")
    typer.echo("  config.toml  every setting, explained")
    typer.echo("  data/        for the guard, which remembers what was signed: never copy it, never restore it")
    typer.echo(f"  priv/        for keys; the identity for connections is made, its node id is {identity.node_id}")


def _tell_next(steps: list[str]) -> None:
    typer.echo("\nNext:")
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. " + step.replace("\n", "\n     "))


def _open_steps(home: Home, flags: Flags) -> list[str]:
    from cmkms.config import listed_alone

    where = f"--home {shlex.quote(str(home.path))}"
    (sole,) = listed_alone(flags).peer
    who = f"""\
Who signs. {home.config_file} has no list of members yet, and nothing starts without one.
One of several: on every machine, cmkms identity show {where}
Put all the lines that it prints, the same in every home, into peer in config.toml. Go on when every home has them.
Alone, the only signer of its key: write peer = ["{sole}"] there.
The next time: cmkms init --alone, or cmkms cluster init for all homes of a cluster."""
    _, *rest = _cluster_steps(home, flags)
    return [who, *rest]


def _sole_steps(home: Home, flags: Flags) -> list[str]:
    where = f"--home {shlex.quote(str(home.path))}"
    chain = shlex.quote(flags.chain_id) if flags.chain_id else "CHAIN"
    return [
        f"""\
The key. Copy the node's priv_validator_key.json to {home.default_key_file} (mode 0600).
For a new validator: cmkms key generate {where}""",
        f"""\
What the key has signed. Stop the old signer, prove that it stopped, take its key away; then copy its
priv_validator_state.json to {home.default_state_file}.
A key that has never signed has none: then start, once, with --never-signed {chain}""",
        *_missing_step(home, flags, where),
        f"cmkms start {where}",
    ]


def _cluster_steps(home: Home, flags: Flags) -> list[str]:
    where = f"--home {shlex.quote(str(home.path))}"
    chain = shlex.quote(flags.chain_id) if flags.chain_id else "CHAIN"
    return [
        f"""\
The members. On every machine: cmkms identity show {where}
Put all the lines that it prints, the same in every home, into peer in config.toml.""",
        f"""\
The key, the same for every replica: priv_validator_key.json at {home.default_key_file} (mode 0600).
For a new validator: cmkms key generate {where}, on one machine only; then copy it to the others.""",
        f"""\
What the key has signed. Stop the old signer, prove that it stopped, take its key away; then copy its newest
priv_validator_state.json to {home.default_state_file}, of one replica at least.
A key that has never signed has none: then start one replica, once, with --never-signed {chain}""",
        *_missing_step(home, flags, where),
        f"On every machine: cmkms config check {where}",
        f"On every machine: cmkms start {where}\nTheir guards are born together, once all are connected.",
    ]


def _missing_step(home: Home, flags: Flags, where: str) -> list[str]:
    missing = [
        key for key, given in (("chain_id", flags.chain_id), ("validator_addr", flags.validator_addr)) if not given
    ]
    if not missing:
        return []
    return [f"Write {' and '.join(missing)} into {home.config_file}, then: cmkms config check {where}"]
