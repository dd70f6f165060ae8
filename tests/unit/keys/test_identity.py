"""The connection identity: CometBFT's node_key.json, made once and kept."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from cmkms.errors import OperatorError, SecretFileError
from cmkms.keys import create_identity, load_identity

# Seed and public key of the published handshake vector; a file as CometBFT v0.38.25 writes it (148 bytes, one line).
PUBLIC_KEY = bytes.fromhex("6e33bf12c7a972805e494c6c00b56fe73a3f58f2fe9da0092e5d0725c2b09ddf")
GO_FILE = (
    '{"priv_key":{"type":"tendermint/PrivKeyEd25519","value":'
    '"B9MzW5GSaflYy+tO7unwZ/9NOirerF6Bwr9to2oogphuM78Sx6lygF5JTGwAtW/nOj9Y8v6doAkuXQclwrCd3w=="}}'
)


def test_a_file_of_cometbft_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "identity_key.json"
    path.write_text(GO_FILE)
    path.chmod(0o600)
    identity = load_identity(path)
    assert identity.public_key == PUBLIC_KEY
    assert identity.seed == bytes.fromhex("07d3335b919269f958cbeb4eeee9f067ff4d3a2adeac5e81c2bf6da36a288298")
    assert identity.node_id == "a2bd917f4e232d975ce753b4c00d12164d8b94fc"


def test_a_created_identity_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "identity_key.json"
    created = create_identity(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_identity(path) == created
    assert len(created.node_id) == 40


def test_it_is_written_in_the_form_of_cometbft(tmp_path: Path) -> None:
    create_identity(tmp_path / "i")
    text = (tmp_path / "i").read_text()
    assert len(text) == len(GO_FILE) == 148
    assert text == json.dumps(json.loads(text), separators=(",", ":"))


def test_an_existing_identity_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "identity_key.json"
    path.write_text("mine")
    with pytest.raises(OperatorError, match="never overwritten"):
        create_identity(path)
    assert path.read_text() == "mine"


def test_a_consensus_key_file_is_told_by_its_form(tmp_path: Path) -> None:
    path = tmp_path / "identity_key.json"
    path.write_text("nYNNP8rE7iVTa3DhU3b+u2l4YatXNAXYuJKQQX/RYHA=")
    path.chmod(0o600)
    with pytest.raises(SecretFileError, match=r"tmkms.*expected CometBFT's node_key\.json"):
        load_identity(path)


def test_its_repr_hides_the_seed(tmp_path: Path) -> None:
    identity = create_identity(tmp_path / "i")
    assert "seed" not in repr(identity)
    assert repr(identity.seed)[2:-1] not in repr(identity)


def test_it_is_neither_pickled_nor_copied(tmp_path: Path) -> None:
    identity = create_identity(tmp_path / "i")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(identity)
    with pytest.raises(TypeError, match="not pickled or copied"):
        copy.deepcopy(identity)
