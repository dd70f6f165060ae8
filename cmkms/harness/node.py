"""A simulated CometBFT node as its signer sees it: asks for the key, for votes and proposals, retries as a node does.

Every sign request is handed to a witness (a recorder, an oracle), answered or not. The node never judges an answer
beyond what a real one does on the spot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Self, TypeVar

from cmkms.harness.endpoint import Attempt, Exchange, NodeTimings, SignerEndpoint
from cmkms.harness.errors import BadReplyError, NodeSideError, RemoteSignerError
from cmkms.harness.observation import Observation
from cmkms.harness.values import Proposal, Vote
from cmkms.harness.wire import (
    ErrorReply,
    ProposalReply,
    PubKeyReply,
    PubKeyRequest,
    Reply,
    Request,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    encode_request,
)

__all__ = ["Answer", "SimulatedNode", "Witness", "witnesses"]

Witness = Callable[[Observation], object]

_ReplyT = TypeVar("_ReplyT", bound=Reply)


@dataclass(frozen=True, slots=True)
class Answer(Generic[_ReplyT]):
    """A good reply and what it took.

    `asked_at` and `answered_at` (CLOCK_MONOTONIC, s) belong to the attempt that was answered, `first_asked_at` to the
    first one; `attempts` counts them all.
    """

    reply: _ReplyT
    first_asked_at: float
    asked_at: float
    answered_at: float
    attempts: int

    @property
    def latency(self) -> float:
        """Seconds from sealing the answered request to the opened reply."""
        return self.answered_at - self.asked_at

    @property
    def waited(self) -> float:
        """Seconds the consensus of the node stood still for this answer, retries included."""
        return self.answered_at - self.first_asked_at


def witnesses(*several: Witness) -> Witness:
    """One witness that tells several: a recorder and an oracle, say."""

    def tell(seen: Observation) -> None:
        for witness in several:
            witness(seen)

    return tell


class SimulatedNode:
    """One node with one address for its signer.

    `chain_id` goes into every request unless a call names another; `witness` sees each sign request when it has ended,
    each try of it by itself.
    """

    def __init__(
        self,
        address: str,
        chain_id: str,
        *,
        name: str = "node",
        timings: NodeTimings | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.chain_id = chain_id
        self.name = name
        self.timings = timings or NodeTimings()
        self.endpoint = SignerEndpoint(address, self.timings)
        self.witness = witness
        self._pub_key = b""

    @property
    def address(self) -> str:
        """Where a signer has to dial, with the real port."""
        return self.endpoint.address

    async def start(self) -> None:
        """Begin to listen, with a fresh connection key, as each start of a node does."""
        await self.endpoint.start()

    async def stop(self) -> None:
        """Close every socket at once."""
        await self.endpoint.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def boot(self) -> bytes:
        """What a node does at its start: ask for the public key once, without retry, and exit if there is none.

        Returns the key (32 bytes). Raises NodeSideError where a node would end with `can't get pubkey`.
        """
        exchange = await self.endpoint.exchange(encode_request(PubKeyRequest(self.chain_id)))
        reply = _expect(PubKeyReply, exchange)
        self._pub_key = reply.pub_key
        return reply.pub_key

    async def pub_key(self, chain_id: str | None = None) -> Answer[PubKeyReply]:
        """Ask for the public key, with retries, as consensus does once a block."""
        answer = await self._ask(PubKeyReply, PubKeyRequest(self._chain(chain_id)))
        self._pub_key = answer.reply.pub_key
        return answer

    async def sign_vote(
        self, vote: Vote, *, chain_id: str | None = None, skip_extension_signing: bool = False
    ) -> Answer[VoteReply]:
        """Ask for a vote, with retries of the same bytes.

        Raises:
            RemoteSignerError: refused, which is final.
            NodeSideError: every retry failed; the last failure.
        """
        return await self._ask(VoteReply, SignVoteRequest(self._chain(chain_id), vote, skip_extension_signing))

    async def sign_proposal(self, proposal: Proposal, *, chain_id: str | None = None) -> Answer[ProposalReply]:
        """Ask for a proposal; as `sign_vote`."""
        return await self._ask(ProposalReply, SignProposalRequest(self._chain(chain_id), proposal))

    async def raw(self, message: bytes) -> bytes:
        """Send any undelimited message once and return the undelimited reply, undecoded and unseen by the witness."""
        return (await self.endpoint.exchange(message)).reply

    def knows(self, pub_key: bytes) -> None:
        """Tell the node the validator's key instead of asking for it; observations are made with it."""
        self._pub_key = pub_key

    def _chain(self, chain_id: str | None) -> str:
        return self.chain_id if chain_id is None else chain_id

    async def _ask(self, kind: type[_ReplyT], request: Request) -> Answer[_ReplyT]:
        message = encode_request(request)
        signs = isinstance(request, SignVoteRequest | SignProposalRequest)
        observer = partial(self._observe, message) if signs else None
        loop_time = asyncio.get_running_loop().time
        first_asked_at = loop_time()
        failure: NodeSideError | None = None
        for attempt in range(1, self.timings.retries + 1):
            try:
                exchange = await self.endpoint.exchange(message, observer)
                reply = _expect(kind, exchange)
            except RemoteSignerError:
                raise
            except NodeSideError as error:
                failure = error
                await asyncio.sleep(self.timings.retry_pause)
            else:
                first = exchange.asked_at if attempt == 1 else first_asked_at
                return Answer(reply, first, exchange.asked_at, exchange.answered_at, attempt)
        raise NodeSideError(f"exhausted all {self.timings.retries} attempts: {failure}") from failure

    def _observe(self, message: bytes, attempt: Attempt) -> None:
        if self.witness is not None:
            self.witness(
                Observation(
                    node=self.name,
                    connection=attempt.connection,
                    asked_at=attempt.asked_at,
                    answered_at=attempt.ended_at,
                    pub_key=self._pub_key,
                    request=message,
                    reply=attempt.reply,
                    replica=attempt.replica,
                )
            )


def _expect(kind: type[_ReplyT], exchange: Exchange) -> _ReplyT:
    reply = decode_reply(exchange.reply)
    if isinstance(reply, ErrorReply):
        raise RemoteSignerError(reply.code, reply.description)
    if not isinstance(reply, kind):
        raise BadReplyError(f"asked for {kind.__name__}, got {type(reply).__name__}")
    return reply
