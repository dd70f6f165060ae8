"""What the other replicas' connections feed: frames, messages, claims, certificates, elections, views.

Each entry takes one input, checks what its module promises of the result, does with it what a replica does at once,
and returns a word for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cmkms.cluster import codec as raft_codec
from cmkms.cluster.view import LeaseTaken, View
from cmkms.guard.change import Change, left_behind, next_change_step
from cmkms.guard.claims import NO_FLOOR, FloorClaim, FloorKind, GuardClaim, GuardPhase, refused_claim
from cmkms.guard.decide import Accepted, Conflict, Held, Refused, RefusedBecause, Regression, Sealed, Verdict
from cmkms.guard.founding import Candidate, next_step
from cmkms.guard.generation import NO_GENERATION
from cmkms.guard.hrs import NEVER
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked, digest_of
from cmkms.guard.state_file import SignState
from cmkms.keys.certificate import issuer_of, make_leaf
from cmkms.keys.identity import Identity
from cmkms.peers.codec import MAX_FRAME_BYTES, decode, encode, versions_of
from cmkms.peers.frames import FrameReader, with_length
from cmkms.peers.greeting import hello_objection, version_objection
from cmkms.peers.messages import Blow, Declined, Frame, Goodbye, Hello, HelloMember, Propose, Raft, Status
from cmkms.peers.wire import PeerProtocolError
from cmkms.replica.neighbours import differences
from cmkms.replica.rollback import RollbackWatch, Watermark
from cmkms.signing.answers import Rejected, RejectedBecause
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder
from tests.fuzz.entries_change import change
from tests.unit.cluster.test_codec import MESSAGES as RAFT_MESSAGES
from tests.unit.guard.world import CHAIN, GENERATION, KEY, KEY_HASH, NONCE, NOW, hrs, precommit, prevote
from tests.unit.privval.vectors import MESSAGES as REQUESTS

__all__ = [
    "certificate",
    "certificate_corpus",
    "frames",
    "frames_corpus",
    "message",
    "messages_corpus",
    "raft",
    "raft_corpus",
    "view",
    "view_corpus",
]

_IDS: Final = ("node-0", "node-1", "node-2")
_PINS: Final = tuple(hashlib.sha256(name.encode()).hexdigest() for name in _IDS)
_MEMBERS: Final = tuple(HelloMember(name, pin) for name, pin in zip(_IDS, _PINS, strict=True))
_UNBOUND: Final = GuardClaim(CHAIN, KEY_HASH, GuardPhase.UNBOUND, NO_GENERATION, NONCE, 1, NEVER, NO_FLOOR)
_OURS: Final = Hello(1, 1, "0.1.0", "node-0", b"b" * 16, 400, _MEMBERS, (_UNBOUND,))


# ------------------------------------------------------------------------------------------------------------- corpora


def _claims() -> tuple[GuardClaim, ...]:
    state = FloorClaim(FloorKind.STATE, hrs(7, 0, 2), prevote(7), NOW)
    seal = FloorClaim(FloorKind.STATE, hrs(7, 0, 2), None, NOW)
    word = FloorClaim(FloorKind.NEVER_SIGNED, NEVER, None, 0)
    bound = replace(_UNBOUND, phase=GuardPhase.BOUND, generation=GENERATION, agrees=bytes(32), sequence=3)
    return (
        replace(_UNBOUND, floor=state),
        replace(_UNBOUND, floor=seal, nonce=bytes(16)),
        replace(_UNBOUND, floor=word, agrees=bytes(range(32))),
        bound,
        replace(bound, phase=GuardPhase.ARMED, hrs=hrs(9, 1, 3), agrees=b""),
        replace(bound, phase=GuardPhase.FUSED, reason="its disk failed"),
        refused_claim(CHAIN, KEY_HASH, "lost: see the runbook"),
        replace(_UNBOUND, chain_id="another-chain", key_hash=b""),
    )


def _messages() -> tuple[Frame, ...]:
    claims = _claims()
    verdicts: tuple[Verdict | Outranked, ...] = (
        Accepted(advances=True),
        Accepted(advances=False),
        Held(prevote(9)),
        Conflict(precommit(9)),
        Sealed(hrs(9, 0, 2)),
        Regression(hrs(9, 0, 3)),
        *(Refused(reason, "why") for reason in RefusedBecause),
        Outranked(7),
    )
    digest = digest_of(prevote(9))
    point = hrs(9, 0, 2)
    outcomes: tuple[ForwardedSignature | Rejected | NotHolder, ...] = (
        ForwardedSignature(prevote(9), KEY.sign(prevote(9)), b"", replayed=False),
        *(Rejected(reason, "why not") for reason in RejectedBecause),
        NotHolder("node-1", 4),
    )
    theirs = replace(_OURS, member_id="node-1", boot=b"c" * 16)
    return (
        theirs,
        *(replace(theirs, guards=(claim,)) for claim in claims),
        replace(theirs, guards=claims, members=(*_MEMBERS, HelloMember("node-3", "")), newest_version=9),
        Status(4, "node-1", _IDS, 1, (CHAIN,), claims),
        *(Status(2**63, name, (), 0, (), (claim,)) for name, claim in zip(("", *_IDS), claims, strict=False)),
        Accept(11, 4, CHAIN, KEY_HASH, GENERATION, prevote(9)),
        *(Answered(11, CHAIN, GENERATION, point, digest, NONCE, 5, verdict) for verdict in verdicts),
        Answered(11, CHAIN, GENERATION, point, digest, b"", 0, Accepted(advances=True)),
        Peek(12, 4, CHAIN),
        Peeked(12, 4, CHAIN, GENERATION, NONCE, 5, usable=True, hrs=point, sign_bytes=prevote(9)),
        Peeked(12, 4, CHAIN, GENERATION, NONCE, 5, usable=False, hrs=point, sign_bytes=None),
        Forward(13, CHAIN, "node-1", 2, 5000, REQUESTS["vote_request"]),
        *(Forwarded(13, CHAIN, outcome) for outcome in outcomes),
        *(Raft(raft_codec.encode(one)) for one in RAFT_MESSAGES),
        Blow(CHAIN, NONCE, 9),
        Blow("", b"c" * 16, 0),
        Declined("the peer lists differ"),
        Goodbye(),
        *(Propose(one) for one in (change(), replace(change(), number=2**64 - 1, leaving=(), members=()))),
    )


def messages_corpus() -> Sequence[bytes]:
    """One of every message, verdict, refusal and phase that one replica can tell another."""
    return [*(encode(one) for one in _messages()), b"\x80newer", b"\x00", b"\x07"]


def frames_corpus() -> Sequence[bytes]:
    """The same with their lengths, alone and several in a row."""
    framed = [with_length(one) for one in messages_corpus()]
    return [*framed[:12], b"".join(framed), bytes(4), b"\xff\xff\xff\xff"]


def raft_corpus() -> Sequence[bytes]:
    """One of every message of the election and the replicated view."""
    views = [raft_codec.ShareView(one) for one in view_corpus()]
    return [raft_codec.encode(one) for one in (*RAFT_MESSAGES, *views)]


def view_corpus() -> Sequence[bytes]:
    """Views of nothing, of one chain, of several with leases."""
    one = SignState(hrs(9, 0, 3), precommit(9), KEY.sign(precommit(9)))
    other = SignState(hrs(7, 0, 2), prevote(7), KEY.sign(prevote(7)))
    leases = [LeaseTaken(term, _IDS[term % 3]) for term in range(20)]
    return [
        View().encode(),
        View({CHAIN: one}).encode(),
        View({CHAIN: one, "another-chain": other, "": other}, leases).encode(),
        View(taken=leases).encode(),
    ]


def certificate_corpus() -> Sequence[bytes]:
    """A replica's certificate as TLS hands it over, and the key's half of the file that is none."""
    pem = make_leaf(Identity.from_seed(bytes(range(32)))).pem
    leaf = x509.load_pem_x509_certificate(pem)
    return [leaf.public_bytes(Encoding.DER), pem, b""]


# ------------------------------------------------------------------------------------------------------------- entries


def frames(data: bytes) -> str:
    """Frames of a stream: whole and byte by byte they are the same, and so is the error."""
    whole, error = _frames([data])
    piecemeal = _frames(data[at : at + 1] for at in range(len(data)))
    assert (whole, str(error)) == (piecemeal[0], str(piecemeal[1])), "byte by byte it reads otherwise"
    if error is not None:
        raise error
    return f"{min(len(whole), 9)} frames"


def _frames(pieces: Iterable[bytes]) -> tuple[list[bytes], PeerProtocolError | None]:
    reader, found = FrameReader(MAX_FRAME_BYTES), list[bytes]()
    for piece in pieces:
        reader.feed(piece)
        try:
            while (frame := reader.next_frame()) is not None:
                found.append(frame)
        except PeerProtocolError as error:
            return found, error
    return found, None


def message(data: bytes) -> str:
    """One frame: exactly the bytes of the one form of its message, and taken in without harm."""
    told = versions_of(data)
    found = decode(data)
    if found is None:
        assert data[0] >= 128, "a message that must be known was skipped"
        return "optional"
    assert encode(found) == data, "not the only form"
    assert decode(encode(found)) == found
    if isinstance(found, Hello):
        assert told is not None
        assert told == (found.oldest_version, found.newest_version)
        objection = version_objection(_OURS, told, "node-1") or hello_objection(_OURS, found, "node-1")
        encode(Declined(objection))
        differences(found, {CHAIN: KEY_HASH})
    if isinstance(found, Hello | Status):
        _be_born_with(found.guards)
    if isinstance(found, Propose):
        _change_as(found.change)
    if isinstance(found, Answered):
        return f"Answered {type(found.verdict).__name__}"
    return f"Forwarded {type(found.answer).__name__}" if isinstance(found, Forwarded) else type(found).__name__


def _be_born_with(claims: tuple[GuardClaim, ...]) -> None:
    """Look for the next step of a birth among these claims, as a replica does with each status."""
    watch = RollbackWatch()
    guards = {claim.chain_id: claim for claim in claims}
    for mine in _claims():
        claim = guards.get(CHAIN, mine)
        others = {name: Candidate(name, bytes(32), claim) for name in _IDS[1:]}
        step = next_step(CHAIN, _IDS, Candidate("node-0", bytes(32), mine), others)
        # A step is told: in the log, and in the own claim.
        if why := getattr(step, "why", "") or getattr(step, "what_to_do", ""):
            refused_claim(CHAIN, KEY_HASH, why)
    for claim in claims:
        watch.see("node-1", claim.chain_id, claim.nonce, claim.sequence, Watermark(claim.generation, claim.hrs))


def _change_as(proposed: Change) -> None:
    """Look for the next step of a change that somebody proposes, as a replica does."""
    assert proposed.after.number == proposed.before.number + 1
    for mine in _claims():
        others = {name: Candidate(name, bytes(32), mine) for name in _IDS[1:]}
        for agreed in (False, True):
            me = Candidate("node-0", bytes(32), mine)
            next_change_step(proposed, me, others, agreed=agreed, holder="node-1")
    left_behind(proposed, ())


def raft(data: bytes) -> str:
    """A message of the election: exactly the bytes of its one form."""
    found = raft_codec.decode(data)
    assert raft_codec.encode(found) == data, "not the only form"
    if isinstance(found, raft_codec.InstallView | raft_codec.ShareView):
        view(found.view)
    return type(found).__name__


def view(data: bytes) -> str:
    """A view: one form, and merged twice it is merged once."""
    found = View.decode(data)
    assert found.encode() == data, "not the only form"
    known = View()
    known.merge(data)
    assert not known.merge(data), "the same again is news"
    assert known == found
    parts = View()
    for part in found.parts():
        parts.merge(part)
    assert parts == found, "in parts it says something else"
    return f"{min(len(found.chains), 3)} chains, {min(len(found.leases), 3)} leases"


def certificate(data: bytes) -> str:
    """What a caller shows of itself in the TLS handshake."""
    assert len(issuer_of(data)) == len(bytes(32))
    return "an identity"
