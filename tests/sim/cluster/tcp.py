"""TCP between simulated machines: two streams a connection, each in order, held up by cuts, cut short by deaths.

What a kernel promises is kept and nothing more: what was sent arrives in its order or not at all, a killed process'
last words may still arrive, or only the first of them, and one connection knows nothing of another.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cmkms.peers.session import Session
from tests.sim.cluster.events import Events

if TYPE_CHECKING:
    from tests.sim.cluster.lives import Process

__all__ = ["Connection", "End", "Network", "Stream"]


class Network(Protocol):
    """What the way from one machine to another is like now."""

    events: Events

    def latency(self, way: tuple[str, str]) -> float: ...

    def is_cut(self, way: tuple[str, str]) -> bool: ...

    def retransmission(self, way: tuple[str, str]) -> float:
        """After how long a kernel sends again what a cut has held up."""
        ...

    def survivors(self, flying: int) -> int:
        """How many of the messages on their way are still delivered when their sender dies."""
        ...


@dataclass(eq=False, slots=True)
class _Item:
    """Bytes on their way, or the end of the stream (None). `leaves`: when the sender hands it to its kernel."""

    data: bytes | None
    leaves: float
    lost: bool = False


class Stream:
    """One direction of a connection."""

    def __init__(self, network: Network, way: tuple[str, str], deliver: Callable[[bytes | None], None]) -> None:
        self.way = way
        self._network = network
        self._deliver = deliver
        self._flying: deque[_Item] = deque()
        self._held: deque[_Item] = deque()
        self._last = 0.0
        self._over = self._refused = False

    def push(self, data: bytes | None, *, lag: float = 0.0) -> None:
        """Send bytes, or the end (None), behind all that was sent before. `lag`: seconds until it leaves."""
        if self._over:
            return
        self._over = data is None
        now = self._network.events.now
        item = _Item(data, now + lag)
        self._flying.append(item)
        self._last = max(now + lag + self._network.latency(self.way), self._last)
        self._network.events.later(self._last - now, lambda: self._arrive(item))

    def release(self) -> None:
        """The way is open again: what was held up arrives, in its order."""
        if self._held:
            self._network.events.later(self._network.retransmission(self.way), self._drain)

    def cut_short(self, *, gone: bool = False) -> None:
        """The sender is dead: what had not left is lost, and perhaps the last of what had. `gone`: and all held up."""
        now = self._network.events.now
        left = [item for item in self._flying if item.leaves <= now]
        kept = 0 if gone else self._network.survivors(len(left))
        for item in self._flying:
            item.lost = item.leaves > now
        for item in left[kept:]:
            # Of a machine without power, what is in the network already still arrives.
            item.lost = not gone or item in self._held
        self._over = gone

    def refuse(self) -> None:
        """A machine that has come back says that it knows of no such connection, once."""
        if self._over and not self._refused:
            self._over, self._refused = False, True
            self.push(None)

    def _arrive(self, item: _Item) -> None:
        if self._held or self._network.is_cut(self.way):
            self._held.append(item)
        else:
            self._hand_over(item)

    def _drain(self) -> None:
        while self._held and not self._network.is_cut(self.way):
            self._hand_over(self._held.popleft())

    def _hand_over(self, item: _Item) -> None:
        self._flying.remove(item)
        if not item.lost:
            self._deliver(item.data)


class End:
    """One side's socket: the transport of a real `Session`, and the TLS object that proves the other side's key."""

    def __init__(self, process: Process, far: Process, network: Network) -> None:
        self.process = process
        self.far = far
        self.open = True
        self.session: Session | None = None
        self.out = Stream(network, (process.host.name, far.host.name), self._arrived)
        self.other: End | None = None

    def begin(self, *, dialled: bool) -> None:
        """The handshake is done."""
        self.session = self.process.new_session(self.far.host.name, dialled=dialled)
        self.session.connection_made(self)  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------------- as a transport

    def write(self, data: bytes) -> None:
        if self.open:
            self.out.push(data, lag=self.process.host.lag)

    def close(self) -> None:
        if self.open:
            self.open = False
            self.out.push(None, lag=self.process.host.lag)
            session = self.session
            if session is not None:
                self.process.loop.call_soon(session.connection_lost, None)

    def abort(self) -> None:
        """Close at once: the last of what was sent may be lost."""
        if self.open:
            self.out.cut_short()
        self.close()

    def is_closing(self) -> bool:
        return not self.open

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, _name: str) -> End:
        return self

    def getpeercert(self, _binary_form: bool, /) -> bytes:
        return self.far.certificate

    # ---------------------------------------------------------------------------------------------------- in the kernel

    def die(self, *, machine: bool) -> None:
        """The process is dead: its kernel closes the socket, unless it is dead, too."""
        if self.open:
            self.open = False
            self.out.cut_short(gone=machine)
            if not machine:
                self.out.push(None)

    def _arrived(self, data: bytes | None) -> None:
        """Something of ours has come to the other side."""
        if self.other is not None:
            self.other.take(data)

    def take(self, data: bytes | None) -> None:
        if not self.process.alive:
            if self.process.host.powered and data is not None:
                self.out.refuse()
            return
        self.process.run(lambda: self._read(data), self)

    def _read(self, data: bytes | None) -> None:
        if not self.open or self.session is None:
            return
        if data is None:
            self.open = False
            self.out.push(None)
            self.session.connection_lost(None)
        else:
            self.session.data_received(data)


class Connection:
    """Both ends. `near` has dialled."""

    def __init__(self, near: Process, far: Process, network: Network) -> None:
        self.near, self.far = End(near, far, network), End(far, near, network)
        self.near.other, self.far.other = self.far, self.near
        self.pair = frozenset((near.host.name, far.host.name))

    @property
    def ends(self) -> tuple[End, End]:
        return self.near, self.far

    @property
    def over(self) -> bool:
        return not self.near.open and not self.far.open

    def lose(self) -> None:
        """The network loses it: both ends are told, and miss what was still on its way, or the last of it."""
        for end in self.ends:
            end.out.cut_short()
            end.out.push(None)


def certificate_of(pem: bytes) -> bytes:
    """Return the certificate (DER) of a leaf's PEM, which has a private key beside it."""
    text = pem.decode("ascii")
    begin, stop = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[text.index(begin) : text.index(stop) + len(stop)])
