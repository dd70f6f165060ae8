"""`cmkms cluster`: what concerns all replicas together."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cmkms.cli.birth import birth
from cmkms.cli.change import change
from cmkms.cli.lower import lower
from cmkms.cli.options import HomeDir, StatusAddr, takes_settings

if TYPE_CHECKING:
    from cmkms.cli.homeset import HomeSet
    from cmkms.config import Flags, Peer
    from cmkms.http.schema import ChainBody, StatusBody
    from cmkms.keys import Ed25519Key

__all__ = ["app"]

_HOME: Final = "/var/lib/cmkms"
"""Where the examples put a home: the place in the unit file."""

_STATE_STEP: Final = """\
Stop the old signer, prove that it stopped, take its key away; then put its newest priv_validator_state.json into
priv/ of every home. A key that has never signed has none."""

_WAIT_STEP_SECONDS: Final = 0.2
"""How often a replica is asked: it answers a status in a millisecond, and elections take a third of a second."""

_ARMED: Final = "armed"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What concerns all replicas together.")


@app.command()
@takes_settings(without=("home", "id", "peer"))
def init(
    flags: Flags,
    node: Annotated[
        list[str], typer.Option("--node", metavar="ID=HOST:PORT", help="A replica, where the others reach it. Repeat.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the homes are made, each by its id.")],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The consensus key: a priv_validator_key.json.")
    ] = None,
    generate_key: Annotated[bool, typer.Option("--generate-key", help="A new key, for a new validator.")] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FILE", help="What the key signed last: its priv_validator_state.json."),
    ] = None,
) -> None:
    """Make the homes of all replicas of a cluster, each to be copied to its machine: identities, pins, config.toml.

    All settings given are the same for all. Overwrites nothing, and arms no guard: they are born together, once the
    replicas run.
    """
    from cmkms.cli.homeset import HomeSet, make_homes, parse_nodes, read_state
    from cmkms.config import check_flags
    from cmkms.errors import OperatorError
    from cmkms.hardening import harden_process

    harden_process()
    nodes = parse_nodes(node)
    check_flags(_as_listed(flags, nodes))
    found = _find_key(key, generate=generate_key)
    content: bytes | None = None
    stands = ""
    if state is not None:
        if found is None or generate_key or flags.chain_id is None:
            raise OperatorError(
                "--state FILE: is checked against the key and the chain; give --key and --chain-id, too"
            )
        content, stands = read_state(state, flags.chain_id, found)
    wanted = HomeSet(out.absolute(), nodes, flags, found, content)
    members = make_homes(wanted)
    _tell(wanted, members, stands, new_key=generate_key)


def _as_listed(flags: Flags, nodes: tuple[Peer, ...]) -> Flags:
    """Put the members in, so that an address to listen on may be any: it is not what the others are told."""
    from dataclasses import replace

    return replace(flags, id=nodes[0].id, peer=tuple(str(node) for node in nodes))


def _find_key(path: Path | None, *, generate: bool) -> Ed25519Key | None:
    from cmkms.errors import OperatorError
    from cmkms.keys import generate_key, load_key_file

    if path is not None and generate:
        raise OperatorError("--key and --generate-key: expected one of them, or none")
    if generate:
        return generate_key()
    return None if path is None else load_key_file(path)


def _tell(wanted: HomeSet, members: tuple[Peer, ...], stands: str, *, new_key: bool) -> None:
    typer.echo(f"Made {len(members)} homes in {wanted.out}; each knows all members:")
    for member in members:
        typer.echo(f"  {member}")
    if wanted.key is not None:
        typer.echo(f"Each holds the {'new ' if new_key else ''}key of validator {wanted.key.address}.")
    if stands:
        typer.echo(f"Each holds the state {stands} (height/round/step): right only if the old signer had been stopped")
        typer.echo("when it was copied, and never starts again.")
    on_loopback = all(member.addr.is_loopback for member in members)
    missing = [name for name in ("chain_id", "validator_addr") if not getattr(wanted.flags, name)]
    steps = [f"Write {' and '.join(missing)} into the config.toml of every home."] if missing else []
    steps += [] if on_loopback else [_copy_step(wanted)]
    steps += _key_steps(wanted, new_key=new_key)
    steps.append(_start_step(wanted, new_key=new_key, on_loopback=on_loopback))
    if not on_loopback:
        steps.append(_destroy_step(wanted))
    typer.echo("\nNext:")
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. " + step.replace("\n", "\n     "))


def _copy_step(wanted: HomeSet) -> str:
    lines = ["Copy each home to its machine, and to no other, by an encrypted way; for example:"]
    for node in wanted.nodes:
        host = f"[{node.addr.host}]" if ":" in node.addr.host else node.addr.host
        lines.append(f"rsync -a --chmod=D700,F600 {shlex.quote(str(wanted.path(node)))}/ {host}:{_HOME}/")
    lines.append("There it must belong to the user that cmkms runs as: chown -R")
    return "\n".join(lines)


def _key_steps(wanted: HomeSet, *, new_key: bool) -> list[str]:
    if new_key:
        return ["Register the new key on the chain (in its genesis file, or as a new validator): cmkms key show"]
    if wanted.key is None:
        return [
            "Put the same priv_validator_key.json (mode 0600) into priv/ of every home: they hold no key yet.",
            _STATE_STEP,
        ]
    return [] if wanted.state is not None else [_STATE_STEP]


def _start_step(wanted: HomeSet, *, new_key: bool, on_loopback: bool) -> str:
    chain = shlex.quote(wanted.flags.chain_id) if wanted.flags.chain_id else "CHAIN"
    homes = [shlex.quote(str(wanted.path(node))) for node in wanted.nodes] if on_loopback else [_HOME]
    lines = ["Start all of them: their guards are born together, and from then on a majority signs."]
    if new_key:
        where = "" if on_loopback else "on one machine, "
        once = f"({where}the first time; later without --never-signed)"
        lines.append(f"cmkms start --home {homes[0]} --never-signed {chain}    {once}")
        lines += [f"cmkms start --home {home}" for home in homes[1:]]
        lines += [] if on_loopback else [f"cmkms start --home {_HOME}    (on the others)"]
    else:
        lines += [f"cmkms start --home {home}" + ("" if on_loopback else "    (on every machine)") for home in homes]
        if wanted.state is None:
            lines.append(f"If the key has never signed: one of them, the first time, with --never-signed {chain}")
    lines.append(f"cmkms cluster wait --home {homes[0]}    (until the cluster can sign)")
    return "\n".join(lines)


def _destroy_step(wanted: HomeSet) -> str:
    secret = f"the key lies in {len(wanted.nodes)} homes there" if wanted.key else "the identities lie there"
    out = shlex.quote(str(wanted.out))
    return (
        f"Destroy {wanted.out}, once all is copied: {secret}.\nfind {out} -type f -exec shred -u {{}} + ; rm -r {out}"
    )


@app.command()
def wait(
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Give up after this long; exit code 1.")
    ] = 60.0,
    every: Annotated[
        bool, typer.Option("--all", help="Until every replica is connected, too, with an armed guard for each chain.")
    ] = False,
    home: HomeDir = None,
    http_addr: StatusAddr = None,
) -> None:
    """Wait until the cluster can sign, as the replica of this home sees it. For scripts, such as rolling restarts.

    Exit code 0 once it can; 1 if it cannot in time, and what it still waits for.
    """
    from cmkms.cli.asking import ask, find_address
    from cmkms.cli.status import can_sign_sentence
    from cmkms.errors import UnavailableError

    address = find_address(home, http_addr)
    deadline = time.monotonic() + timeout
    while True:
        try:
            body = ask(address).body
            missing = body.obstacles() + (_not_all(body) if every else [])
        except UnavailableError as error:
            missing = [str(error)]
        else:
            if not missing:
                typer.echo(f"can sign: {can_sign_sentence(body)}")
                return
        if time.monotonic() + _WAIT_STEP_SECONDS > deadline:
            raise UnavailableError("\n".join([f"gave up after {timeout:g} s, still waiting:", *missing]))
        time.sleep(_WAIT_STEP_SECONDS)


def _not_all(body: StatusBody) -> list[str]:
    """Say which replicas are not connected, or not armed for a chain."""
    missing = [f"{body.id}: its guard of {one.chain_id} is {one.guard.state}" for one in _unarmed(body)]
    for peer in body.peers:
        if not peer.connected:
            missing.append(f"{peer.id}: not connected" + (f" ({peer.detail})" if peer.detail else ""))
            continue
        states = {guard.chain_id: guard.state for guard in peer.guards}
        found = [(chain.chain_id, states.get(chain.chain_id, "not known")) for chain in body.chains]
        missing += [f"{peer.id}: its guard of {chain} is {state}" for chain, state in found if state != _ARMED]
    return missing


def _unarmed(body: StatusBody) -> list[ChainBody]:
    return [chain for chain in body.chains if chain.guard.state != _ARMED]


app.command()(birth)
app.command()(change)
app.command()(lower)
