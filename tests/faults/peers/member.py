"""A replica's peer link in a process of its own, to be killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvloop

from cmkms.config import HostPort, Peer
from cmkms.keys.identity import Identity
from cmkms.peers.codec import encode
from cmkms.peers.frames import with_length
from cmkms.peers.messages import Raft
from tests.unit.peers.caller import Caller
from tests.unit.peers.replica import Replica

__all__ = ["in_its_own_process"]

HALF_A_FRAME = "half-a-frame"
UP = b"up\n"
ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def in_its_own_process(replica: Replica, *, mode: str = "replica") -> AsyncGenerator[subprocess.Popen[bytes]]:
    """Run a replica's link elsewhere; it is up when this returns. With `HALF_A_FRAME`: call node-1 and stop amid it."""
    process = start(replica, mode)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == UP
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def start(replica: Replica, mode: str) -> subprocess.Popen[bytes]:
    peers = [f"{peer.id} {peer.addr.host} {peer.addr.port} {peer.pin or '-'}" for peer in replica.peers]
    arguments = [mode, replica.me, replica.identity.seed.hex(), *peers]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.peers.member", *arguments], stdout=subprocess.PIPE, cwd=ROOT
    )


def replica_of(me: str, seed: str, peers: list[str]) -> Replica:
    members: list[Peer] = []
    for line in peers:
        name, host, port, pin = line.split()
        members.append(Peer(name, HostPort(host, int(port)), None if pin == "-" else pin))
    return Replica(me, Identity.from_seed(bytes.fromhex(seed)), tuple(members))


async def run(mode: str, me: str, seed: str, *peers: str) -> None:
    replica = replica_of(me, seed, list(peers))
    if mode == HALF_A_FRAME:
        address = next(peer.addr for peer in replica.peers if peer.id == "node-1")
        pin = next(peer.pin for peer in replica.peers if peer.id == "node-1")
        caller = await Caller.at(address, replica.identity, bytes.fromhex(pin or ""))
        await caller.say(replica.hello())
        await caller.hear()
        await caller.send(with_length(encode(Raft(bytes(100_000))))[:50_000])
    else:
        await replica.start()
    os.write(sys.stdout.fileno(), UP)
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
