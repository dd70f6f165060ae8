"""What validators sign, drawn at random from everything that is legal."""

from __future__ import annotations

from hypothesis import strategies as st

from cmkms.privval import BlockID, CanonicalMessage, PartSetHeader, Proposal, SignedMsgType, Timestamp, Vote

__all__ = ["block_ids", "canonical_messages", "chain_ids", "proposals", "timestamps", "votes"]

hashes = st.sampled_from([b"", bytes(32), b"\xff" * 32]) | st.binary(min_size=32, max_size=32)
chain_ids = st.text(max_size=50)
heights = st.integers(1, 2**63 - 1) | st.integers(1, 300)
rounds = st.integers(0, 2**31 - 1) | st.integers(0, 3)
pol_rounds = st.integers(-1, 2**31 - 1) | st.integers(-1, 3)
block_ids = st.builds(BlockID, hashes, st.builds(PartSetHeader, st.integers(0, 2**32 - 1) | st.just(0), hashes))
timestamps = st.builds(
    Timestamp,
    st.integers(-62_135_596_800, 253_402_300_799) | st.sampled_from([-62_135_596_800, -1, 0, 253_402_300_799]),
    st.integers(0, 999_999_999) | st.just(0),
)
vote_types = st.sampled_from([SignedMsgType.PREVOTE, SignedMsgType.PRECOMMIT])
votes = st.builds(Vote, vote_types, heights, rounds, block_ids, timestamps)
proposals = st.builds(Proposal, heights, rounds, pol_rounds, block_ids, timestamps)

canonical_messages = st.builds(
    CanonicalMessage, vote_types, heights, rounds, st.just(0), block_ids, timestamps, chain_ids
) | st.builds(
    CanonicalMessage,
    st.just(SignedMsgType.PROPOSAL),
    heights,
    rounds,
    pol_rounds,
    block_ids,
    timestamps,
    chain_ids,
)
