"""Where a sign request goes: to this replica's own signer while it holds the lease, else to the replica that does.

Theory of operation
-------------------
A node's request becomes an **errand**. While this replica holds the lease, its signer takes it. Otherwise it is
forwarded to the holder, through a third replica where the direct link is down; and what comes back is verified before
it is relayed: the same vote or proposal, at most with another timestamp, under a signature of this very key. An errand
without a way stays here, and goes out as soon as there is one; whenever holder, term or links change, those on their
way are sent again, which costs nothing: a signature over the same bytes is the same signature.

Trouble that passes is no answer (design section 2): an errand waits until it is done or its node is gone. A chain with
`on_outage = "refuse"` gives up after its patience instead. A replica that is cut off from the others while its node
waits hangs up on it, once for each height/round/step: another replica may be able to serve it.

Pure: the routes, the link, the timer and the verification are passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from cmkms.guard.hrs import HRS
from cmkms.guard.quorum import Handle, Timer
from cmkms.guard.state_file import SignState
from cmkms.privval import (
    SignProposalRequest,
    SignVoteRequest,
    differ_only_in_timestamp,
    encode_request,
    extension_sign_bytes,
    parse_sign_bytes,
)
from cmkms.signing.answers import Answer, Rejected, RejectedBecause, SignedProposal, SignedVote
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder
from cmkms.signing.routes import ALONE, Here, Nowhere, Through, Ways
from cmkms.signing.serving import MAX_BUDGET_MS, Serving
from cmkms.signing.signer import Signer, Waiter, canonical, wants_extension

__all__ = [
    "HANG_UP_AFTER_SECONDS",
    "MAX_HOPS",
    "REFUSE_AFTER_SECONDS",
    "TRY_AGAIN_SECONDS",
    "Dispatch",
    "ForwardResult",
]

ForwardResult = Literal["signed", "refused", "not_holder", "lost"]
"""What came of a request that was sent on: a signature, a refusal, word that it went to the wrong replica, nothing."""

REFUSE_AFTER_SECONDS: Final = 2.5
"""Patience under `on_outage = "refuse"`: outlasts an election, and leaves half of the node's 5 s to answer in."""
HANG_UP_AFTER_SECONDS: Final = 0.3
"""When a replica that is cut off sends its node to another one; an election among the others may be over by then."""
TRY_AGAIN_SECONDS: Final = 0.05
"""How often an errand without a way looks for one, besides whenever the routes change."""
_HUNG_UP_KEPT: Final = 16
"""Places at which a node was hung up on; several nodes may be at different ones."""
MAX_HOPS: Final = 2
"""From the replica with the node to a third one, and from there to the holder."""


_FINAL: Final = frozenset(
    {
        RejectedBecause.CONFLICT,
        RejectedBecause.REGRESSION,
        RejectedBecause.SEALED,
        RejectedBecause.HELD,
        RejectedBecause.SPLIT,
        RejectedBecause.CEILING,
        RejectedBecause.MAX_HEIGHT,
    }
)
"""What a lease holder refuses by the word of the guards: relayed as it is."""
_RPC_RANGE: Final = 1 << 62
"""Keeps the numbers of what is asked for nodes here and of what is passed on for others apart."""


@dataclass(eq=False, slots=True)
class _Errand:
    """A node's request on its way. `inner` is its waiter at our own signer; `rpc` its number at the holder's."""

    waiter: Waiter
    sign_bytes: bytes
    hrs: HRS
    inner: Waiter | None = None
    rpc: int | None = None
    way: Through | None = None
    waited: bool = False
    alarm: Handle | None = None


