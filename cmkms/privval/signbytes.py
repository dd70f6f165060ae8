"""The canonical bytes that a validator's key signs, written and strictly read back.

By hand and without protobuf, because nothing but these very bytes may ever be signed: zero scalars and empty strings
are left out, a nil block is left out, the timestamp never is, and the length of the whole stands before it. Nothing
here decides whether they may be signed.

Source: CometBFT types/canonical.go, types/vote.go, types/proposal.go and proto/tendermint/types/canonical.proto; the
same bytes from v0.34 to v2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from cmkms.privval.errors import SignBytesError, WireFormatError
from cmkms.privval.values import HASH_BYTES, MAX_NANOS, BlockID, PartSetHeader, Proposal, SignedMsgType, Timestamp, Vote
from cmkms.privval.wire import UINT64_MASK, WireReader, encode_uvarint

__all__ = [
    "CanonicalMessage",
    "differ_only_in_timestamp",
    "encode_sign_bytes",
    "extension_sign_bytes",
    "parse_sign_bytes",
    "proposal_sign_bytes",
    "vote_sign_bytes",
]

_MAX_UINT32 = 0xFFFF_FFFF
_SIGN_BIT_64 = 1 << 63

_sfixed64 = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class _Layout:
    """The numbers of the fields in which a canonical vote and a canonical proposal differ."""

    block_id: int
    timestamp: int
    chain_id: int


_VOTE = _Layout(block_id=4, timestamp=5, chain_id=6)
_PROPOSAL = _Layout(block_id=5, timestamp=6, chain_id=7)
_TYPE = 1
_HEIGHT = 2
_ROUND = 3
_POL_ROUND = 4  # of a proposal only


@dataclass(frozen=True, slots=True)
class CanonicalMessage:
    """What a vote's or proposal's sign-bytes say, and all that they say. A vote's `pol_round` is 0: it has none."""

    type: SignedMsgType
    height: int
    round: int
    pol_round: int
    block_id: BlockID
    timestamp: Timestamp
    chain_id: str

    def with_timestamp(self, timestamp: Timestamp) -> CanonicalMessage:
        """Return the same message at another time."""
        return replace(self, timestamp=timestamp)


def vote_sign_bytes(chain_id: str, vote: Vote) -> bytes:
    """Return what is signed for a vote, length prefix included. The extension is signed apart."""
    return encode_sign_bytes(
        CanonicalMessage(vote.type, vote.height, vote.round, 0, vote.block_id, vote.timestamp, chain_id)
    )


def proposal_sign_bytes(chain_id: str, proposal: Proposal) -> bytes:
    """Return what is signed for a proposal, length prefix included. The type is always that of a proposal."""
    return encode_sign_bytes(
        CanonicalMessage(
            SignedMsgType.PROPOSAL,
            proposal.height,
            proposal.round,
            proposal.pol_round,
            proposal.block_id,
            proposal.timestamp,
            chain_id,
        )
    )


def extension_sign_bytes(chain_id: str, height: int, round: int, extension: bytes) -> bytes:  # noqa: A002 - the field's name
    """Return what is signed for a vote extension (v0.38 and later), length prefix included.

    They can never be those of a vote or proposal: after the length these begin with their type (tag 08), an
    extension's with another tag.
    """
    body = _chunk(1, extension) + _fixed(2, height) + _fixed(3, round) + _chunk(4, chain_id.encode())
    return encode_uvarint(len(body)) + body


def encode_sign_bytes(message: CanonicalMessage) -> bytes:
    """Return the one canonical form of `message`, length prefix included."""
    layout = _VOTE
    pol_round = b""
    if message.type is SignedMsgType.PROPOSAL:
        layout = _PROPOSAL
        pol_round = _varint(_POL_ROUND, message.pol_round)
    timestamp = _varint(1, message.timestamp.seconds) + _varint(2, message.timestamp.nanos)
    body = b"".join(
        (
            _varint(_TYPE, message.type),
            _fixed(_HEIGHT, message.height),
            _fixed(_ROUND, message.round),
            pol_round,
            _block_id(layout.block_id, message.block_id),
            _message(layout.timestamp, timestamp),
            _chunk(layout.chain_id, message.chain_id.encode()),
        )
    )
    return encode_uvarint(len(body)) + body


def parse_sign_bytes(data: bytes) -> CanonicalMessage:
    """Read sign-bytes of a vote or proposal, length prefix included.

    Strict: encoding the result gives `data` again to the last bit, so that two different byte strings never count
    as one message.

    Raises:
        SignBytesError: these are not the canonical sign-bytes of any prevote, precommit or proposal.
    """
    try:
        message = _parse_leniently(data)
    except WireFormatError as error:
        raise SignBytesError(f"these are no sign-bytes: {error}") from error
    except UnicodeDecodeError as error:
        raise SignBytesError("these are no sign-bytes: the chain id is not UTF-8") from error
    if encode_sign_bytes(message) != data:
        raise SignBytesError("these sign-bytes are not in the canonical form")
    return message


