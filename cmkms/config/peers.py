"""The list of members: who else signs, where they are, and by which keys they are known.

Must never take a list for good from which two replicas could each think themselves a majority, nor let a connection to
another machine go unpinned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from cmkms.config import settings
from cmkms.config.given import toml_string
from cmkms.config.model import HostPort, Peer
from cmkms.config.reader import Reader

__all__ = ["MAX_REPLICAS", "list_faults", "read_peers", "read_raft_addr", "sole_entry"]

MAX_REPLICAS: Final = 9
"""Nine go on without four. More add no safety, and each signature asks every one of them."""

_SOLE_ADDR: Final = HostPort("127.0.0.1", 9430)
"""A replica alone talks to nobody: the address only has to be there, and is reachable by nobody else."""


def read_peers(reader: Reader, replica_id: str | None) -> tuple[Peer, ...] | None:
    """Read the list of all members; None if there is none that can be used, which was reported."""
    given = reader.given(settings.PEER)
    if given is None or not (given.texts or given.fault):
        _report_no_peers(reader, replica_id)
        return None
    peers = reader.many(settings.PEER)
    if peers is None:
        return None
    for fault in (*list_faults(peers, replica_id), *_missing_pins(peers)):
        reader.problems.add(f"{given.label}: {fault}")
    return peers


def list_faults(peers: tuple[Peer, ...], replica_id: str | None) -> list[str]:
    """Say what is wrong with a list of members, whether their pins are known yet or not.

    `replica_id` must be among them; None if it is not known.
    """
    faults = [f"names {name} twice; expected each replica once" for name in _repeated(peer.id for peer in peers)]
    faults += [
        f"names {addr} twice; expected another address for each replica"
        for addr in _repeated(str(peer.addr) for peer in peers)
    ]
    for pin in _repeated(peer.pin for peer in peers if peer.pin):
        names = " and ".join(peer.id for peer in peers if peer.pin == pin)
        message = f"{names} have the same pin, {pin}; each replica has an identity of its own"
        faults.append(f"{message}: never copy a home, and let `cmkms identity show` print each line where it belongs")
    if len(peers) > MAX_REPLICAS:
        faults.append(f"names {len(peers)} replicas, expected at most {MAX_REPLICAS}; three or five are the usual")
    if replica_id is not None and all(peer.id != replica_id for peer in peers):
        names = ", ".join(peer.id for peer in peers)
        message = f"names {names}, but not this replica, whose id is {replica_id}"
        faults.append(f"{message}; expected all members, this one included")
    return faults


def _missing_pins(peers: tuple[Peer, ...]) -> list[str]:
    """Say which members of a cluster must be pinned and are not. Nobody but this machine answers on loopback."""
    if len(peers) == 1:
        return []
    return [
        f"{peer.id} at {peer.addr} has no pin; run `cmkms identity show --home HOME` there, and put the line it prints "
        "into the list of every replica"
        for peer in peers
        if peer.pin is None and not peer.addr.is_loopback
    ]


def sole_entry(replica_id: str, listening: HostPort | None) -> Peer:
    """Make the list, of one entry, of a replica that is alone: where it listens, if an entry can say that."""
    fits = listening is not None and listening.port != 0 and not listening.is_every_interface
    return Peer(replica_id, listening if listening is not None and fits else _SOLE_ADDR)


def _report_no_peers(reader: Reader, replica_id: str | None) -> None:
    """Refuse to assume that this is the only signer: three machines that each assumed it would be three signers."""
    key, flag, listening = settings.PEER.key, settings.PEER.flag, None
    given = reader.given(settings.RAFT_ADDR)
    for text in given.texts if given else ():
        with contextlib.suppress(ValueError):
            listening = settings.RAFT_ADDR.parse(text)
    sole = str(sole_entry(replica_id or settings.ID.example, listening))
    reader.problems.add(
        f"{key} is missing, and no replica takes itself for the only signer of its key. One of several: put the lines "
        f"that `cmkms identity show --home HOME` prints on each machine into {key} in {reader.file}, the same list "
        f"everywhere, or give each with {flag}. Alone: write {key} = [{toml_string(sole)}] into {reader.file}, "
        f"or give {flag} {sole}"
    )


def _repeated(values: Iterable[str]) -> list[str]:
    found = list(values)
    return sorted({value for value in found if found.count(value) > 1})


def read_raft_addr(reader: Reader, replica_id: str | None, peers: tuple[Peer, ...] | None) -> HostPort | None:
    """Read where this replica listens for the others: by default, where they look for it."""
    own = next((peer.addr for peer in peers or () if peer.id == replica_id), None)
    given = reader.given(settings.RAFT_ADDR)
    if given is None and own is not None:
        reader.note(settings.RAFT_ADDR.key, toml_string(str(own)), settings.PEER.key)
        return own
    if given is None:
        # It follows from the peers, whose trouble was reported.
        return None
    raft_addr = reader.one(settings.RAFT_ADDR)
    if raft_addr is not None and raft_addr.port == 0 and len(peers or ()) > 1:
        message = (
            f"{given.describe(given.texts[0])}: port 0 is any free one, where no other replica would find this one"
        )
        reader.problems.add(f"{message}; expected the port of its entry in peer")
    return raft_addr
