"""The harness against CometBFT's own signer: what a judge says of cmkms counts only if it says the right of FilePV."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle, Rule
from tests.acceptance.attachment import CHAIN, SOME_TIME, TRANSPORTS, precommit, prevote
from tests.realnode.binaries import REFERENCE_SIGNER, Unavailable, binary

# The first run may have to build the signer.
pytestmark = [pytest.mark.realnode, pytest.mark.timeout(900)]

FRESH_STATE = '{"height": "0", "round": 0, "step": 0}'


class Reference:
    """priv_val_server, served by a node and watched by an oracle."""

    def __init__(self, executable: Path, directory: Path, node: SimulatedNode, oracle: Oracle) -> None:
        self.node = node
        self.oracle = oracle
        self._state = directory / "state.json"
        self._log = directory / "log"
        self._command = [
            *(str(executable), f"-addr={node.address}", f"-chain-id={CHAIN}"),
            *(f"-priv-key={key_file(directory)}", f"-priv-state={self._state}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def restart_with(self, state: str) -> None:
        self.kill()
        self._state.write_text(state)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def key_file(directory: Path) -> Path:
    key = Ed25519PrivateKey.generate()
    seed, public = key.private_bytes_raw(), key.public_key().public_bytes_raw()
    document = {
        "address": hashlib.sha256(public).hexdigest()[:40].upper(),
        "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(public).decode()},
        "priv_key": {"type": "tendermint/PrivKeyEd25519", "value": base64.b64encode(seed + public).decode()},
    }
    path = directory / "key.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(params=TRANSPORTS)
async def reference(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reference]:
    try:
        executable = binary(REFERENCE_SIGNER)
    except Unavailable as reason:
        pytest.skip(str(reason))
    oracle = Oracle([CHAIN])
    async with SimulatedNode(TRANSPORTS[request.param].format(tmp_path), CHAIN, witness=oracle) as node:
        reference = Reference(executable, tmp_path, node, oracle)
        reference.restart_with(FRESH_STATE)
        try:
            await node.boot()
            yield reference
        finally:
            reference.kill()


async def test_a_chain_signed_by_the_reference_signer_is_found_clean(reference: Reference) -> None:
    steps = [step async for step in run_chain(reference.node, ChainPlan(heights=100, late_round_every=7))]

    assert reference.oracle.violations == []
    assert reference.oracle.signed == len(steps)


async def test_its_refusals_and_repetitions_are_read_as_what_they_are(reference: Reference) -> None:
    node = reference.node
    first = await node.sign_vote(prevote(5))
    for refused in (prevote(5, block=block_id(5, 7)), prevote(4), precommit(4)):
        with pytest.raises(RemoteSignerError):
            await node.sign_vote(refused)
    again = await node.sign_vote(prevote(5, time=SOME_TIME.later(1)))

    assert (again.reply.vote.signature, again.reply.vote.time) == (first.reply.vote.signature, SOME_TIME)
    assert reference.oracle.violations == []
    assert (reference.oracle.signed, reference.oracle.refused) == (2, 3)


async def test_a_state_file_restored_from_a_copy_is_caught_as_a_double_sign(reference: Reference) -> None:
    await reference.node.sign_vote(prevote(5))
    reference.restart_with(FRESH_STATE)
    await reference.node.sign_vote(prevote(5, block=block_id(5, 7)))

    assert [violation.rule for violation in reference.oracle.violations] == [Rule.TWO_MESSAGES]
