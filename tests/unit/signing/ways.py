"""A dispatch whose ways are in the test's hand: where requests go, what is sent, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmkms.privval import SignProposalRequest, SignVoteRequest, decode_request, extension_sign_bytes
from cmkms.signing import Dispatch, Here, Nowhere, Route, Signer, Through, Ways
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature
from cmkms.signing.signer import SignRequest, canonical
from tests.unit.signing.delayed_quorum import Asked, CountingKey, DelayedQuorum, StillClock, ask
from tests.unit.signing.messages import CHAIN, KEY, is_signature

__all__ = ["CUT_OFF", "ELECTION", "FAR", "THIRD", "Crossroads", "answer_to", "forward_of", "request_in"]

FAR = Through("node-1", "node-1", 3)
THIRD = Through("node-2", "node-1", 3)
ELECTION = Nowhere("an election is on its way", cut_off=False)
CUT_OFF = Nowhere("cut off: 1 of 3 replicas are heard", cut_off=True)


def verify(sign_bytes: bytes, signature: bytes) -> bool:
    return len(signature) == 64 and is_signature(sign_bytes, signature)


@dataclass(slots=True)
class Sign:
    """Implements `Routes`."""

    to: Route = field(default_factory=Here)
    reached: set[str] = field(default_factory=lambda: {"node-1", "node-2"})

    def route(self) -> Route:
        return self.to

    def reaches(self, member: str) -> bool:
        return member in self.reached


class Crossroads:
    """The dispatch of node-0. `sent` is what went over the link, oldest first."""

    def __init__(self, to: Route, *, refuse_after: float | None = None) -> None:
        self.routes = Sign(to)
        self.quorum = DelayedQuorum(waiting_for="node-1 is not connected")
        self.key = CountingKey()
        self.clock = StillClock()
        self.sent: list[tuple[str, Forward | Forwarded]] = []
        self.hung_up: list[SignRequest] = []
        self.signer = Signer(CHAIN, self.key, self.quorum)
        ways = Ways(self.routes, self._link, verify)
        self.dispatch = Dispatch(CHAIN, self.signer, self.clock.later, ways, refuse_after=refuse_after, first_rpc=100)

    def _link(self, member: str, message: Forward | Forwarded) -> bool:
        if member not in self.routes.reached:
            return False
        self.sent.append((member, message))
        return True

    def go(self, to: Route) -> None:
        """The way changes, and everybody is told."""
        self.routes.to = to
        self.dispatch.route_changed()

    def ask(self, request: SignRequest) -> Asked:
        asked = ask(self.dispatch, request)
        asked.waiter.hang_up = lambda: self.hung_up.append(request)
        return asked

    # ------------------------------------------------------------------------------------------------- what was sent

    @property
    def forwards(self) -> list[tuple[str, Forward]]:
        return [(member, message) for member, message in self.sent if isinstance(message, Forward)]

    @property
    def replies(self) -> list[tuple[str, Forwarded]]:
        return [(member, message) for member, message in self.sent if isinstance(message, Forwarded)]

    @property
    def last(self) -> Forward:
        return self.forwards[-1][1]

    def answer(self, answer: object, *, member: str = "node-1", rpc: int | None = None) -> None:
        """Let the answer to the last forward arrive."""
        forwarded = Forwarded(self.last.rpc if rpc is None else rpc, CHAIN, answer)  # type: ignore[arg-type]
        self.dispatch.answered(member, forwarded)


def answer_to(request: SignRequest, *, asked: SignRequest | None = None, replayed: bool = False) -> ForwardedSignature:
    """What an honest holder answers that signed `request`, which may carry another time than what was `asked`."""
    _, sign_bytes = canonical(request)
    extension_signature = b""
    wanted = asked or request
    if not isinstance(wanted, SignProposalRequest) and wanted.vote.extension:
        vote = wanted.vote
        extension_signature = KEY.sign(extension_sign_bytes(CHAIN, vote.height, vote.round, vote.extension))
    return ForwardedSignature(sign_bytes, KEY.sign(sign_bytes), extension_signature, replayed)


def forward_of(
    request: bytes, *, rpc: int = 7, target: str = "node-0", hops: int = 1, budget_ms: int = 5000
) -> Forward:
    return Forward(rpc, CHAIN, target, hops, budget_ms, request)


def request_in(forward: Forward) -> SignRequest:
    request = decode_request(forward.request)
    assert isinstance(request, SignVoteRequest | SignProposalRequest)
    return request
