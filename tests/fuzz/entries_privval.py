"""What a validator's connection feeds: frames, sessions, SecretConnection, requests, sign-bytes.

Each entry takes one input, checks what its module promises of the result, and returns a word for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cmkms.errors import PeerError
from cmkms.privval import (
    Event,
    SignBytesError,
    SignProposalRequest,
    SignVoteRequest,
    ValidatorSession,
    decode_request,
    differ_only_in_timestamp,
    encode_request,
    encode_sign_bytes,
    parse_sign_bytes,
)
from cmkms.privval.framing import MAX_REQUEST_BYTES, MessageReader, delimit
from cmkms.privval.header import read_header
from cmkms.privval.secret_connection import (
    DATA_BYTES,
    SEALED_FRAME_BYTES,
    FrameOpener,
    FrameSealer,
    SecretConnection,
)
from tests.unit.privval.node_side import NODE_SEED, SIGNER_SEED, join
from tests.unit.privval.vectors import HANDSHAKE, MESSAGES, SIGN_BYTES

__all__ = [
    "frames",
    "header",
    "plain_session",
    "proof",
    "proof_corpus",
    "record",
    "record_corpus",
    "request",
    "requests_corpus",
    "secret_opening",
    "secret_opening_corpus",
    "secret_stream",
    "sign_bytes",
    "sign_bytes_corpus",
    "stream_corpus",
]

_KEY: Final = bytes(range(32))
_PLAIN_FRAME_BYTES: Final = SEALED_FRAME_BYTES - 16
_LENGTH_BYTES: Final = 4


# ------------------------------------------------------------------------------------------------------------- corpora


def requests_corpus() -> Sequence[bytes]:
    """Every message that CometBFT's own vectors hold, and some that are wrong by a little."""
    wrong = ("1a020a05", "0a020a09", "1a0408011201", "4200", "5ad00f" + "00" * 20, "3a00", "2a00", "1a00", "0a00")
    return [*MESSAGES.values(), *(bytes.fromhex(one) for one in wrong)]


def stream_corpus() -> Sequence[bytes]:
    """The same with their lengths, alone and several in a row."""
    framed = [delimit(message) for message in requests_corpus()]
    return [*framed, b"".join(framed[:4]), framed[0] * 12, delimit(bytes(5000)), b""]


def sign_bytes_corpus() -> Sequence[bytes]:
    """Sign-bytes of votes and proposals by CometBFT's own vectors."""
    return list(SIGN_BYTES.values())


