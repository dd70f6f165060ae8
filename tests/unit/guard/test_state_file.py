"""CometBFT's state file: what is read of it, and everything that only looks like it and is refused."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from cmkms.guard.hrs import MAX_HEIGHT, MAX_ROUND, NEVER
from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, SignState, StateFileError, parse_state, render_state
from cmkms.privval import extension_sign_bytes
from tests.unit.guard.world import (
    CHAIN,
    GOLDEN_CHAIN,
    GOLDEN_PUB_KEY,
    KEY,
    NOW,
    OTHER_KEY,
    golden,
    hrs,
    precommit,
    prevote,
    proposal,
    signed,
)

STATE = signed(precommit(31, 2))
FILE = render_state(STATE)


def verify_with(pub_key: bytes, sign_bytes: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(pub_key).verify(sign_bytes, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def parse(data: bytes) -> SignState:
    return parse_state(data, "state.json", CHAIN, partial(verify_with, KEY.pub_key))


def parse_golden(name: str, *, chain: str = GOLDEN_CHAIN, pub_key: bytes = GOLDEN_PUB_KEY) -> SignState:
    return parse_state(golden(name), name, chain, partial(verify_with, pub_key))


def changed(**fields: Any) -> bytes:
    """State file with some fields changed; None leaves one out."""
    merged = json.loads(FILE) | fields
    return json.dumps({name: value for name, value in merged.items() if value is not None}).encode()


class TestWhatIsRead:
    @pytest.mark.parametrize("name", ["priv_val_server", "cosmos-kms", "cometkms-signer"])
    def test_the_files_of_signers_that_keep_cometbfts_form(self, name: str) -> None:
        state = parse_golden(name)
        assert state.hrs == hrs(31, 0, 3)
        assert state.sign_bytes is not None
        assert state.signature is not None

    def test_the_file_of_a_replica_that_never_signed_says_height_zero(self) -> None:
        assert parse_golden("cometkms-follower") == SignState(NEVER)

    @pytest.mark.parametrize("sign_bytes", [proposal(7), prevote(7, 1, 0), precommit(MAX_HEIGHT, MAX_ROUND)])
    def test_what_is_written_is_read_back(self, sign_bytes: bytes) -> None:
        assert parse(render_state(signed(sign_bytes))) == signed(sign_bytes)

    def test_a_point_alone_is_read_back(self) -> None:
        assert parse(render_state(SignState(hrs(7, 1, 2)))) == SignState(hrs(7, 1, 2))

    def test_it_is_written_as_cometbft_writes_it(self) -> None:
        assert list(json.loads(FILE).items())[:3] == [("height", "31"), ("round", 2), ("step", 3)]
        assert json.loads(FILE)["signbytes"] == precommit(31, 2).hex().upper()
        assert render_state(SignState(NEVER)) == b'{\n  "height": "0",\n  "round": 0,\n  "step": 0\n}\n'

    def test_golden_files_are_written_again_as_they_were(self) -> None:
        assert render_state(parse_golden("priv_val_server")).strip() == golden("priv_val_server").strip()

    @pytest.mark.parametrize("empty", ["", None])
    def test_empty_bytes_are_absent_bytes(self, empty: str | None) -> None:
        assert parse(changed(signature=empty, signbytes=empty)) == SignState(hrs(31, 2, 3))

    def test_windows_line_ends_and_lower_case_hex_are_harmless(self) -> None:
        assert parse(FILE.replace(b"\n", b"\r\n")) == STATE
        assert parse(changed(signbytes=precommit(31, 2).hex())) == STATE

    def test_its_time_is_that_of_what_was_signed(self) -> None:
        assert STATE.timestamp_seconds == NOW
        assert SignState(hrs(1)).timestamp_seconds is None


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "empty or torn"),
            (b"\n", "empty or torn"),
            (bytes(100), "empty or torn"),
            (b"{}", "lacks height, round, step"),
            (b"[]", "expected a JSON object"),
            (b"null", "expected a JSON object"),
            (b'"31"', "expected a JSON object"),
            (b"\xff\xfe\xfd", "not whole JSON"),
            (b"[" * 60_000, "not whole JSON"),
            (FILE + FILE, "not whole JSON"),
            (b" " * (MAX_STATE_FILE_BYTES + 1), "more than any state file"),
            (b'{"height": "5", "height": "9", "round": 0, "step": 0}', "stands twice"),
            (b'{"height": "5"}', "lacks round, step"),
            (b'{"Height": "5", "round": 0, "step": 0}', "unknown field 'Height'"),
        ],
    )
    def test_what_is_no_whole_state_file(self, data: bytes, why: str) -> None:
        with pytest.raises(StateFileError, match=why):
            parse(data)

    def test_a_file_torn_at_any_byte(self) -> None:
        for length in range(len(FILE.rstrip())):
            with pytest.raises(StateFileError):
                parse(FILE[:length])

    @pytest.mark.parametrize("name", ["signature", "signbytes", "height", "round", "step"])
    def test_no_field_may_stand_twice(self, name: str) -> None:
        again = json.dumps({name: json.loads(FILE)[name]}).strip("{}")
        with pytest.raises(StateFileError, match="stands twice"):
            parse(FILE.rstrip()[:-1] + b"," + again.encode() + b"}")

    @pytest.mark.parametrize(
        "height",
        [31, 31.0, "-1", "+1", "0x1f", "1e3", " 31", "31 ", "", "1_000", "\uff13\uff11", str(2**63), "9" * 5000, True],
    )
    def test_a_height_in_another_form(self, height: object) -> None:
        with pytest.raises(StateFileError):
            parse(changed(height=height, signature="", signbytes=""))

    @pytest.mark.parametrize("round_", ["2", 2.0, -1, 2**31, True, [2]])
    def test_a_round_in_another_form(self, round_: object) -> None:
        with pytest.raises(StateFileError):
            parse(changed(round=round_, signature="", signbytes=""))

    @pytest.mark.parametrize("step", ["3", 3.0, -1, 4, 6, True, {}])
    def test_a_step_in_another_form(self, step: object) -> None:
        with pytest.raises(StateFileError):
            parse(changed(step=step, signature="", signbytes=""))

    @pytest.mark.parametrize(("round_", "step"), [(0, 1), (1, 0), (3, 3)])
    def test_a_height_of_zero_with_something_signed(self, round_: int, step: int) -> None:
        with pytest.raises(StateFileError, match="height 0"):
            parse(changed(height="0", round=round_, step=step, signature="", signbytes=""))

    @pytest.mark.parametrize("missing", ["signature", "signbytes"])
    def test_only_one_of_bytes_and_signature(self, missing: str) -> None:
        with pytest.raises(StateFileError, match="only one of"):
            parse(changed(**{missing: ""}))

    @pytest.mark.parametrize(
        ("point", "says"), [({"height": "30"}, "30/2/3"), ({"round": 1}, "31/1/3"), ({"step": 2}, "31/2/2")]
    )
    def test_bytes_of_another_point_than_it_says(self, point: dict[str, Any], says: str) -> None:
        """The dangerous ones say less than was signed."""
        with pytest.raises(StateFileError, match=f"says {says}.*31/2/3"):
            parse(changed(**point))

    def test_bytes_of_another_chain(self) -> None:
        with pytest.raises(StateFileError, match=r"chain 'other-1', this is 'guarded-1'"):
            parse(render_state(signed(precommit(31, 2, chain="other-1"))))

    def test_a_signature_of_another_key(self) -> None:
        with pytest.raises(StateFileError, match="another validator"):
            parse(render_state(signed(precommit(31, 2), OTHER_KEY)))

    @pytest.mark.parametrize("length", [1, 63, 65, 3309])
    def test_a_signature_of_another_length(self, length: int) -> None:
        with pytest.raises(StateFileError, match="another validator"):
            parse(changed(signature=base64.b64encode(bytes(length)).decode()))

    @pytest.mark.parametrize("signature", ["AA", "!!!!", "AAAA AAAA", 5, ["AA=="]])
    def test_a_signature_that_is_not_base64(self, signature: object) -> None:
        with pytest.raises(StateFileError, match="signature"):
            parse(changed(signature=signature))

    @pytest.mark.parametrize(
        "sign_bytes",
        [
            precommit(31, 2)[:-1].hex(),
            (precommit(31, 2) + b"\0").hex(),
            extension_sign_bytes(CHAIN, 31, 2, b"x").hex(),
            "00",
            "0",
            "xyz",
        ],
    )
    def test_bytes_that_are_no_sign_bytes(self, sign_bytes: str) -> None:
        with pytest.raises(StateFileError, match="signbytes"):
            parse(changed(signbytes=sign_bytes))

    @pytest.mark.parametrize("hidden", ["nonce_public", "block_id", "ephemeral_public", "comment", ""])
    def test_a_field_that_cometbft_does_not_write(self, hidden: str) -> None:
        with pytest.raises(StateFileError, match="unknown field"):
            parse(changed(**{hidden: "x"}))


class TestOtherSignersForms:
    @pytest.mark.parametrize(
        ("name", "dialect"),
        [
            ("tmkms", "tmkms"),
            ("horcrux-single", "Horcrux"),
            ("horcrux-cluster", "Horcrux"),
            ("horcrux-share", "Horcrux"),
        ],
    )
    def test_they_are_refused_by_name(self, name: str, dialect: str) -> None:
        with pytest.raises(StateFileError, match=dialect):
            parse_golden(name)

    @pytest.mark.parametrize("name", ["priv_val_server", "cosmos-kms", "cometkms-signer"])
    def test_a_golden_file_under_another_chain_or_key_is_refused(self, name: str) -> None:
        with pytest.raises(StateFileError, match="chain"):
            parse_golden(name, chain="golden-2")
        with pytest.raises(StateFileError, match="another validator"):
            parse_golden(name, pub_key=OTHER_KEY.pub_key)


def test_every_refusal_names_the_file() -> None:
    for data in (b"", b"{}", changed(height=1), changed(signbytes="")):
        with pytest.raises(StateFileError, match=r"^state\.json: "):
            parse(data)
