from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cmkms.telemetry.redaction import REDACTED, redact

if TYPE_CHECKING:
    from .conftest import LogPipe

KEY = bytes(range(32))


@pytest.mark.parametrize(
    "name", ["private", "private_key", "secret", "client_secret", "seed", "priv_key", "PRIV_KEY", "password", "passwd"]
)
def test_a_value_under_a_telling_name_is_replaced(name: str) -> None:
    assert redact(None, "info", {"event": "x", name: "hunter2"})[name] == REDACTED


@pytest.mark.parametrize("name", ["privval", "pub_key", "height", "private_"[:4], "who", "block"])
def test_a_value_under_a_harmless_name_is_kept(name: str) -> None:
    assert redact(None, "info", {"event": "x", name: "value"})[name] == "value"


def test_bytes_are_shortened_to_a_few_hex_digits() -> None:
    assert redact(None, "info", {"hash": KEY})["hash"] == "00010203... (32 bytes)"


def test_bytes_deep_inside_a_value_are_shortened() -> None:
    event = redact(None, "info", {"peers": [{"hash": KEY, "seed": "abc"}]})
    assert event["peers"] == [{"hash": "00010203... (32 bytes)", "seed": REDACTED}]


def test_a_structure_that_holds_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert redact(None, "info", {"loop": loop})["loop"] == [[[["..."]]]]


@given(st.binary(min_size=16, max_size=64), st.sampled_from([bytes, bytearray, memoryview]))
def test_no_encoding_of_bytes_that_are_logged_comes_through(value: bytes, kind: type) -> None:
    shown = str(redact(None, "info", {"x": kind(value), "y": [kind(value)], "z": {"a": (kind(value),)}}))
    assert value.hex() not in shown.lower()
    assert base64.b64encode(value).decode() not in shown
    assert repr(value)[2:-1] not in shown


@pytest.mark.parametrize("log_format", ["json", "plain", "console"])
def test_a_secret_is_in_no_form_of_a_line(log_pipe: LogPipe, log_format: str) -> None:
    log_pipe.configure(log_format)
    structlog.get_logger().info("loaded", seed=KEY.hex(), key=KEY, inside={"priv_key": KEY.hex()})
    text = log_pipe.text()
    assert "loaded" in text
    assert KEY.hex()[:16] not in text.lower()
