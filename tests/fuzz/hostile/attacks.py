"""What a hostile member does, by name: each attack goes on for a while, and then its replica is gone.

The docstring of each says what it is meant to break. None of them is given up because a session ended: the link dials
again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Final

from cmkms.cluster import codec as raft
from cmkms.cluster.elections import LogEnd
from cmkms.cluster.view import View
from cmkms.guard.change import Change
from cmkms.guard.claims import FloorClaim, FloorKind, GuardClaim, GuardPhase
from cmkms.guard.decide import Accepted, Conflict, Held, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.generation import GenerationId, Member
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked, digest_of
from cmkms.guard.state_file import SignState
from cmkms.peers.codec import MAX_GUARDS, decode
from cmkms.peers.frames import with_length
from cmkms.peers.messages import Blow, Propose, Raft
from cmkms.peers.wire import PeerProtocolError
from cmkms.privval import SignedMsgType, SignVoteRequest, Timestamp, Vote, encode_request, vote_sign_bytes
from cmkms.privval.signbytes import CanonicalMessage, encode_sign_bytes
from cmkms.privval.values import NIL_BLOCK
from cmkms.signing.answers import Rejected, RejectedBecause
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder
from tests.fuzz.entries_link import messages_corpus
from tests.fuzz.hostile.peer import HostilePeer, for_a_while
from tests.fuzz.mutation import Mutator

__all__ = ["ATTACKS", "Attack"]

Attack = Callable[[HostilePeer, float], Awaitable[None]]

_FAR: Final = 2**40
"""A term that is far ahead, and not so far that it is refused for that."""
_STORM_SECONDS: Final = 0.03
_STEP_TERMS: Final = 1000


def _vote(chain_id: str, height: int, round_: int = 0) -> Vote:
    return Vote(SignedMsgType.PREVOTE, height, round_, NIL_BLOCK, Timestamp(1_700_000_000, 0))


async def enormous_statuses(peer: HostilePeer, seconds: float) -> None:
    """As many guards as a status can name, each with the longest reason, all of them new each time."""

    def burst(number: int) -> None:
        reason = f"{number} " + "é" * 240
        claims = (
            replace(
                peer.claim,
                chain_id=f"chain-{number}-{at}",
                phase=GuardPhase.REFUSED,
                nonce=os.urandom(16),
                reason=reason,
            )
            for at in range(MAX_GUARDS)
        )
        peer.say(peer.status(*claims, term=number, holder=peer.others[number % 2]))

    await for_a_while(peer, seconds, burst)


async def forged_claims(peer: HostilePeer, seconds: float) -> None:
    """Its own guard in every phase, with other nonces, generations, points and floors."""
    random = Random(1)

    def forged() -> GuardClaim:
        record = peer.record
        point = HRS(random.choice((0, 1, record.hrs.height, 2**63 - 1)), random.randrange(3), Step(random.randrange(4)))
        floor = FloorClaim(random.choice(tuple(FloorKind)), point, random.choice((None, b"", b"\xff" * 232)), 2**64 - 1)
        return replace(
            peer.claim,
            phase=random.choice(tuple(GuardPhase)),
            generation=random.choice((record.generation, GenerationId(2**64 - 1, os.urandom(32)))),
            nonce=random.choice((record.nonce, os.urandom(16), b"")),
            hrs=point,
            floor=floor,
            agrees=random.choice((b"", os.urandom(32))),
            sequence=random.choice((0, 1, 2**64 - 1)),
            key_hash=random.choice((record.key_hash, b"", os.urandom(32))),
        )

    def burst(_: int) -> None:
        for _ in range(8):
            term, holder = random.choice((0, 2**64 - 1)), random.choice(("", "x", *peer.others))
            peer.say(peer.status(forged(), forged(), term=term, holder=holder))

    await for_a_while(peer, seconds, burst)


async def answers_never_asked(peer: HostilePeer, seconds: float) -> None:
    """Verdicts of every kind, under every number, with the right generation and nonce."""
    random, record = Random(2), peer.record
    numbers = count(1)

    def burst(_: int) -> None:
        at = HRS(record.hrs.height + random.randrange(50), random.randrange(2), Step(random.randrange(1, 4)))
        asked = vote_sign_bytes(record.chain_id, _vote(record.chain_id, at.height, at.round))
        verdicts = (
            Accepted(advances=True), Held(asked), Conflict(b"x"), Sealed(at), Regression(at), Outranked(2**64 - 1),
            Refused(random.choice(tuple(RefusedBecause)), "é" * 240),
        )  # fmt: skip
        for verdict in verdicts:
            rpc = random.choice((next(numbers), random.getrandbits(60), 0, 2**64 - 1))
            peer.say(
                Answered(rpc, record.chain_id, record.generation, at, digest_of(asked), record.nonce, 2**63, verdict)
            )
            peer.say(
                Peeked(
                    rpc,
                    random.getrandbits(20),
                    record.chain_id,
                    record.generation,
                    record.nonce,
                    2**63,
                    usable=True,
                    hrs=at,
                    sign_bytes=asked,
                )
            )
            peer.say(Forwarded(rpc, record.chain_id, ForwardedSignature(asked, os.urandom(64), b"", replayed=False)))
            peer.say(Forwarded(rpc, record.chain_id, NotHolder(peer.others[0], 2**63)))
            peer.say(Forwarded(rpc, record.chain_id, Rejected(RejectedBecause.CONFLICT, "no")))

    await for_a_while(peer, seconds, burst)


async def floods_of_forwards(peer: HostilePeer, seconds: float) -> None:
    """Requests to sign, as fast as they go: no requests, what is below, what is for another chain, in circles."""
    record, numbers = peer.record, count(1)
    low = encode_request(SignVoteRequest(record.chain_id, _vote(record.chain_id, 1), skip_extension_signing=False))
    other = encode_request(SignVoteRequest("another-chain", _vote("another-chain", 1), skip_extension_signing=False))
    requests = (low, other, b"", b"\xff" * 1000, b"\x3a\x00", b"\x0a\x00", b"\x1a\x80\x80\x40" + bytes(1 << 16))

    def burst(number: int) -> None:
        for request in requests:
            for hops, target in ((1, ""), (2, peer.others[number % 2]), (255, "nobody"), (0, peer.member.me)):
                peer.say(Forward(next(numbers), record.chain_id, target, hops, 2**32 - 1, request))

    await for_a_while(peer, seconds, burst)


async def accepts_of_all_kinds(peer: HostilePeer, seconds: float) -> None:
    """Another generation, another key, no vote at all, and heights beyond the ceiling."""
    random, record = Random(3), peer.record
    numbers = count(1)

    def burst(_: int) -> None:
        for height in (1, 2**63 - 1, record.hrs.height + 10**6):
            asked = vote_sign_bytes(record.chain_id, _vote(record.chain_id, height))
            foreign = GenerationId(record.generation.number, os.urandom(32))
            term = random.choice((0, 1, 2**64 - 1))
            peer.say(Accept(next(numbers), term, record.chain_id, record.key_hash, record.generation, asked))
            peer.say(Accept(next(numbers), term, record.chain_id, record.key_hash, foreign, asked))
            peer.say(Accept(next(numbers), term, record.chain_id, os.urandom(32), record.generation, asked))
            peer.say(Accept(next(numbers), term, "another-chain", record.key_hash, record.generation, asked))
            peer.say(Peek(next(numbers), term, "another-chain"))
        peer.say(Accept(next(numbers), 0, record.chain_id, record.key_hash, record.generation, os.urandom(100)))

    await for_a_while(peer, seconds, burst)


async def peeks_of_terms_to_come(peer: HostilePeer, seconds: float) -> None:
    """Whoever peeks of a higher term takes over: guards must not follow one that nobody leads."""
    record, numbers = peer.record, count(1)
    await for_a_while(peer, seconds, lambda _: peer.say(Peek(next(numbers), 2**64 - 1, record.chain_id)))


async def elections_without_end(peer: HostilePeer, seconds: float) -> None:
    """Newer terms, votes nobody asked for, candidacies, transfers, acknowledgements of the future."""
    random = Random(4)
    terms = count(2, _STEP_TERMS)

    def burst(_: int) -> None:
        term = next(terms)
        end = LogEnd(random.choice((0, term, 2**62)), random.choice((0, 1, 2**62)))
        messages: tuple[raft.Message, ...] = (
            raft.NewerTerm(term),
            raft.RequestVote(term, end, transfer=True),
            raft.RequestVote(term, end, transfer=False),
            raft.GrantVote(term),
            raft.RequestPreVote(term, end, random.choice(("", *peer.others))),
            raft.AnswerPreVote(term, granted=True, own_term=term),
            raft.Acknowledge(term, 2.0**62, 2**61, reset=random.random() < 0.5, success=random.random() < 0.5),
            raft.TimeoutNow(term),
            raft.NewerTerm(2**63 - 1),
        )
        for message in random.sample(messages, 4):
            peer.say(Raft(raft.encode(message)))

    await for_a_while(peer, seconds, burst)


async def a_leader_that_never_commits(peer: HostilePeer, seconds: float) -> None:
    """Entries for the log, the longest there are, one after the other, none of them ever committed."""
    command = b"\x00" + bytes(15 * 1024)
    at = count(1, 16)

    def burst(_: int) -> None:
        previous, term = next(at), _FAR >> 10
        entries = tuple(raft.Entry(term, command) for _ in range(16))
        peer.say(Raft(raft.encode(raft.AppendEntries(term, 1.0, 1, previous, 0 if previous == 1 else term, entries))))

    await for_a_while(peer, seconds, burst)


def _nowhere(chain_id: str, height: int) -> bytes:
    return encode_sign_bytes(
        CanonicalMessage(SignedMsgType.PREVOTE, height, 0, 0, NIL_BLOCK, Timestamp(0, 0), chain_id)
    )


async def views_of_its_own(peer: HostilePeer, seconds: float) -> None:
    """Signatures that are none, chains that nobody has, leases of everybody; views installed as a leader's."""
    random = Random(5)

    def burst(number: int) -> None:
        states = {
            f"chain-{random.getrandbits(40)}": SignState(HRS(2**63 - 1, 0, Step.PRECOMMIT), b"x" * 200, os.urandom(64))
            for _ in range(200)
        }
        # Of the chain that is signed for, with bytes of a place that there is not.
        place = HRS(2**62 + number, 0, Step.PREVOTE)
        states[peer.record.chain_id] = SignState(place, _nowhere(peer.record.chain_id, -number), os.urandom(64))
        view = View(states).encode()
        peer.say(Raft(raft.encode(raft.ShareView(view))))
        entry, term = raft.Entry(0, b"\x01"), number + 2
        peer.say(Raft(raft.encode(raft.InstallView(term, 1.0, 2**62, 2**61, entry, entry, view))))

    await for_a_while(peer, seconds, burst)


