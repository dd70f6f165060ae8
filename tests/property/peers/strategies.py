"""Everything that replicas may say to each other, drawn at random."""

from __future__ import annotations

from hypothesis import strategies as st

from cmkms.guard.change import Change
from cmkms.guard.claims import FloorClaim, FloorKind, GuardClaim, GuardPhase
from cmkms.guard.decide import Accepted, Conflict, Held, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.generation import GenerationId, Member
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked
from cmkms.peers.messages import Blow, Declined, Frame, Goodbye, Hello, HelloMember, Propose, Raft, Status
from cmkms.signing.answers import Rejected, RejectedBecause
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder

__all__ = ["frames"]


def texts(limit: int) -> st.SearchStrategy[str]:
    return st.text(max_size=limit).filter(lambda text: len(text.encode()) <= limit)


u8 = st.integers(0, 2**8 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
digests = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=16, max_size=16)
maybe_digests = st.just(b"") | digests
maybe_nonces = st.just(b"") | nonces
chain_ids = texts(50)
member_ids = texts(32)
sentences = texts(500)
sign_bytes = st.binary(max_size=232)
maybe_sign_bytes = st.none() | sign_bytes
generations = st.builds(GenerationId, u64, digests)
points = st.builds(HRS, st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1), st.sampled_from(Step))
signatures = st.binary(max_size=96)

verdicts = (
    st.builds(Accepted, st.booleans())
    | st.builds(Held, sign_bytes)
    | st.builds(Conflict, sign_bytes)
    | st.builds(Sealed, points)
    | st.builds(Regression, points)
    | st.builds(Refused, st.sampled_from(RefusedBecause), sentences)
    | st.builds(Outranked, u64)
)
accepts = st.builds(Accept, u64, u64, chain_ids, digests, generations, sign_bytes)
answers = st.builds(Answered, u64, chain_ids, generations, points, digests, maybe_nonces, u64, verdicts)
peeks = st.builds(Peek, u64, u64, chain_ids)
peeked = st.builds(Peeked, u64, u64, chain_ids, generations, maybe_nonces, u64, st.booleans(), points, maybe_sign_bytes)

floors = st.builds(FloorClaim, st.sampled_from(FloorKind), points, maybe_sign_bytes, u64)
claims = st.builds(
    GuardClaim,
    chain_ids,
    maybe_digests,
    st.sampled_from(GuardPhase),
    generations,
    nonces,
    u64,
    points,
    floors,
    maybe_digests,
    sentences,
)
guards = st.lists(claims, max_size=3).map(tuple)
members = st.builds(HelloMember, member_ids, maybe_digests.map(bytes.hex))
hellos = st.builds(Hello, u8, u8, texts(32), member_ids, nonces, u32, st.lists(members, max_size=5).map(tuple), guards)
statuses = st.builds(
    Status,
    u64,
    member_ids,
    st.lists(member_ids, max_size=5).map(tuple),
    u32,
    st.lists(chain_ids, max_size=3).map(tuple),
    guards,
)

forwards = st.builds(Forward, u64, chain_ids, member_ids, u8, u32, st.binary(max_size=2000))
outcomes = (
    st.builds(ForwardedSignature, sign_bytes, signatures, signatures, st.booleans())
    | st.builds(Rejected, st.sampled_from(RejectedBecause), sentences)
    | st.builds(NotHolder, member_ids, u64)
)
forwarded = st.builds(Forwarded, u64, chain_ids, outcomes)

guard_members = st.lists(st.builds(Member, member_ids, digests, nonces), max_size=5).map(tuple)
changes = st.builds(Change, chain_ids, digests, u64, digests, guard_members, guard_members)

frames: st.SearchStrategy[Frame] = st.one_of(
    accepts,
    answers,
    peeks,
    peeked,
    hellos,
    statuses,
    forwards,
    forwarded,
    st.builds(Raft, st.binary(max_size=2000)),
    st.builds(Blow, chain_ids, maybe_nonces, u64),
    st.builds(Declined, sentences),
    st.builds(Propose, changes),
    st.just(Goodbye()),
)
