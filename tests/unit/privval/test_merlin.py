"""Merlin's transcript, against its own first vector and the standard library's SHA-3."""

from __future__ import annotations

from hashlib import sha3_256

import pytest

from cmkms.privval.merlin import Transcript, _permute
from tests.unit.privval.vectors import MERLIN_CHALLENGE


def test_a_transcript_gives_merlins_own_challenge() -> None:
    transcript = Transcript(b"test protocol")
    transcript.append_message(b"some label", b"some data")

    assert transcript.challenge_bytes(b"challenge", 32) == MERLIN_CHALLENGE


@pytest.mark.parametrize("message", [b"", b"abc", b"x" * 135])
def test_the_permutation_is_that_of_sha3(message: bytes) -> None:
    rate = 136
    block = bytearray(message.ljust(rate, b"\0"))
    block[len(message)] ^= 0x06
    block[-1] ^= 0x80
    state = block + bytes(200 - rate)

    _permute(state)

    assert state[:32] == sha3_256(message).digest()


def test_another_message_gives_another_challenge() -> None:
    def challenge(label: bytes, message: bytes) -> bytes:
        transcript = Transcript(b"test protocol")
        transcript.append_message(label, message)
        return transcript.challenge_bytes(b"challenge", 32)

    assert len({challenge(b"ab", b"c"), challenge(b"a", b"bc"), challenge(b"a", b"c"), challenge(b"ab", b"")}) == 4


def test_a_transcript_longer_than_one_block_depends_on_all_of_it() -> None:
    def challenge(message: bytes) -> bytes:
        transcript = Transcript(b"test protocol")
        transcript.append_message(b"long", message)
        return transcript.challenge_bytes(b"challenge", 400)

    first, second = challenge(b"a" + bytes(999)), challenge(b"b" + bytes(999))

    assert len(first) == len(second) == 400
    assert first != second
    assert first[166:332] != second[166:332]


def test_what_was_drawn_is_forgotten() -> None:
    transcript = Transcript(b"test protocol")

    transcript.challenge_bytes(b"challenge", 32)

    assert transcript._strobe._state[:32] == bytes(32)
    assert transcript._strobe._state[32:] != bytes(168)
