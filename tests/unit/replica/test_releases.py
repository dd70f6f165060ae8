"""What any member says was released is verified before it is believed, and nothing that it says ends this process."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.cluster.view import View
from cmkms.guard.generation import Electorate, GenerationId
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.state_file import SignState
from cmkms.privval.signbytes import CanonicalMessage, encode_sign_bytes
from cmkms.privval.values import NIL_BLOCK, SignedMsgType, Timestamp
from cmkms.replica.releases import Releases
from tests.unit.guard.world import CHAIN, KEY, KEY_HASH, hrs, precommit

PLACE = HRS(5, 0, Step.PREVOTE)


class Chain:
    """A chain as far as releases know it: born, with a key."""

    electorate = Electorate(CHAIN, KEY_HASH, GenerationId(1, bytes(32)), ())

    def __init__(self) -> None:
        self.signer = self
        self.released: SignState | None = None

    def verify(self, sign_bytes: bytes, signature: bytes) -> bool:
        return KEY.sign(sign_bytes) == signature

    def learn(self, state: SignState) -> None:
        self.released = state


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def releases(chain: Chain) -> Releases:
    return Releases(cast("Any", {CHAIN: chain}), {})


def bytes_of(height: int, round_: int) -> bytes:
    """Well-formed sign-bytes, also of a place that there is not."""
    return encode_sign_bytes(
        CanonicalMessage(SignedMsgType.PREVOTE, height, round_, 0, NIL_BLOCK, Timestamp(0, 0), CHAIN)
    )


def test_what_our_key_signed_is_learnt(chain: Chain, releases: Releases) -> None:
    state = SignState(hrs(5, 0, 3), precommit(5), KEY.sign(precommit(5)), 1)
    assert releases.view.merge(View({CHAIN: state}))
    assert chain.released == state


@pytest.mark.parametrize(("height", "round_"), [(-1, 0), (5, -1), (5, 2**40), (-(2**63), -(2**63))])
def test_a_place_that_there_is_not_is_refused(chain: Chain, releases: Releases, height: int, round_: int) -> None:
    """It ended the process: the place was read outside of what catches a bad one."""
    state = SignState(PLACE, bytes_of(height, round_), os.urandom(64), 1)
    assert not releases.view.merge(View({CHAIN: state}))
    assert chain.released is None


@given(st.binary(min_size=1, max_size=200), st.binary(min_size=64, max_size=64))
def test_whatever_bytes_are_told_nothing_is_raised(sign_bytes: bytes, signature: bytes) -> None:
    chain = Chain()
    releases = Releases(cast("Any", {CHAIN: chain}), {})
    releases.view.merge(View({CHAIN: SignState(PLACE, sign_bytes, signature, 1)}))
    assert chain.released is None
