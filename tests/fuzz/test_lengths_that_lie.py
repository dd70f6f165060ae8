"""A length costs nothing but the bytes that came with it: announced gigabytes are refused, or waited for, unreserved.

Measured by tracing allocations, for every place where a peer, a node or a file announces a size or a count.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest

from cmkms.cluster import codec as raft
from cmkms.cluster.view import View
from cmkms.errors import CmkmsError
from cmkms.guard.file import survey
from cmkms.peers.codec import MAX_FRAME_BYTES, decode
from cmkms.peers.frames import FrameReader
from cmkms.privval import ValidatorSession, decode_request
from cmkms.privval.framing import MAX_REQUEST_BYTES, MessageReader
from cmkms.privval.wire import encode_uvarint

LITTLE: Final = 256 * 1024
"""Bytes: what an error with its text and a few objects may take, many times over."""

HUGE: Final = (2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def costs(job: Callable[[], object]) -> int:
    with suppress(CmkmsError):
        job()  # what is imported or cached at the first time is no cost of the length
    tracemalloc.start()
    try:
        with suppress(CmkmsError):
            job()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_measured_can_be_too_much() -> None:
    assert costs(lambda: bytes(10 * LITTLE)) > LITTLE


@pytest.mark.parametrize("length", HUGE)
def test_a_nodes_frame(length: int) -> None:
    def read() -> None:
        reader = MessageReader(MAX_REQUEST_BYTES)
        reader.feed(encode_uvarint(length) + b"x" * 100)
        reader.next_message()

    assert costs(read) < LITTLE


@pytest.mark.parametrize("length", HUGE)
@pytest.mark.parametrize("field", [0x0A, 0x1A, 0x2A, 0x5A])
def test_a_field_of_a_nodes_request(field: int, length: int) -> None:
    inner = bytes([field]) + encode_uvarint(length) + b"x" * 100
    assert costs(lambda: decode_request(inner)) < LITTLE
    assert costs(lambda: decode_request(bytes([field]) + encode_uvarint(len(inner)) + inner)) < LITTLE


def test_the_longest_request_that_is_announced_and_never_comes() -> None:
    sessions = [ValidatorSession.plain() for _ in range(50)]
    announced = encode_uvarint(MAX_REQUEST_BYTES) + b"x" * 1000
    assert costs(lambda: [session.receive(announced) for session in sessions]) < LITTLE


@pytest.mark.parametrize("length", [length for length in HUGE if length < 2**32])
def test_a_peers_frame(length: int) -> None:
    def read() -> None:
        reader = FrameReader(MAX_FRAME_BYTES)
        reader.feed(length.to_bytes(4, "big") + b"x" * 100)
        reader.next_frame()

    assert costs(read) < LITTLE


@pytest.mark.parametrize("kind", [1, 2, 4, 6, 16, 17, 18, 19, 32, 33])
@pytest.mark.parametrize("filler", [0x00, 0x01, 0x7F, 0xFF])
def test_counts_and_lengths_within_a_peers_message(kind: int, filler: int) -> None:
    assert costs(lambda: decode(bytes([kind]) + bytes([filler]) * 400)) < LITTLE


@pytest.mark.parametrize("kind", range(1, 11))
@pytest.mark.parametrize("filler", [0x00, 0x01, 0x7F, 0xFF])
def test_counts_and_lengths_within_a_message_of_the_election(kind: int, filler: int) -> None:
    assert costs(lambda: raft.decode(bytes([1, kind]) + bytes([filler]) * 400)) < LITTLE


def test_counts_within_a_view() -> None:
    assert costs(lambda: View.decode(b"\x01\x01\x00" + b"\xff" * 100)) < LITTLE


def test_a_guard_file_that_is_none() -> None:
    assert costs(lambda: survey(b"\xff" * 4096)) < LITTLE
