"""What the tests of three processes share: how they are made, what one reads in their logs, and votes to ask for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cmkms.harness.chain import block_id
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess
from cmkms.harness.values import MessageType, Time, Vote
from tests.patience import within

__all__ = [
    "CHAIN",
    "READY",
    "STOPPED",
    "events",
    "eventually",
    "make_cluster",
    "pin",
    "pin_of",
    "pub_key_of",
    "vote",
    "warnings",
]

CHAIN: Final = "testnet-1"

READY: Final = 60.0
"""Seconds for three processes to start and agree: two on a machine with nothing else to do."""

STOPPED: Final = within(2.0)
"""Seconds within which a replica ends when it is told to, whatever it waits for."""

_PATIENCE: Final = within(10.0)
_POLL: Final = 0.02
_TROUBLE: Final = {"warning", "error", "critical"}


def make_cluster(
    directory: Path,
    *addresses: str,
    own: Mapping[str, str] | None = None,
    peer_proxies: bool = False,
    replicas: int = 3,
) -> CmkmsCluster:
    """So many homes with one key that dial these addresses, or each its `own`; nothing runs yet."""
    cluster = CmkmsCluster(directory, CHAIN, addresses, replicas=replicas, peer_proxies=peer_proxies)
    for member, address in (own or {}).items():
        cluster.replica(member)._validator_addrs = (address,)
    try:
        cluster.initialise()
    except BaseException:
        cluster.close()
        raise
    return cluster


def pin_of(replica: CmkmsProcess) -> str:
    """What `cmkms identity show` prints behind the `#` of its line."""
    shown = replica.command("identity", "show", "--home", str(replica.home))
    return shown.partition("#")[2].split()[0]


def pin(cluster: CmkmsCluster, member: str, pins: Mapping[str, str]) -> None:
    """Give one replica these pins, by member."""
    replica = cluster.replica(member)
    replica.peers = tuple(f"{line}#{pins[line.partition('=')[0]]}" for line in replica.peers)


def pub_key_of(cluster: CmkmsCluster) -> bytes:
    return cluster.replica(cluster.members[0]).pub_key()


def events(replica: CmkmsProcess) -> list[dict[str, Any]]:
    """Every line of its log, of all its processes. What is no line of JSON is a stack trace, or somebody's print."""
    text = replica.log_file.read_text(encoding="utf-8", errors="replace") if replica.log_file.exists() else ""
    lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    return [json.loads(line) for line in lines]


def warnings(replica: CmkmsProcess, *words: str) -> list[dict[str, Any]]:
    """The lines of trouble in its log that hold all these words."""
    return [
        event
        for event in events(replica)
        if event["level"] in _TROUBLE and all(word in json.dumps(event) for word in words)
    ]


async def eventually(holds: Callable[[], object], what: Callable[[], str], seconds: float = _PATIENCE) -> None:
    """Wait until something holds that may have to ask a process. Raises AssertionError with `what()`."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"not within {seconds:g} s:\n{await asyncio.to_thread(what)}"
        await asyncio.sleep(_POLL)


def vote(height: int, round_: int = 0, *, seconds: int = 0, block: int = 0) -> Vote:
    """A prevote. `seconds` make another time of it, `block` another block."""
    moment = Time(1_700_000_000 + seconds)
    return Vote(MessageType.PREVOTE, height, round_, block_id(height, round_, block), moment, bytes(20))