class Dispatch:
    """Takes the requests of one chain, from nodes and from other replicas."""

    def __init__(
        self,
        chain_id: str,
        signer: Signer,
        timer: Timer,
        ways: Ways = ALONE,
        *,
        refuse_after: float | None = None,
        first_rpc: int = 1,
    ) -> None:
        """`refuse_after`: seconds until a waiter is refused in an outage; None holds it for as long as it takes.

        `first_rpc` is random for each process: no answer to an earlier life is ever taken for one to this.
        """
        self._chain_id = chain_id
        self._signer = signer
        self._timer = timer
        self._ways = ways
        self._refuse_after = refuse_after
        self._rpc = first_rpc
        self._serving = Serving(chain_id, signer, timer, ways, first_rpc=first_rpc + _RPC_RANGE)
        self._errands: dict[Waiter, _Errand] = {}
        self._forwarded: dict[int, _Errand] = {}
        self._again: Handle | None = None
        self._hung_up: deque[HRS] = deque(maxlen=_HUNG_UP_KEPT)
        self._closed = False
        self._asked_here = 0
        self.on_forwarded: Callable[[ForwardResult], None] | None = None
        self.untrue = 0
        """Answers of other replicas that did not hold what they claim. None is ever relayed."""

    # ---------------------------------------------------------------------------------------------------- from nodes

    def submit(self, waiter: Waiter) -> None:
        """Take a node's request. Its answer comes at once where it is decided at once, later otherwise, or never."""
        request = waiter.request
        if request.chain_id != self._chain_id:
            # The text reaches whoever asks: it must not carry on what they sent, nor name what else is signed here.
            waiter.answer(Rejected(RejectedBecause.UNKNOWN_CHAIN, "this connection signs for another chain"))
            return
        hrs, sign_bytes = canonical(request)
        errand = _Errand(waiter, sign_bytes, hrs)
        self._errands[waiter] = errand
        self._place(errand)
        if waiter in self._errands:
            errand.alarm = self._timer(HANG_UP_AFTER_SECONDS, lambda: self._waited(errand))

    def withdraw(self, waiter: Waiter) -> None:
        """Forget a request whose connection is gone: nothing is ever sent to it."""
        errand = self._errands.get(waiter)
        if errand is not None:
            self._finish(errand)

    @property
    def waiting(self) -> int:
        """How many requests of nodes are not answered yet."""
        return len(self._errands)

    @property
    def serving(self) -> int:
        """How many requests of other replicas are not answered yet."""
        return len(self._serving)

    def take_asked(self) -> tuple[int, dict[str, int]]:
        """Return, and begin anew, the count of own nodes' requests signed here, and of those of each other replica."""
        here, self._asked_here = self._asked_here, 0
        return here, self._serving.take_asked()

    def close(self) -> None:
        """Begin nothing here any more: this replica is about to hand over. What waits is forwarded once it has."""
        self._closed = True

    def begin_anew(self) -> None:
        """The signer asks another quorum from now on: ask again for everything that waits."""
        self._leave_the_signer()
        self.route_changed()

    # ------------------------------------------------------------------------------------------------ from the cluster

    def route_changed(self) -> None:
        """Holder, term or links changed: send again what is on its way to somewhere else, and what had no way."""
        if not isinstance(self._ways.routes.route(), Here):
            self._leave_the_signer()
        for errand in tuple(self._errands.values()):
            if errand.waiter in self._errands and errand.inner is None and not self._still_on_its_way(errand):
                if errand.way is not None:
                    self._came_back("lost")
                self._unsend(errand)
                self._place(errand)

    def peer_down(self, member: str) -> None:
        """A replica is gone: nobody reads the answers to what it asked. `route_changed` does the rest."""
        self._serving.peer_down(member)

    def serve(self, member: str, forward: Forward) -> None:
        """Take another replica's request: sign it while we hold the lease, or pass it on."""
        self._serving.serve(member, forward, closed=self._closed)

    def answered(self, member: str, forwarded: Forwarded) -> None:
        """Take the answer to something that was forwarded. Verified here: another replica's word is not enough."""
        if self._serving.answered(member, forwarded):
            return
        errand = self._forwarded.get(forwarded.rpc)
        if errand is None or errand.way is None or errand.way.member != member:
            return
        self._unsend(errand)
        match forwarded.answer:
            case NotHolder():
                self._came_back("not_holder")
                self._try_again_later()
            case Rejected(because=because) as rejected if because in _FINAL:
                self._came_back("refused")
                self._conclude(errand, rejected)
            case Rejected():
                # Trouble between two replicas: not the node's, which would take an error for the last word.
                self._came_back("lost")
                self._try_again_later()
            case ForwardedSignature() as signed:
                answer = self._checked(errand, signed)
                if answer is None:
                    self.untrue += 1
                    self._came_back("lost")
                    self._try_again_later()
                    return
                self._came_back("signed")
                self._signer.learn(SignState(errand.hrs, signed.sign_bytes, signed.signature, self._signer.generation))
                self._conclude(errand, answer)

    # --------------------------------------------------------------------------------------------------------- errands

    def _place(self, errand: _Errand) -> None:
        """Send an errand on its way; without one, it waits for one."""
        route = self._ways.routes.route()
        if isinstance(route, Here) or not wants_extension(errand.waiter.request):
            # An extension is signed by the lease holder only: what is past there is not known to be so here.
            repeat = self._signer.repeat(errand.waiter.request, errand.sign_bytes)
            if repeat is not None:
                self._conclude(errand, repeat)
                return
        match route:
            case Here() if not self._closed:
                self._asked_here += 1
                inner = errand.inner = Waiter(
                    errand.waiter.request,
                    lambda answer: self._signed(errand, answer),
                    hrs=errand.hrs,
                    sign_bytes=errand.sign_bytes,
                )
                self._signer.submit(inner)
            case Through() as way if self._send(errand, way):
                pass
            case _:
                self._try_again_later()

    def _signed(self, errand: _Errand, answer: Answer) -> None:
        # Our signer is done with its waiter: nothing is withdrawn from it any more.
        errand.inner = None
        self._conclude(errand, answer)

    def _send(self, errand: _Errand, way: Through) -> bool:
        rpc = self._next_rpc()
        hops = 1 if way.member == way.holder else MAX_HOPS
        request = encode_request(errand.waiter.request)
        if not self._ways.link(way.member, Forward(rpc, self._chain_id, way.holder, hops, MAX_BUDGET_MS, request)):
            return False
        errand.rpc, errand.way = rpc, way
        self._forwarded[rpc] = errand
        return True

    def _still_on_its_way(self, errand: _Errand) -> bool:
        way, routes = errand.way, self._ways.routes
        return way is not None and routes.route() == way and routes.reaches(way.member)

    def _unsend(self, errand: _Errand) -> None:
        if errand.rpc is not None:
            self._forwarded.pop(errand.rpc, None)
        errand.rpc = errand.way = None

    def _leave_the_signer(self) -> None:
        """The lease is lost: what our signer has not finished is for whoever holds it now."""
        abandoned = self._signer.abandon()
        for errand in self._errands.values():
            if errand.inner in abandoned:
                errand.inner = None
        self._serving.leave(abandoned)

    def _came_back(self, result: ForwardResult) -> None:
        if self.on_forwarded is not None:
            self.on_forwarded(result)

    def _checked(self, errand: _Errand, signed: ForwardedSignature) -> Answer | None:
        """Make the node's answer of another replica's; None if it is not what it claims to be."""
        request = errand.waiter.request
        same = signed.sign_bytes == errand.sign_bytes
        if not same and not (
            isinstance(request, SignVoteRequest) and differ_only_in_timestamp(signed.sign_bytes, errand.sign_bytes)
        ):
            return None
        if not self._ways.verify(signed.sign_bytes, signed.signature):
            return None
        if isinstance(request, SignProposalRequest):
            return SignedProposal(request.proposal, signed.signature, signed.replayed)
        vote = request.vote
        if wants_extension(request):
            extension = extension_sign_bytes(request.chain_id, vote.height, vote.round, vote.extension)
            if not self._ways.verify(extension, signed.extension_signature):
                return None
        elif signed.extension_signature:
            return None
        if not same:
            vote = replace(vote, timestamp=parse_sign_bytes(signed.sign_bytes).timestamp)
        return SignedVote(vote, signed.signature, signed.extension_signature, signed.replayed)

    def _conclude(self, errand: _Errand, answer: Answer) -> None:
        self._finish(errand)
        errand.waiter.answer(answer)

    def _finish(self, errand: _Errand) -> None:
        self._errands.pop(errand.waiter, None)
        self._unsend(errand)
        if errand.inner is not None:
            self._signer.withdraw(errand.inner)
            errand.inner = None
        if errand.alarm is not None:
            errand.alarm.cancel()
            errand.alarm = None

    def _waited(self, errand: _Errand) -> None:
        errand.waited, errand.alarm = True, None
        self._hang_up_if_cut_off(errand)
        if self._refuse_after is not None and errand.waiter in self._errands:
            errand.alarm = self._timer(self._refuse_after - HANG_UP_AFTER_SECONDS, lambda: self._give_up(errand))

    def _give_up(self, errand: _Errand) -> None:
        errand.alarm = None
        if errand.waiter in self._errands:
            route = self._ways.routes.route()
            why = route.why if isinstance(route, Nowhere) else self._signer.quorum.waiting_for
            self._conclude(errand, Rejected(RejectedBecause.OUTAGE, why or "no majority answered in time"))

    # ---------------------------------------------------------------------------------------------- without a way

    def _try_again_later(self) -> None:
        if self._again is None:
            self._again = self._timer(TRY_AGAIN_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        for errand in tuple(self._errands.values()):
            if errand.waiter in self._errands and errand.inner is None and errand.way is None:
                self._place(errand)
                self._hang_up_if_cut_off(errand)

    def _hang_up_if_cut_off(self, errand: _Errand) -> None:
        """Send the node to another replica, at most once for what it asks: closing again and again wears it out."""
        if errand.waiter not in self._errands or not errand.waited or errand.way is not None:
            return
        route = self._ways.routes.route()
        if isinstance(route, Nowhere) and route.cut_off and errand.hrs not in self._hung_up:
            self._hung_up.append(errand.hrs)
            errand.waiter.hang_up()

    def _next_rpc(self) -> int:
        self._rpc += 1
        return self._rpc