def differ_only_in_timestamp(a: bytes, b: bytes) -> bool:
    """Tell whether two sign-bytes are the same message at two different times, and nothing else differs."""
    if a == b:
        return False
    try:
        first, second = parse_sign_bytes(a), parse_sign_bytes(b)
    except SignBytesError:
        return False
    return first.with_timestamp(second.timestamp) == second


# ------------------------------------------------------------------------------------------------------------ writing


def _varint(number: int, value: int) -> bytes:
    """A varint field; protobuf writes a negative number as its 64-bit two's complement, ten bytes long."""
    return encode_uvarint(number << 3) + encode_uvarint(value & UINT64_MASK) if value else b""


def _fixed(number: int, value: int) -> bytes:
    return encode_uvarint(number << 3 | 1) + _sfixed64.pack(value) if value else b""


def _message(number: int, body: bytes) -> bytes:
    """A nested message, written even when it is empty."""
    return encode_uvarint(number << 3 | 2) + encode_uvarint(len(body)) + body


def _chunk(number: int, value: bytes) -> bytes:
    return _message(number, value) if value else b""


def _block_id(number: int, block_id: BlockID) -> bytes:
    """A nil block is left out whole; any other carries its part set header, even an empty one."""
    if block_id.is_nil:
        return b""
    parts = _varint(1, block_id.part_set_header.total) + _chunk(2, block_id.part_set_header.hash)
    return _message(number, _chunk(1, block_id.hash) + _message(2, parts))


# ------------------------------------------------------------------------------------------------------------ reading


class _Fields:
    """The fields of one message by number. The last of several wins: re-encoding shows what is not canonical."""

    __slots__ = ("_values",)

    def __init__(self, data: bytes) -> None:
        self._values: dict[int, int | bytes] = {}
        reader = WireReader(data)
        while not reader.at_end:
            tag = reader.uvarint()
            self._values[tag >> 3] = reader.value(tag & 7)

    def number(self, field: int) -> int:
        """A varint as it stands, 0 where absent."""
        value = self._values.get(field, 0)
        if isinstance(value, bytes):
            raise WireFormatError(f"field {field} is not the number it should be")
        return value

    def signed(self, field: int) -> int:
        """A varint read as a signed 64-bit number."""
        value = self.number(field)
        return value - (1 << 64) if value & _SIGN_BIT_64 else value

    def fixed(self, field: int) -> int:
        """An sfixed64, 0 where absent."""
        value = self._values.get(field)
        if value is None:
            return 0
        if isinstance(value, int) or len(value) != _sfixed64.size:
            raise WireFormatError(f"field {field} is not the 64-bit number it should be")
        number: int = _sfixed64.unpack(value)[0]
        return number

    def chunk(self, field: int) -> bytes:
        """Bytes, empty where absent."""
        value = self._values.get(field, b"")
        if isinstance(value, int):
            raise WireFormatError(f"field {field} is not the byte string it should be")
        return value


def _parse_leniently(data: bytes) -> CanonicalMessage:
    fields = _Fields(WireReader(data).chunk())
    layout = _VOTE
    pol_round = 0
    match fields.number(_TYPE):
        case SignedMsgType.PREVOTE:
            message_type = SignedMsgType.PREVOTE
        case SignedMsgType.PRECOMMIT:
            message_type = SignedMsgType.PRECOMMIT
        case SignedMsgType.PROPOSAL:
            message_type = SignedMsgType.PROPOSAL
            layout = _PROPOSAL
            pol_round = fields.signed(_POL_ROUND)
        case other:
            raise WireFormatError(f"type {other} is neither prevote (1), precommit (2) nor proposal (32)")
    return CanonicalMessage(
        type=message_type,
        height=fields.fixed(_HEIGHT),
        round=fields.fixed(_ROUND),
        pol_round=pol_round,
        block_id=_read_block_id(fields.chunk(layout.block_id)),
        timestamp=_read_timestamp(fields.chunk(layout.timestamp)),
        chain_id=fields.chunk(layout.chain_id).decode(),
    )


def _read_block_id(data: bytes) -> BlockID:
    fields = _Fields(data)
    parts = _Fields(fields.chunk(2))
    total = parts.number(1)
    if total > _MAX_UINT32:
        raise WireFormatError(f"a block of {total} parts cannot be")
    return BlockID(_read_hash(fields.chunk(1)), PartSetHeader(total, _read_hash(parts.chunk(2))))


def _read_hash(data: bytes) -> bytes:
    if len(data) not in {0, HASH_BYTES}:
        raise WireFormatError(f"a hash has {len(data)} bytes, not 0 or {HASH_BYTES}")
    return data


def _read_timestamp(data: bytes) -> Timestamp:
    fields = _Fields(data)
    nanos = fields.number(2)
    if nanos > MAX_NANOS:
        raise WireFormatError(f"a timestamp has {nanos} nanoseconds")
    return Timestamp(fields.signed(1), nanos)