async def changes_of_generation(peer: HostilePeer, seconds: float) -> None:
    """Proposes other guards all the time: after the generation in force, and after such as nobody has heard of."""
    record, marker = peer.record, peer.marker
    numbers = count(1)

    def burst(_: int) -> None:
        for _ in range(8):
            others = tuple(Member(name, os.urandom(32), os.urandom(16)) for name in peer.others)
            strange = Change(record.chain_id, record.key_hash, next(numbers), os.urandom(32), others, others)
            peer.say(Propose(strange))
            number, previous = record.generation.number, marker.previous
            peer.say(Propose(Change(record.chain_id, record.key_hash, number, previous, marker.members, others)))

    await for_a_while(peer, seconds, burst)


async def a_storm_of_connections(peer: HostilePeer, seconds: float) -> None:
    """Connects and is gone, again and again, each time with another life, other chains and other keys in its hello."""
    deadline, honest = time.monotonic() + seconds, peer.member.says
    numbers = count()
    peer.member.says = lambda hello: replace(
        hello,
        boot=os.urandom(16),
        guards=tuple(
            replace(peer.claim, chain_id=f"c-{next(numbers)}", key_hash=os.urandom(32)) for _ in range(MAX_GUARDS)
        ),
    )
    try:
        while time.monotonic() < deadline:
            for other in peer.others:
                session = peer.member.net._links[other].session
                if session is not None:
                    session.end("again")
            await asyncio.sleep(_STORM_SECONDS)
    finally:
        peer.member.says = honest


