"""CometBFT's own reference signer under these same fixtures: where it fails, the set-up is at fault and not cmkms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.realnode.binaries import COMETBFT_0_38, Program
from tests.realnode.chain import Chain, MakeChain
from tests.realnode.commits import precommit_sign_bytes
from tests.realnode.node import Transport
from tests.realnode.signers import ReferenceSigner

pytestmark = pytest.mark.realnode


@pytest.fixture
def control(make_chain: MakeChain, every_node: tuple[Program, Transport]) -> Chain:
    return make_chain(*every_node, ReferenceSigner)


def test_the_reference_signer_carries_the_chain_and_every_commit_verifies(
    control: Chain, figure: Callable[[str], None]
) -> None:
    control.start()
    pause = control.grow(30)
    figure(f"{control.check()}; longest pause {pause:.2f} s")


def test_the_reference_signer_killed_and_started_again_carries_it_on(
    control: Chain, figure: Callable[[str], None]
) -> None:
    control.start(height=10)
    control.signer.kill_9()
    control.signer.start()
    pause = control.grow(10)
    figure(f"{control.check()}; longest pause after kill -9: {pause:.2f} s")


def test_without_its_signer_the_chain_stands_still(make_chain: MakeChain) -> None:
    control = make_chain(COMETBFT_0_38, Transport.UNIX, ReferenceSigner)
    control.start(height=5)
    control.signer.kill_9()
    with pytest.raises(AssertionError, match="the chain stands at"):
        control.grow(3, seconds=3)


def test_a_signature_over_other_bytes_is_noticed(make_chain: MakeChain) -> None:
    control = make_chain(COMETBFT_0_38, Transport.UNIX, ReferenceSigner)
    control.start(height=5)
    control.node.chain_id = "another-chain"
    with pytest.raises(AssertionError, match="does not verify"):
        control.node.check_commits(2, 2)


def test_the_judge_encodes_a_precommit_as_cometbft_does() -> None:
    # From CometBFT's own code: precommit at 3/2 on test_chain_id (types/vote.go, v0.34 to v0.40).
    block_id = {
        "hash": "8b01023386c371778ecb6368573e539afc3cc860ec3a2f614e54fe5652f4fc80",
        "parts": {"total": 1000000, "hash": "72db3d959635dff1bb567bedaa70573392c5159666a3f8caf11e413aac52207a"},
    }
    expected = (
        "770802110300000000000000190200000000000000224a0a208b01023386c371778ecb6368573e539afc3cc860ec3a2f614e54fe5652f4fc80"
        "122608c0843d122072db3d959635dff1bb567bedaa70573392c5159666a3f8caf11e413aac52207a2a0608f49a8ded05"
        "320d746573745f636861696e5f6964"
    )
    assert precommit_sign_bytes("test_chain_id", 3, 2, block_id, "2019-10-13T16:14:44Z").hex() == expected
