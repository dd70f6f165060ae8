"""Consensus key files: CometBFT's own form is read and written, every other form is refused with its reason."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.errors import OperatorError, SecretFileError
from cmkms.keys import Ed25519Key, generate_key, load_key_file, write_key_file
from cmkms.keys.amino_json import parse_key_document

# privval/msgs_test.go, TestPrivvalVectors: the key the Go tests use.
SEED = bytes.fromhex("9d834d3fcac4ee25536b70e15376febb697861ab573405d8b89290417fd16070")
PUB_KEY = bytes.fromhex("556a436f1218d30942efe798420f51dc9b6a311b929c578257457d05c5fcf230")
ADDRESS = "DC52D5CF8DFD1793D71038B342A29B01AD8A5D63"

# The bytes that CometBFT v0.38.25 writes for this key: no newline at the end.
GO_FILE = """{
  "address": "DC52D5CF8DFD1793D71038B342A29B01AD8A5D63",
  "pub_key": {
    "type": "tendermint/PubKeyEd25519",
    "value": "VWpDbxIY0wlC7+eYQg9R3JtqMRuSnFeCV0V9BcX88jA="
  },
  "priv_key": {
    "type": "tendermint/PrivKeyEd25519",
    "value": "nYNNP8rE7iVTa3DhU3b+u2l4YatXNAXYuJKQQX/RYHBVakNvEhjTCULv55hCD1Hcm2oxG5KcV4JXRX0FxfzyMA=="
  }
}"""


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def put(directory: Path, content: str | bytes) -> Path:
    path = directory / "key.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


def with_priv_key(type_name: str, value: str) -> str:
    return json.dumps({"priv_key": {"type": type_name, "value": value}})


def refusal(directory: Path, content: str | bytes) -> str:
    """The message of the refusal, after checking that no part of the key stands in it."""
    path = put(directory, content)
    with pytest.raises(SecretFileError) as caught:
        load_key_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    for form in (SEED.hex(), b64(SEED)[:20], b64(SEED + PUB_KEY)[:20], repr(SEED)[2:20]):
        assert form not in message
    assert caught.value.__cause__ is None
    return message


class TestAFileOfCometBFT:
    def test_it_is_loaded(self, tmp_path: Path) -> None:
        key = load_key_file(put(tmp_path, GO_FILE))
        assert (key.pub_key, key.address, key.type_name) == (PUB_KEY, ADDRESS, "ed25519")

    def test_it_is_written_byte_for_byte(self, tmp_path: Path) -> None:
        write_key_file(tmp_path / "key.json", Ed25519Key(SEED))
        assert (tmp_path / "key.json").read_text() == GO_FILE

    def test_what_is_written_is_private(self, tmp_path: Path) -> None:
        write_key_file(tmp_path / "key.json", Ed25519Key(SEED))
        assert (tmp_path / "key.json").stat().st_mode & 0o777 == 0o600

    def test_an_existing_file_is_never_overwritten(self, tmp_path: Path) -> None:
        path = put(tmp_path, "mine")
        with pytest.raises(OperatorError, match="never overwritten"):
            write_key_file(path, Ed25519Key(SEED))
        assert path.read_text() == "mine"
        assert list(tmp_path.iterdir()) == [path]

    def test_the_private_key_alone_is_enough(self, tmp_path: Path) -> None:
        content = with_priv_key("tendermint/PrivKeyEd25519", b64(SEED + PUB_KEY))
        assert load_key_file(put(tmp_path, content)).address == ADDRESS

    def test_unknown_fields_and_white_space_are_ignored_as_go_does(self, tmp_path: Path) -> None:
        document = json.loads(GO_FILE) | {"comment": "moved in 2024"}
        content = "\r\n " + json.dumps(document, indent=4).replace("\n", "\r\n") + "\n"
        assert load_key_file(put(tmp_path, content)).address == ADDRESS

    def test_an_address_in_lower_case_agrees(self, tmp_path: Path) -> None:
        assert load_key_file(put(tmp_path, GO_FILE.replace(ADDRESS, ADDRESS.lower()))).address == ADDRESS

    def test_a_generated_key_comes_back_the_same(self, tmp_path: Path) -> None:
        key = generate_key()
        write_key_file(tmp_path / "key.json", key)
        loaded = load_key_file(tmp_path / "key.json")
        assert (loaded.address, loaded.sign(b"x")) == (key.address, key.sign(b"x"))

    def test_two_generated_keys_differ(self) -> None:
        assert generate_key().pub_key != generate_key().pub_key


class TestContradictions:
    def test_another_public_key_beside_the_private_one_is_refused(self, tmp_path: Path) -> None:
        other = Ed25519Key(bytes(32))
        message = refusal(tmp_path, GO_FILE.replace(b64(PUB_KEY), b64(other.pub_key)))
        assert f"pub_key says {other.pub_key.hex()}" in message
        assert f"belongs to {PUB_KEY.hex()}" in message

    @pytest.mark.parametrize("address", ['"' + "00" * 20 + '"', '""', "null", "7", '["A"]'])
    def test_another_address_is_refused(self, tmp_path: Path, address: str) -> None:
        message = refusal(tmp_path, GO_FILE.replace(f'"{ADDRESS}"', address))
        assert "address says" in message
        assert ADDRESS in message

    def test_a_repeated_field_is_refused(self, tmp_path: Path) -> None:
        content = GO_FILE.replace('"address"', '"priv_key": {}, "address"')
        assert "has a field twice" in refusal(tmp_path, content)


class TestTheSixtyFourByteTrap:
    def test_an_expanded_key_is_refused_and_not_taken_for_a_seed(self, tmp_path: Path) -> None:
        scalar_and_prefix = bytes(range(64))
        message = refusal(tmp_path, with_priv_key("tendermint/PrivKeyEd25519", b64(scalar_and_prefix)))
        assert "not a seed followed by its public key" in message

    @pytest.mark.parametrize("bit", range(0, 512, 37))
    def test_one_flipped_bit_anywhere_is_refused(self, tmp_path: Path, bit: int) -> None:
        value = bytearray(SEED + PUB_KEY)
        value[bit // 8] ^= 1 << bit % 8
        content = with_priv_key("tendermint/PrivKeyEd25519", b64(bytes(value)))
        assert "not a seed followed by its public key" in refusal(tmp_path, content)

    def test_a_seed_alone_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, with_priv_key("tendermint/PrivKeyEd25519", b64(SEED)))
        assert "is a 32-byte seed alone, expected 64 bytes" in message

    def test_a_yubihsm_export_is_refused_by_name(self, tmp_path: Path) -> None:
        assert "YubiHSM" in refusal(tmp_path, with_priv_key("tendermint/PrivKeyEd25519", b64(bytes(96))))

    @pytest.mark.parametrize("size", [0, 1, 31, 33, 63, 65, 128])
    def test_any_other_size_is_refused(self, tmp_path: Path, size: int) -> None:
        content = with_priv_key("tendermint/PrivKeyEd25519", b64(bytes(size)))
        assert f"has {size} bytes, expected 64; it was damaged or edited: restore" in refusal(tmp_path, content)


class TestOtherForms:
    @pytest.mark.parametrize(
        ("content", "form"),
        [
            (b64(SEED), "a bare base64 32-byte seed (the form of tmkms' softsign"),
            (b64(SEED) + "\n", "a bare base64 32-byte seed (the form of tmkms' softsign"),
            (b64(SEED + PUB_KEY), "a bare base64 64-byte key (the form of cosmos/kms"),
            (b64(bytes(96)), "a bare base64 96-byte key (an export of a YubiHSM)"),
            (SEED, "32 raw bytes"),
            (SEED + PUB_KEY, "64 raw bytes"),
            (SEED.hex(), "a private key in hex"),
            ("", "empty"),
            ("[1]", "not a JSON object"),
        ],
    )
    def test_they_are_refused_by_their_name(self, tmp_path: Path, content: str | bytes, form: str) -> None:
        assert f"is {form}" in refusal(tmp_path, content)

    @pytest.mark.parametrize(
        "type_name",
        [
            "tendermint/PrivKeySecp256k1",
            "tendermint/PrivKeySecp256k1eth",
            "cometbft/PrivKeySecp256k1eth",
            "cometbft/PrivKeyBls12_381",
            "cometbft/PrivKeyMlDsa65",
            "tendermint/PrivKeySr25519",
        ],
    )
    def test_other_key_types_are_refused_by_their_name(self, tmp_path: Path, type_name: str) -> None:
        assert f"'{type_name}', which is not in this release" in refusal(tmp_path, with_priv_key(type_name, b64(SEED)))

    def test_an_unheard_of_type_is_refused_and_cut(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, with_priv_key("\x1b[31m" * 1000, b64(SEED)))
        assert "expected tendermint/PrivKeyEd25519" in message
        assert "\x1b" not in message
        assert len(message) < 400

    def test_a_public_key_of_another_type_is_refused(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, GO_FILE.replace("PubKeyEd25519", "PubKeySecp256k1"))
        assert "pub_key.type is 'tendermint/PubKeySecp256k1', which is not in this release" in message

    def test_a_public_key_of_another_size_is_refused(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, GO_FILE.replace(b64(PUB_KEY), b64(bytes(33))))
        assert "pub_key.value has 33 bytes, expected 32; it was damaged or edited: restore" in message


class TestDamage:
    @pytest.mark.parametrize("end", range(1, len(GO_FILE), 11))
    def test_a_file_cut_short_is_refused(self, tmp_path: Path, end: int) -> None:
        assert "not valid JSON" in refusal(tmp_path, GO_FILE[:end])

    @pytest.mark.parametrize(
        "entry",
        [
            "null",
            "{}",
            "[]",
            '"x"',
            '{"type": "tendermint/PrivKeyEd25519"}',
            '{"type": 1, "value": "x"}',
            '{"value": ""}',
        ],
    )
    def test_an_entry_of_another_shape_is_refused(self, tmp_path: Path, entry: str) -> None:
        assert "priv_key is missing or is not" in refusal(tmp_path, f'{{"priv_key": {entry}}}')

    @pytest.mark.parametrize("value", ["%%%%", "A", "nYNN P8rE", "nYNNP8rE\n", "nYNNP8r=E", "ünicode"])
    def test_a_value_that_is_not_base64_is_refused(self, tmp_path: Path, value: str) -> None:
        message = refusal(tmp_path, with_priv_key("tendermint/PrivKeyEd25519", value))
        assert "priv_key.value is not base64; it was damaged or edited: restore the file from its backup" in message

    def test_bytes_outside_utf8_are_refused(self, tmp_path: Path) -> None:
        assert "not valid JSON" in refusal(tmp_path, b'{"priv_key": "\xff\xfe"}')

    def test_nesting_without_end_is_refused(self, tmp_path: Path) -> None:
        assert "not valid JSON" in refusal(tmp_path, '{"a":' * 3000)

    def test_a_huge_number_is_refused(self, tmp_path: Path) -> None:
        assert "not valid JSON" in refusal(tmp_path, '{"a":' + "9" * 10_000 + "}")

    def test_a_file_too_long_is_refused_unread(self, tmp_path: Path) -> None:
        assert "bytes long, expected at most 16384" in refusal(tmp_path, GO_FILE + " " * 16384)

    @given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: b"{" + text.encode("utf-8", "replace")))
    def test_any_bytes_are_an_object_or_a_refusal(self, content: bytes) -> None:
        with contextlib.suppress(SecretFileError):
            assert isinstance(parse_key_document(content, Path("k"), "a key"), dict)


def test_a_readable_key_is_refused_with_the_chmod_to_run(tmp_path: Path) -> None:
    path = put(tmp_path, GO_FILE)
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match=f"run: chmod 600 {path}"):
        load_key_file(path)