async def deaf_and_full_of_questions(peer: HostilePeer, seconds: float) -> None:
    """Asks without an end and reads no answer: they must not pile up."""
    record, numbers = peer.record, count(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        peer.deaf(deaf=True)
        for _ in range(500):
            peer.say(Peek(next(numbers), 0, record.chain_id))
        await asyncio.sleep(_STORM_SECONDS)


async def half_a_frame(peer: HostilePeer, seconds: float) -> None:
    """Announces a long frame and sends it byte by byte, so that it is never silent and never done."""
    peer.shout((1 << 20).to_bytes(4, "big"))
    await for_a_while(peer, seconds, lambda _: peer.shout(b"\x20"))


def _blows(frame: bytes) -> bool:
    """Whether it blows fuses. A member's word is enough for that (docs/THREAT_MODEL.md): nobody signs on after it."""
    try:
        return isinstance(decode(frame), Blow)
    except PeerProtocolError:
        return False


async def mutated_messages(peer: HostilePeer, seconds: float) -> None:
    """Everything that can be said, damaged a little."""
    mutator = Mutator(Random(6), messages_corpus())

    def burst(_: int) -> None:
        for _ in range(20):
            frame = mutator.draw() or b"\x00"
            if not _blows(frame):
                peer.frame(frame)

    await for_a_while(peer, seconds, burst)


async def everything_well_formed(peer: HostilePeer, seconds: float) -> None:
    """Everything that can be said, in any order, out of turn."""
    random = Random(7)
    frames = [frame for frame in messages_corpus() if frame[:1] not in {b"\x01", b"\x02"} and not _blows(frame)]
    await for_a_while(peer, seconds, lambda _: peer.shout(b"".join(map(with_length, random.sample(frames, 5)))))


ATTACKS: Final[tuple[Attack, ...]] = (
    enormous_statuses,
    forged_claims,
    answers_never_asked,
    floods_of_forwards,
    accepts_of_all_kinds,
    peeks_of_terms_to_come,
    elections_without_end,
    a_leader_that_never_commits,
    views_of_its_own,
    changes_of_generation,
    a_storm_of_connections,
    deaf_and_full_of_questions,
    half_a_frame,
    mutated_messages,
    everything_well_formed,
)