def secret_opening_corpus() -> Sequence[bytes]:
    """All that a node sends from the first byte on: its key, its proof, and then requests."""
    node = SecretConnection(NODE_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_b"])
    signer = SecretConnection(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    opening = node.start()
    echo = signer.start()
    node.receive(echo)
    proven = opening + node.take_outgoing()
    signer.receive(proven)
    node.receive(signer.take_outgoing())
    asked = [node.seal(delimit(message)) for message in requests_corpus()[:3]]
    low_order = b"\x22\x0a\x20" + bytes(32)
    return [opening, proven, proven + b"".join(asked), low_order, echo, b"\x22\x0a"]


def proof_corpus() -> Sequence[bytes]:
    """A node's proof of its identity, for the challenge of the vectors, and one of another kind of key."""
    node = SecretConnection(NODE_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_b"])
    signer = SecretConnection(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    node.receive(signer.start())
    good = delimit(node._proof())
    return [good, good + delimit(MESSAGES["ping_request"]), good[:5] + b"\x12" + good[6:], b""]


def record_corpus() -> Sequence[bytes]:
    """Insides of frames: data of every length that fits, and one more."""
    return [size.to_bytes(_LENGTH_BYTES, "little") + bytes(range(256)) * 4 for size in (0, 1, 1023, 1024, 1025, 2**31)]


# ------------------------------------------------------------------------------------------------- frames and sessions


def frames(data: bytes) -> str:
    """Messages of a stream: whole and byte by byte they are the same, and so is the error."""
    whole, error = _messages([data])
    piecemeal = _messages(data[at : at + 1] for at in range(len(data)))
    assert (whole, str(error)) == (piecemeal[0], str(piecemeal[1])), "byte by byte it reads otherwise"
    if error is not None:
        raise error
    stream = b"".join(map(delimit, whole))
    assert _messages([stream])[0] == whole, "what was read is not read again"
    return f"{min(len(whole), 9)} messages"


def _messages(pieces: Iterable[bytes]) -> tuple[list[bytes], PeerError | None]:
    reader, found = MessageReader(MAX_REQUEST_BYTES), list[bytes]()
    for piece in pieces:
        reader.feed(piece)
        try:
            while (message := reader.next_message()) is not None:
                found.append(message)
        except PeerError as error:
            return found, error
    return found, None


def plain_session(data: bytes) -> str:
    """Events of a connection over a unix socket."""
    return _same_in_pieces(data, ValidatorSession.plain(), ValidatorSession.plain())


def secret_opening(data: bytes) -> str:
    """Events of a connection over tcp, from the node's first byte on."""
    one, other = (ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"]) for _ in range(2))
    assert one.start() == other.start()
    return _same_in_pieces(data, one, other)


def secret_stream(data: bytes) -> str:
    """What a node says after the handshake: as on a plain connection, through the cipher."""
    joined = join()
    wire = joined.node.seal(data)
    whole, error = _events(joined.session, [wire])
    expected = _events(ValidatorSession.plain(), [data])
    assert (whole, str(error)) == (expected[0], str(expected[1])), "through the cipher it reads otherwise"
    return _told(whole, error)


def proof(data: bytes) -> str:
    """A node's proof of its identity: these bytes, sealed as a node seals them."""
    session = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    session.receive(b"\x22\x0a\x20" + HANDSHAKE["ephemeral_b"])
    events, error = _events(session, [FrameSealer(HANDSHAKE["receive_a"]).seal(data)])
    return _told(events, error)


def record(data: bytes) -> str:
    """One encrypted frame whose inside is these bytes: its length may say anything."""
    inside = data[:_PLAIN_FRAME_BYTES].ljust(_PLAIN_FRAME_BYTES, b"\0")
    opened = FrameOpener(_KEY).open(ChaCha20Poly1305(_KEY).encrypt(bytes(12), inside, None))
    length = int.from_bytes(inside[:_LENGTH_BYTES], "little")
    assert opened == inside[_LENGTH_BYTES : _LENGTH_BYTES + length]
    assert len(opened) == length <= DATA_BYTES
    return "data" if opened else "nothing"


def _same_in_pieces(data: bytes, one: ValidatorSession, other: ValidatorSession) -> str:
    whole, error = _events(one, [data])
    piecemeal, piecemeal_error = _events(other, (data[at : at + 1] for at in range(len(data))))
    # An error that comes later in the same piece is met first; and what comes before it is not answered any more.
    assert (error is None) == (piecemeal_error is None) or _too_many(error), (
        f"{error!r}, byte by byte {piecemeal_error!r}"
    )
    assert error is not None or whole == piecemeal, "byte by byte it reads otherwise"
    return _told(whole, error)


def _too_many(error: PeerError | None) -> bool:
    """Whether more requests came in one piece than a node ever sends: one by one they would be answered."""
    return f"{error}".startswith("it asks many things at once")


def _events(session: ValidatorSession, pieces: Iterable[bytes]) -> tuple[list[Event], PeerError | None]:
    found: list[Event] = []
    try:
        for piece in pieces:
            found += session.receive(piece)
    except PeerError as error:
        return found, _said_again(session, error)
    return found, None


def _said_again(session: ValidatorSession, first: PeerError) -> PeerError:
    """A session that has failed has failed for good, whatever comes."""
    with pytest.raises(PeerError) as again:
        session.receive(b"more")
    assert again.value is first
    return first


def _told(events: list[Event], error: PeerError | None) -> str:
    if error is not None:
        raise error
    return " ".join(sorted({type(event).__name__ for event in events})) or "nothing yet"


# --------------------------------------------------------------------------------------------- messages and sign-bytes


def request(data: bytes) -> str:
    """One request of a node. What may be forwarded to another replica means the same there."""
    asked = decode_request(data)
    if isinstance(asked, SignVoteRequest | SignProposalRequest):
        assert decode_request(encode_request(asked)) == asked, "forwarded, it would mean something else"
    return type(asked).__name__


def sign_bytes(data: bytes) -> str:
    """Canonical sign-bytes: one form for each meaning, and the quick reader agrees."""
    message = parse_sign_bytes(data)
    assert encode_sign_bytes(message) == data, "not the only form"
    found = read_header(data)
    told = (found.type, found.height, found.round, found.chain_id)
    assert told == (message.type, message.height, message.round, message.chain_id), "the quick reader disagrees"
    assert not differ_only_in_timestamp(data, data)
    return message.type.name


def header(data: bytes) -> str:
    """The quick reader alone, over bytes of any kind."""
    found = read_header(data)
    try:
        message = parse_sign_bytes(data)
    except SignBytesError:
        return f"{found.type.name}, not canonical"
    told = (found.type, found.height, found.round, found.chain_id)
    assert told == (message.type, message.height, message.round, message.chain_id), "it disagrees with the strict one"
    return found.type.name
