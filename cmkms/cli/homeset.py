"""The homes of a whole cluster, made at one place: identities, pins, configuration, and the key if there is one.

Must never overwrite anything, arm a guard, or leave half of a set behind without a word.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from cmkms.config import Flags, HostPort, Peer
    from cmkms.keys import Ed25519Key

__all__ = ["HomeSet", "make_homes", "parse_nodes", "read_state"]


@dataclass(frozen=True, slots=True)
class HomeSet:
    """What is to be made. `flags`: the settings that all replicas have in common; `state`: a state file's content."""

    out: Path
    nodes: tuple[Peer, ...]
    flags: Flags
    key: Ed25519Key | None = None
    state: bytes | None = None

    def path(self, node: Peer) -> Path:
        """Where the home of one replica is made."""
        return self.out / node.id

    def http_addr(self, node: Peer) -> HostPort:
        """Where a replica's status is served: replicas that share a host count its port up."""
        from cmkms.config import HostPort
        from cmkms.config.settings import HTTP_ADDR

        first = HTTP_ADDR.parse(self.flags.http_addr or HTTP_ADDR.default or "")
        before = [other for other in self.nodes[: self.nodes.index(node)] if other.addr.host == node.addr.host]
        return HostPort(first.host, first.port + len(before) if first.port else 0)


def parse_nodes(texts: list[str]) -> tuple[Peer, ...]:
    """Parse `id=host:port` of each replica. Raises ConfigError, which names all problems."""
    from cmkms.config.given import Problems, toml_string
    from cmkms.config.peers import list_faults
    from cmkms.config.syntax import parse_peer
    from cmkms.errors import ConfigError

    problems = Problems()
    nodes: list[Peer] = []
    for text in (item.strip() for given in texts for item in given.split(",")):
        try:
            nodes.append(parse_peer(text))
        except ValueError as error:
            problems.add(f"--node {toml_string(text)}: {error}")
            continue
        if nodes[-1].pin:
            problems.add(f"--node {toml_string(text)}: expected no pin: the identities are made here")
        if nodes[-1].id in {".", ".."}:
            problems.add(f"--node {toml_string(text)}: expected an id that can be the name of a folder")
    for fault in list_faults(tuple(nodes), None):
        problems.add(f"--node: {fault}")
    problems.raise_if_any()
    if len(nodes) == 1:
        raise ConfigError("--node: names one replica, expected several; the home of a sole one is made by `cmkms init`")
    return tuple(nodes)


def read_state(path: Path, chain_id: str, key: Ed25519Key) -> tuple[bytes, str]:
    """Read a state file and hold it against chain and key; returns its content and where it stands.

    Raises OperatorError.
    """
    from cmkms.errors import OperatorError
    from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, parse_state
    from cmkms.home import read_bounded

    try:
        content = read_bounded(path, MAX_STATE_FILE_BYTES)
    except FileNotFoundError:
        raise OperatorError(f"{path}: no such file") from None
    return content, str(parse_state(content, str(path), chain_id, partial(_verify, key.pub_key)).hrs)


def _verify(pub_key: bytes, sign_bytes: bytes, signature: bytes) -> bool:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(pub_key).verify(sign_bytes, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def make_homes(wanted: HomeSet) -> tuple[Peer, ...]:
    """Make all homes, and return the list of members with their pins. The configurations come last.

    Raises OperatorError before anything is made if a home is there already; DiskError.
    """
    from cmkms.cli.homes import make_parents, make_rooms, write_config
    from cmkms.config import render_sample
    from cmkms.home import Home, create_durably, make_private_dir
    from cmkms.keys import write_key_file

    _refuse_existing(wanted)
    make_parents(wanted.out)
    make_private_dir(wanted.out)
    homes = {node: Home(wanted.path(node)) for node in wanted.nodes}
    with _told_if_unfinished([home.path for home in homes.values()]):
        members: list[Peer] = []
        for node, home in homes.items():
            members.append(replace(node, pin=make_rooms(home).public_key.hex()))
            if wanted.key is not None:
                write_key_file(home.default_key_file, wanted.key)
            if wanted.state is not None:
                create_durably(home.default_state_file, wanted.state)
        peer = tuple(str(member) for member in members)
        for node, home in homes.items():
            flags = replace(wanted.flags, id=node.id, peer=peer, http_addr=str(wanted.http_addr(node)))
            write_config(home, render_sample(flags))
    return tuple(members)


def _refuse_existing(wanted: HomeSet) -> None:
    from cmkms.errors import OperatorError

    existing = [str(wanted.path(node)) for node in wanted.nodes if os.path.lexists(wanted.path(node))]
    if existing:
        message = f"{', '.join(existing)}: there already, and nothing was touched"
        raise OperatorError(f"{message}; choose another --out, or remove them yourself")


@contextmanager
def _told_if_unfinished(paths: list[Path]) -> Generator[None]:
    try:
        yield
    except BaseException:
        there = [str(path) for path in paths if os.path.lexists(path)]
        if there:
            message = f"Not finished: {', '.join(there)} may hold identities and the key"
            typer.echo(f"{message}; remove them before you try again.", err=True)
        raise
