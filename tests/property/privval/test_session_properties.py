"""Sessions under any bytes at all, in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from cmkms.errors import PeerError
from cmkms.privval import Event, SendBytes, ValidatorSession
from cmkms.privval.framing import delimit
from cmkms.privval.secret_connection import FrameSealer, SecretConnection
from tests.unit.privval.node_side import NODE_SEED, SIGNER_SEED, join
from tests.unit.privval.vectors import HANDSHAKE, MESSAGES

requests = st.sampled_from(
    [
        MESSAGES["ping_request"],
        MESSAGES["vote_request"],
        MESSAGES["proposal_request"],
        MESSAGES["empty_pub_key_request"],
        b"\x1a\x02\x0a\x05",  # to be answered by an error
        MESSAGES["ping_request"] + b"\x5a\xd0\x0f" + bytes(2000),  # of several frames
    ]
)
streams = st.binary(max_size=200) | st.lists(requests | st.binary(max_size=60), max_size=5).map(
    lambda messages: b"".join(map(delimit, messages))
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The same bytes, cut at these places (modulo their number)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        yield data[start:end]


def ends_well(session: ValidatorSession, data: bytes, cuts: list[int]) -> None:
    """Feed it all: events or a PeerError come out, and any other exception fails the test."""
    with suppress(PeerError):
        for piece in pieces(data, cuts):
            session.receive(piece)


@given(streams, st.lists(st.integers(0, 500), max_size=5))
def test_any_bytes_on_a_plain_session_end_in_events_or_a_peers_error(data: bytes, cuts: list[int]) -> None:
    ends_well(ValidatorSession.plain(), data, cuts)


@given(st.binary(max_size=1200), st.lists(st.integers(0, 1200), max_size=5))
def test_any_bytes_before_the_handshake_end_in_a_peers_error(data: bytes, cuts: list[int]) -> None:
    ends_well(ValidatorSession.secret(SIGNER_SEED), data, cuts)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=2200), st.lists(st.integers(0, 2200), max_size=5))
def test_any_bytes_after_an_ephemeral_key_end_in_a_peers_error(key: bytes, data: bytes, cuts: list[int]) -> None:
    ends_well(ValidatorSession.secret(SIGNER_SEED), b"\x22\x0a\x20" + key + data, cuts)


@given(streams, st.lists(st.integers(0, 2200), max_size=5))
def test_any_proof_of_identity_ends_in_a_peers_error(proof: bytes, cuts: list[int]) -> None:
    session = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    session.receive(b"\x22\x0a\x20" + HANDSHAKE["ephemeral_b"])

    ends_well(session, FrameSealer(HANDSHAKE["receive_a"]).seal(proof), cuts)


@given(st.binary(max_size=2200), st.lists(st.integers(0, 2200), max_size=5))
def test_any_bytes_after_the_handshake_end_in_a_peers_error(data: bytes, cuts: list[int]) -> None:
    ends_well(join().session, data, cuts)


@given(streams, st.lists(st.integers(0, 5000), max_size=5))
def test_any_plaintext_after_the_handshake_ends_in_events_or_a_peers_error(plaintext: bytes, cuts: list[int]) -> None:
    joined = join()

    ends_well(joined.session, joined.node.seal(plaintext), cuts)


@given(st.lists(requests, max_size=5), st.lists(st.integers(0, 20_000), max_size=8))
def test_plain_requests_give_the_same_events_in_any_pieces(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(delimit, messages))
    piecemeal: list[Event] = []
    session = ValidatorSession.plain()

    for piece in pieces(data, cuts):
        piecemeal += session.receive(piece)

    assert piecemeal == ValidatorSession.plain().receive(data)
    assert len(piecemeal) == len(messages)


@given(st.lists(requests, max_size=5), st.lists(st.integers(0, 20_000), max_size=8))
def test_secret_requests_give_the_plain_ones_events_in_any_pieces(messages: list[bytes], cuts: list[int]) -> None:
    joined = join()
    sealed = b"".join(map(joined.sealed, messages))
    piecemeal: list[Event] = []

    for piece in pieces(sealed, cuts):
        piecemeal += joined.session.receive(piece)

    assert piecemeal == ValidatorSession.plain().receive(b"".join(map(delimit, messages)))


@given(st.binary(max_size=5000), st.integers(1, 1500))
def test_a_stream_of_frames_carries_any_bytes_in_any_pieces(plaintext: bytes, piece: int) -> None:
    joined = join()
    wire = joined.session.reply(plaintext)

    received = b"".join(joined.node.receive(wire[start : start + piece]) for start in range(0, len(wire), piece))

    assert received == delimit(plaintext)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_any_two_ephemeral_keys_lead_to_the_same_secrets(ours: bytes, theirs: bytes) -> None:
    # The lowest bits of a scalar do not count: two that differ there alone are one key, which is refused as an echo.
    assume(len({SecretConnection(NODE_SEED, ephemeral_seed=seed).start() for seed in (ours, theirs)}) == 2)
    joined = join(ours, theirs)

    assert joined.node.receive(joined.session.reply(b"hello")) == b"\x05hello"


@given(st.lists(st.integers(0, 1100), max_size=8))
def test_a_handshake_ends_alike_in_any_pieces(cuts: list[int]) -> None:
    session = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    whole = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    node = SecretConnection(NODE_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_b"])
    opening = node.start()
    node.receive(session.start())
    opening += node.take_outgoing()
    events: list[Event] = []

    for piece in pieces(opening, cuts):
        events += session.receive(piece)

    assert events == whole.receive(opening)
    assert isinstance(events[0], SendBytes)
