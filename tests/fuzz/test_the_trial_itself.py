"""The judge of decoders finds each kind of bad one: an error that is not permitted, a lie believed, a loop.

Bad decoders are written here on purpose; the last ones are the product's own with one line broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from cmkms.cluster.octets import Octets
from cmkms.errors import PeerError
from cmkms.guard.claims import GuardPhase
from cmkms.peers import claims_codec, wire
from cmkms.privval import framing
from cmkms.privval.errors import FramingError
from tests.fuzz import trial
from tests.fuzz.decoders import DECODERS
from tests.fuzz.mutation import Mutator
from tests.fuzz.trial import Decoder, Entry, run

INPUTS = 1500


def one_byte_each() -> Sequence[bytes]:
    return [bytes([3]) + b"abc", bytes([0]), bytes([5]) + b"hello"]


def on_trial(entry: Entry) -> list[str]:
    verdict = run(Decoder("bad", (), entry, one_byte_each, (PeerError,)), 1, INPUTS)
    return [failure.why for failure in verdict.failures]


def good(data: bytes) -> str:
    if not data or len(data) != 1 + data[0]:
        raise PeerError("a length that lies")
    return "text"


def test_a_good_one_is_let_pass() -> None:
    assert on_trial(good) == []


def test_an_error_that_it_does_not_document_is_found() -> None:
    def indexed(data: bytes) -> str:
        return f"{data[data[0]]}"

    assert any(why.startswith("IndexError") for why in on_trial(indexed))


def test_an_error_of_a_common_kind_is_not_permitted_by_the_way() -> None:
    def text(data: bytes) -> str:
        return data.decode("ascii")

    assert any(why.startswith("UnicodeDecodeError") for why in on_trial(text))


def test_memory_for_a_length_that_lies_is_found() -> None:
    def trusting(data: bytes) -> str:
        room = bytearray(int.from_bytes(data[:4], "big") % 2**24)
        return f"{len(room) > 0}"

    assert any("bytes of memory" in why for why in on_trial(trusting))


def test_a_decoder_that_does_not_come_back_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_HOPELESS_SECONDS", 0.2)

    def endless(data: bytes) -> str:
        while data == b"\x00":
            pass
        return "done"

    assert any("took longer" in why for why in on_trial(endless))


def test_a_second_form_of_one_message_is_found() -> None:
    def lenient(data: bytes) -> str:
        text = data[1 : 1 + data[0]] if data else b""
        assert bytes([len(text)]) + text == data, "not the only form"
        return "text"

    assert any("not the only form" in why for why in on_trial(lenient))


# --------------------------------------------------------------------------------------- the product with a line broken


def found_in(name: str) -> str:
    decoder = next(one for one in DECODERS if one.name == name)
    verdict = run(decoder, 1, int(INPUTS * decoder.share))
    return " | ".join(failure.why for failure in verdict.failures)


def test_a_message_of_peers_that_runs_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgiving(_self: wire.Reader) -> None:
        pass

    monkeypatch.setattr(wire.Reader, "end", forgiving)
    assert "not the only form" in found_in("peer-message")


def test_a_claim_of_a_phase_that_nobody_knows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_codec, "_phase_of", GuardPhase)
    assert "ValueError" in found_in("peer-message")


def test_an_election_message_that_ends_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: Octets, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    monkeypatch.setattr(Octets, "take", careless)
    assert found_in("raft-message")


def test_a_frame_that_is_read_otherwise_byte_by_byte_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = framing.MessageReader._read_length

    def impatient(self: framing.MessageReader) -> int | None:
        if len(self._buffer) == 1 and self._buffer[0] & 0x80:
            raise FramingError("the length is not there yet")
        return whole(self)

    monkeypatch.setattr(framing.MessageReader, "_read_length", impatient)
    assert "byte by byte" in found_in("privval-frames")


# --------------------------------------------------------------------------------------------------------- the mutator


def test_one_seed_makes_one_sequence_of_inputs() -> None:
    def first(seed: int) -> list[bytes]:
        mutator = Mutator(Random(seed), one_byte_each(), (b"token",))
        return [mutator.draw() for _ in range(200)]

    assert first(7) == first(7)
    assert first(7) != first(8)
