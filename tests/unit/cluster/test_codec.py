"""The closed set of messages, byte for byte strict. Round trips and noise: tests/property/cluster."""

from __future__ import annotations

import math
import pickle
import struct

import pytest

from cmkms.cluster.codec import (
    MAX_ENTRIES,
    MAX_MESSAGE_BYTES,
    Acknowledge,
    AnswerPreVote,
    AppendEntries,
    Entry,
    GrantVote,
    InstallView,
    Message,
    NewerTerm,
    RequestPreVote,
    RequestVote,
    ShareView,
    TimeoutNow,
    decode,
    encode,
)
from cmkms.cluster.elections import LogEnd
from cmkms.cluster.view import MAX_DELTA_BYTES, MAX_VIEW_BYTES
from cmkms.errors import PeerError

NO_OP = Entry(4, b"\x01")
DELTA = Entry(4, b"\x00delta")
MESSAGES: tuple[Message, ...] = (
    RequestVote(5, LogEnd(4, 17), transfer=True),
    GrantVote(5),
    AppendEntries(5, 123.5, 16, 17, 4, (NO_OP, DELTA, Entry(5, b"\x00"))),
    AppendEntries(5, 123.5, 16, 17, 4, ()),
    InstallView(5, 123.5, 17, 16, NO_OP, DELTA, b"view"),
    Acknowledge(5, 123.5, 18, reset=False, success=True),
    TimeoutNow(5),
    RequestPreVote(6, LogEnd(4, 17), "node-0"),
    AnswerPreVote(6, granted=True, own_term=5),
    NewerTerm(7),
    ShareView(b"view"),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_each_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_no_message_may_be_cut_short_or_run_on(message: Message) -> None:
    data = encode(message)
    for length in range(len(data)):
        with pytest.raises(PeerError):
            decode(data[:length])
    with pytest.raises(PeerError, match="1 bytes too many"):
        decode(data + b"\x00")


@pytest.mark.parametrize("kind", [0, 11, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(PeerError, match=f"kind {kind} is not known"):
        decode(bytes([1, kind]) + bytes(8))


def test_another_version_is_refused() -> None:
    with pytest.raises(PeerError, match="version 2 is not known"):
        decode(b"\x02" + encode(GrantVote(5))[1:])


def test_what_pysyncobj_itself_would_send_is_refused() -> None:
    with pytest.raises(PeerError):
        decode(pickle.dumps({"type": "apply_command", "command": b"\x00"}, 2))


@pytest.mark.parametrize("command", [b"", b"\x02x", b"\x03x", b"\x01x", b"\xff"])
def test_a_command_that_would_be_unpickled_is_refused(command: bytes) -> None:
    """Kinds 2 (members) and 3 (code version) go through pickle in pysyncobj."""
    with pytest.raises(PeerError, match="a command of a kind that is not used"):
        decode(encode(AppendEntries(5, 1.0, 1, 1, 0, (Entry(5, command),))))
    with pytest.raises(PeerError, match="a command of a kind that is not used"):
        decode(encode(InstallView(5, 1.0, 1, 1, Entry(4, command), NO_OP, b"")))


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf, -1.0])
def test_a_time_is_a_time(time: float) -> None:
    with pytest.raises(PeerError, match="no point in time"):
        decode(encode(Acknowledge(5, time, 18, reset=False, success=True)))


def test_a_truth_value_is_one_or_nought() -> None:
    data = encode(RequestVote(5, LogEnd(4, 17), transfer=True))
    with pytest.raises(PeerError, match="2 is no truth value"):
        decode(data[:-1] + b"\x02")


@pytest.mark.parametrize(
    "message",
    [
        AppendEntries(5, 1.0, 1, 1, 4, (Entry(3, b"\x00"),)),
        AppendEntries(5, 1.0, 1, 1, 4, (Entry(5, b"\x00"), Entry(4, b"\x00"))),
        AppendEntries(5, 1.0, 1, 1, 4, (Entry(6, b"\x00"),)),
        AppendEntries(5, 1.0, 1, 1, 6, ()),
        InstallView(5, 1.0, 1, 1, Entry(4, b"\x00"), Entry(3, b"\x00"), b""),
        InstallView(5, 1.0, 1, 1, Entry(4, b"\x00"), Entry(6, b"\x00"), b""),
    ],
)
def test_terms_rise_along_a_log_up_to_the_leaders(message: Message) -> None:
    with pytest.raises(PeerError, match="the terms in it do not rise"):
        decode(encode(message))


@pytest.mark.parametrize(
    "message",
    [
        AppendEntries(5, 1.0, 1, 0, 0, ()),
        InstallView(5, 1.0, 1, 0, NO_OP, DELTA, b""),
        Acknowledge(5, 1.0, 0, reset=True, success=False),
    ],
)
def test_a_log_begins_with_entry_one(message: Message) -> None:
    with pytest.raises(PeerError, match="0 is the place of no entry"):
        decode(encode(message))


def test_nothing_too_long_is_written_or_read() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode(ShareView(bytes(MAX_VIEW_BYTES + 1)))
    with pytest.raises(ValueError, match="at most"):
        encode(AppendEntries(5, 1.0, 1, 1, 0, (Entry(5, bytes(MAX_DELTA_BYTES + 2)),)))
    with pytest.raises(ValueError, match="at most"):
        encode(AppendEntries(5, 1.0, 1, 1, 0, (NO_OP,) * (MAX_ENTRIES + 1)))
    with pytest.raises(ValueError, match="out of range"):
        encode(GrantVote(2**63))
    with pytest.raises(PeerError, match=f"at most {MAX_MESSAGE_BYTES} are possible"):
        decode(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(PeerError, match="out of range"):
        decode(b"\x01\x02" + b"\xff" * 8)


def test_a_count_beyond_the_limit_is_refused_before_anything_is_read() -> None:
    data = encode(AppendEntries(5, 1.0, 1, 1, 0, ()))
    with pytest.raises(PeerError, match=f"at most {MAX_ENTRIES} are possible"):
        decode(data[:-8] + struct.pack(">Q", 2**40))


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read() -> None:
    data = encode(ShareView(b""))
    with pytest.raises(PeerError, match=f"in a place for {MAX_VIEW_BYTES}"):
        decode(data[:-4] + b"\xff\xff\xff\xff")


def test_the_largest_message_of_each_kind_has_room() -> None:
    entry = Entry(5, bytes(MAX_DELTA_BYTES + 1))
    view = bytes(MAX_VIEW_BYTES)
    assert len(encode(AppendEntries(5, 1.0, 1, 1, 0, (entry,) * 5))) <= MAX_MESSAGE_BYTES
    assert len(encode(ShareView(view))) <= MAX_MESSAGE_BYTES


def test_a_name_is_text() -> None:
    data = encode(RequestPreVote(6, LogEnd(4, 17), "n"))
    with pytest.raises(PeerError, match="not UTF-8"):
        decode(data[:-1] + b"\xff")


def test_a_log_is_not_installed_from_above_what_is_committed() -> None:
    """pysyncobj would count up to its first entry one by one, for ever."""
    with pytest.raises(PeerError, match="above what is committed"):
        decode(encode(InstallView(5, 1.0, 1, 2**40, NO_OP, DELTA, b"")))
