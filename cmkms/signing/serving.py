"""Sign requests that other replicas forward here: signed while this replica holds the lease, or passed on.

A replica passes on what is meant for one that its asker does not reach; the frame counts the hops, so nothing goes
round in circles. Bounded in count and time. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from cmkms.guard.quorum import Handle, Timer
from cmkms.privval import (
    SignProposalRequest,
    SignVoteRequest,
    UndecodableRequestError,
    decode_request,
    proposal_sign_bytes,
    vote_sign_bytes,
)
from cmkms.signing.answers import Answer, Rejected, RejectedBecause, SignedProposal, SignedVote
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder
from cmkms.signing.routes import Here, Through, Ways
from cmkms.signing.signer import Signer, SignRequest, Waiter

__all__ = ["MAX_BUDGET_MS", "MAX_SERVED", "Serving"]

MAX_BUDGET_MS: Final = 5000
"""A node waits 5 s for an answer (the read deadline of CometBFT's privval endpoint); nobody reads a later one."""
MAX_SERVED: Final = 64
"""Requests of one replica in hand at once. It has a handful of nodes, and a node asks one at a time."""

_Reply = ForwardedSignature | Rejected | NotHolder


@dataclass(eq=False, slots=True)
class _Served:
    """Another replica's request: `waiter` at our signer, or sent on to `target` as number `onward`."""

    member: str
    rpc: int
    waiter: Waiter | None = None
    onward: int | None = None
    target: str = ""
    expiry: Handle | None = None


class Serving:
    """The requests of other replicas, for one chain."""

    def __init__(self, chain_id: str, signer: Signer, timer: Timer, ways: Ways, *, first_rpc: int) -> None:
        self._chain_id = chain_id
        self._signer = signer
        self._timer = timer
        self._ways = ways
        self._rpc = first_rpc
        self._served: dict[tuple[str, int], _Served] = {}
        self._onward: dict[int, _Served] = {}
        self._asked: Counter[str] = Counter()

    def take_asked(self) -> dict[str, int]:
        """Return, and begin anew, how many requests each replica had signed here."""
        asked = dict(self._asked)
        self._asked.clear()
        return asked

    def __len__(self) -> int:
        return len(self._served)

    def serve(self, member: str, forward: Forward, *, closed: bool) -> None:
        """Take a request. With `closed`, this replica begins nothing any more."""
        served = _Served(member, forward.rpc)
        if (member, forward.rpc) in self._served:
            self._reply(served, NotHolder("", 0))
            return
        self._make_room(member)
        self._served[member, forward.rpc] = served
        route = self._ways.routes.route()
        if isinstance(route, Here) and not closed:
            self._sign(served, forward)
        elif not self._pass_on(served, forward):
            holder, term = (route.holder, route.term) if isinstance(route, Through) else ("", 0)
            self._settle(served, NotHolder(holder, term))
        if self._served.get((member, forward.rpc)) is served:
            budget = min(max(forward.budget_ms, 1), MAX_BUDGET_MS) / 1000
            served.expiry = self._timer(budget, lambda: self._settle(served, NotHolder("", 0)))

    def answered(self, member: str, forwarded: Forwarded) -> bool:
        """Hand an answer back to whoever asked through us; False if it is to no such question."""
        served = self._onward.get(forwarded.rpc)
        if served is None:
            return False
        if served.target == member:
            self._settle(served, forwarded.answer)
        return True

    def peer_down(self, member: str) -> None:
        """A replica is gone: nobody reads the answers to what it asked, and what went on to it comes to nothing."""
        for served in tuple(self._served.values()):
            if served.member == member:
                self._drop(served)
            elif served.target == member:
                self._settle(served, NotHolder("", 0))

    def leave(self, abandoned: Iterable[Waiter]) -> None:
        """The signer has left these without an answer: they are for whoever holds the lease now."""
        waiters = set(abandoned)
        for served in tuple(self._served.values()):
            if served.waiter in waiters:
                served.waiter = None
                self._settle(served, NotHolder("", 0))

    def _make_room(self, member: str) -> None:
        """Give up the oldest request of a replica that has too many in hand: its node has asked again since."""
        own = [one for one in self._served.values() if one.member == member]
        if len(own) >= MAX_SERVED:
            self._settle(own[0], NotHolder("", 0))

    def _sign(self, served: _Served, forward: Forward) -> None:
        self._asked[served.member] += 1
        try:
            request = decode_request(forward.request)
        except UndecodableRequestError as error:
            self._settle(served, Rejected(RejectedBecause.UNDECODABLE, f"not decodable at the lease holder: {error}"))
            return
        if not isinstance(request, SignVoteRequest | SignProposalRequest) or request.chain_id != self._chain_id:
            self._settle(served, Rejected(RejectedBecause.UNKNOWN_CHAIN, "this connection signs for another chain"))
            return
        waiter = served.waiter = Waiter(request, lambda answer: self._signed(served, request, answer))
        self._signer.submit(waiter)

    def _signed(self, served: _Served, request: SignRequest, answer: Answer) -> None:
        # The signer is done with this waiter: nothing is withdrawn any more.
        served.waiter = None
        self._settle(served, _reply_of(request, answer))

    def _pass_on(self, served: _Served, forward: Forward) -> bool:
        if forward.hops <= 1 or not self._ways.routes.reaches(forward.target):
            return False
        self._rpc += 1
        if not self._ways.link(forward.target, replace(forward, rpc=self._rpc, hops=1)):
            return False
        served.onward = self._rpc
        served.target = forward.target
        self._onward[self._rpc] = served
        return True

    def _settle(self, served: _Served, reply: _Reply) -> None:
        self._drop(served)
        self._reply(served, reply)

    def _reply(self, served: _Served, reply: _Reply) -> None:
        self._ways.link(served.member, Forwarded(served.rpc, self._chain_id, reply))

    def _drop(self, served: _Served) -> None:
        if self._served.get((served.member, served.rpc)) is served:
            del self._served[served.member, served.rpc]
        if served.expiry is not None:
            served.expiry.cancel()
            served.expiry = None
        if served.onward is not None:
            self._onward.pop(served.onward, None)
            served.onward = None
        if served.waiter is not None:
            self._signer.withdraw(served.waiter)
            served.waiter = None


def _reply_of(request: SignRequest, answer: Answer) -> ForwardedSignature | Rejected:
    match answer:
        case Rejected():
            return answer
        case SignedVote(vote=vote, signature=signature, extension_signature=extension, replayed=replayed):
            return ForwardedSignature(vote_sign_bytes(request.chain_id, vote), signature, extension, replayed)
        case SignedProposal(proposal=proposal, signature=signature, replayed=replayed):
            return ForwardedSignature(proposal_sign_bytes(request.chain_id, proposal), signature, b"", replayed)
