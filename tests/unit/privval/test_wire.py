"""The protobuf primitives that are written by hand."""

from __future__ import annotations

import pytest

from cmkms.privval.errors import WireFormatError
from cmkms.privval.wire import WireReader, encode_uvarint

NUMBERS = [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ffffffffffffffffff01")]


@pytest.mark.parametrize(("number", "written"), NUMBERS)
def test_a_number_is_written_in_as_few_bytes_as_it_needs(number: int, written: str) -> None:
    assert encode_uvarint(number).hex() == written


@pytest.mark.parametrize(("number", "written"), NUMBERS)
def test_a_number_reads_back(number: int, written: str) -> None:
    reader = WireReader(bytes.fromhex(written))

    assert reader.uvarint() == number
    assert reader.at_end


@pytest.mark.parametrize("written", ["80" * 10 + "00", "ff" * 9 + "02"], ids=["eleven bytes", "65 bits"])
def test_a_number_beyond_64_bits_is_refused(written: str) -> None:
    with pytest.raises(WireFormatError, match="64 bits"):
        WireReader(bytes.fromhex(written)).uvarint()


def test_a_field_that_runs_past_the_end_is_refused() -> None:
    with pytest.raises(WireFormatError, match="3 bytes"):
        WireReader(b"\x03ab").chunk()


@pytest.mark.parametrize("wire_type", [3, 4, 6, 7])
def test_groups_and_what_does_not_exist_are_refused(wire_type: int) -> None:
    with pytest.raises(WireFormatError, match=str(wire_type)):
        WireReader(bytes(8)).value(wire_type)
