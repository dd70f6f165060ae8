"""The signers that benchmarks compare: cmkms alone, three replicas of it, and CometBFT's own signer.

Each starts with a fresh key and no history, and is asked over the same kind of connection.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Protocol

from rich.console import Console

from cmkms.harness.blocking import BlockingNode
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess
from cmkms.harness.wire import PubKeyRequest, encode_request

__all__ = ["CHAIN_ID", "REFERENCE", "Alone", "Contender", "PrivValServer", "Three", "UnsettledError", "wide_console"]

CHAIN_ID = "bench-1"
REFERENCE = "priv_val_server"

READY_SECONDS = 60.0
CONNECT_SECONDS = 15.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02

WIDTH = 120

NOTICED_SECONDS = 2.0
"""For as long a replica's status may be behind what the node sees of it."""


def wide_console() -> Console:
    """The terminal; where there is none, wide enough for every table."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


class UnsettledError(RuntimeError):
    """The cluster was not, or did not stay, in the state that was to be measured."""


class Contender(Protocol):
    """A signer that can be started against a node's address."""

    name: str

    def start(self, directory: Path, address: str) -> bytes:
        """Start with a key of its own and no history; returns the public key."""
        ...

    def serve(self, node: BlockingNode) -> None:
        """Have the node accept a connection of the kind that is to be measured. Raises UnsettledError."""
        ...

    def confirm(self) -> None:
        """Raise UnsettledError if the connection is not of that kind any more."""
        ...

    @property
    def pids(self) -> tuple[int, ...]:
        """Its processes while it runs."""
        ...

    def stop(self) -> None:
        """End it for good."""
        ...


class Alone:
    """One replica of cmkms, as `cmkms init`, `key generate` and `start` make it."""

    name = "x1"
    _process: CmkmsProcess

    def start(self, directory: Path, address: str) -> bytes:
        """See `Contender`."""
        self._process = CmkmsProcess(directory, CHAIN_ID, [address])
        pub_key = self._process.initialise()
        self._process.start()
        return pub_key

    def serve(self, node: BlockingNode) -> None:
        """See `Contender`."""
        node.accept(CONNECT_SECONDS)

    def confirm(self) -> None:
        """See `Contender`."""

    @property
    def pids(self) -> tuple[int, ...]:
        """See `Contender`."""
        return (self._process.pid,)

    def stop(self) -> None:
        """See `Contender`."""
        self._process.terminate()


class Three:
    """Three replicas of cmkms. The node is connected to the lease holder, or else to one that has to forward."""

    _cluster: CmkmsCluster
    _address: str

    def __init__(self, *, at_the_holder: bool) -> None:
        self.name = "x3 at holder" if at_the_holder else "x3 forwarded"
        self._at_the_holder = at_the_holder

    def start(self, directory: Path, address: str) -> bytes:
        """See `Contender`."""
        self._cluster = CmkmsCluster(directory, CHAIN_ID, [address])
        self._address = address
        try:
            pub_key = self._cluster.initialise()
            self._cluster.start_all()
            self._cluster.wait_ready(READY_SECONDS)
        except BaseException:
            self._cluster.close()
            raise
        return pub_key

    def serve(self, node: BlockingNode) -> None:
        """Accept one replica after the other until the right one is served."""
        for _ in range(4 * len(self._cluster.members)):
            node.accept(CONNECT_SECONDS)
            node.ask(encode_request(PubKeyRequest(CHAIN_ID)))
            deadline = time.monotonic() + NOTICED_SECONDS
            while (serving := self._cluster.connected_to(self._address)) is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if self._is_wanted(serving):
                return
        raise UnsettledError(f"{self.name}: no such connection came about\n{self._cluster.logs()}")

    def confirm(self) -> None:
        """See `Contender`."""
        if not self._is_wanted(self._cluster.connected_to(self._address)):
            raise UnsettledError(f"{self.name}: the lease or the connection moved on while it was measured")

    @property
    def pids(self) -> tuple[int, ...]:
        """See `Contender`."""
        return tuple(self._cluster.replica(member).pid for member in self._cluster.members)

    def stop(self) -> None:
        """See `Contender`."""
        self._cluster.close()

    def _is_wanted(self, serving: str | None) -> bool:
        return serving is not None and (serving == self._cluster.holder()) is self._at_the_holder


class PrivValServer:
    """CometBFT's FilePV behind a socket: what most validators run inside their node today."""

    name = REFERENCE
    _process: subprocess.Popen[bytes]

    def __init__(self, executable: Path) -> None:
        self._executable = executable

    def start(self, directory: Path, address: str) -> bytes:
        """The key is made by cmkms: both forms are CometBFT's."""
        keys = CmkmsProcess(directory, CHAIN_ID, [address])
        pub_key = keys.initialise()
        state_file = directory / "priv_validator_state.json"
        state_file.write_text('{"height":"0","round":0,"step":0}')
        arguments = [f"-addr={address}", f"-chain-id={CHAIN_ID}", f"-priv-key={keys.key_file}"]
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._executable), *arguments, f"-priv-state={state_file}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return pub_key

    def serve(self, node: BlockingNode) -> None:
        """See `Contender`."""
        node.accept(CONNECT_SECONDS)

    def confirm(self) -> None:
        """See `Contender`."""

    @property
    def pids(self) -> tuple[int, ...]:
        """See `Contender`."""
        return (self._process.pid,)

    def stop(self) -> None:
        """See `Contender`."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
