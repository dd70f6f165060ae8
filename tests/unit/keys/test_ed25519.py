"""An Ed25519 key in memory signs as Go does and never shows its private part."""

from __future__ import annotations

import copy
import pickle

import pytest
from nacl.signing import VerifyKey

from cmkms.keys import ConsensusKey, Ed25519Key

SEED = bytes.fromhex("9d834d3fcac4ee25536b70e15376febb697861ab573405d8b89290417fd16070")
# Sign-bytes and signature of a precommit at 3/2, made by CometBFT v0.34 with this key.
PRECOMMIT = bytes.fromhex(
    "770802110300000000000000190200000000000000224a0a208b01023386c371778ecb6368573e539afc3cc860ec3a2f614e54fe5652f4fc80"
    "122608c0843d122072db3d959635dff1bb567bedaa70573392c5159666a3f8caf11e413aac52207a2a0608f49a8ded05320d746573745f6368"
    "61696e5f6964"
)
SIGNATURE = bytes.fromhex(
    "fd4a06bfe49eeef6ab1a1140d10745a0354aac97a7ecb69bb9e10fc6e772f5b2460f03940bee3d628fbb5befe356cd8bbc30f1f128d7949c20"
    "d681ec4f2ca805"
)


@pytest.fixture
def key() -> Ed25519Key:
    return Ed25519Key(SEED)


def test_it_signs_as_go_does(key: ConsensusKey) -> None:
    assert key.sign(PRECOMMIT) == SIGNATURE


def test_its_signature_verifies(key: ConsensusKey) -> None:
    assert VerifyKey(key.pub_key).verify(b"bytes", key.sign(b"bytes")) == b"bytes"


def test_its_address_is_that_of_go(key: ConsensusKey) -> None:
    assert (key.address, key.type_name) == ("DC52D5CF8DFD1793D71038B342A29B01AD8A5D63", "ed25519")


def test_its_repr_is_its_address(key: Ed25519Key) -> None:
    assert repr(key) == str(key) == "Ed25519Key(address=DC52D5CF8DFD1793D71038B342A29B01AD8A5D63)"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(key: Ed25519Key, protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key, protocol)


def test_it_is_not_copied(key: Ed25519Key) -> None:
    with pytest.raises(TypeError, match="not pickled or copied"):
        copy.copy(key)
    with pytest.raises(TypeError, match="not pickled or copied"):
        copy.deepcopy(key)


def test_it_takes_no_attributes(key: Ed25519Key) -> None:
    with pytest.raises(AttributeError):
        key.seed = SEED  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_size_is_refused_without_showing_it(size: int) -> None:
    with pytest.raises(ValueError, match=f"^an Ed25519 seed is 32 bytes long, not {size}$"):
        Ed25519Key(bytes(size))
