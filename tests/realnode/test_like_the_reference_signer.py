"""cmkms and CometBFT's reference signer, one key and one script each: the same signatures, times and verdicts.

What the design wants otherwise stands with its reason in `questions.py`; anything else that differs is a failure.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.realnode.binaries import Unavailable
from tests.realnode.interview import Verdict, interview
from tests.realnode.node import Transport
from tests.realnode.questions import SCRIPTS, Outcome, Question
from tests.realnode.signers import CmkmsSigner, ReferenceSigner

pytestmark = pytest.mark.realnode

_EVERYTHING = [
    pytest.param(script, number, id=f"{script}: {number} {question.name}")
    for script, questions in SCRIPTS.items()
    for number, question in enumerate(questions)
]


@dataclass(frozen=True, slots=True)
class Both:
    """What the two signers made of one question."""

    reference: Verdict
    cmkms: Verdict


Interviews = dict[str, list[Both]]


@pytest.fixture(scope="module", params=list(Transport))
def interviews(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Interviews:
    """All scripts played to both signers, once for each transport."""
    transport: Transport = request.param
    key_file = tmp_path_factory.mktemp("key") / "priv_validator_key.json"
    key_file.write_text(_new_key())
    key_file.chmod(0o600)
    return {
        script: _interview_both(transport, questions, key_file, tmp_path_factory.mktemp("signers"))
        for script, questions in SCRIPTS.items()
    }


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("script", "number"), _EVERYTHING)
def test_both_give_the_same_answer_but_where_the_design_differs(
    interviews: Interviews, script: str, number: int
) -> None:
    question, both = SCRIPTS[script][number], interviews[script][number]
    difference = question.difference
    if difference is None:
        assert both.cmkms.alike(both.reference), f"{question.name}: {both.cmkms} against {both.reference}"
    else:
        assert both.reference.outcome in difference.of_the_reference, f"the reference: {both.reference}"
        assert both.cmkms.outcome is difference.cmkms, f"cmkms: {both.cmkms}"
        assert not both.cmkms.alike(both.reference), "a difference is listed that is none"


def test_every_signature_of_an_answer_verified(interviews: Interviews) -> None:
    # The interview checks each signature as it comes: here only that there were some.
    signed = [both.cmkms for both in interviews["a validator's life"] if both.cmkms.outcome is Outcome.SIGNED]
    assert len(signed) > 50
    assert any(verdict.extension_signature for verdict in signed)


def _interview_both(
    transport: Transport, questions: tuple[Question, ...], key_file: Path, directory: Path
) -> list[Both]:
    verdicts: list[list[Verdict]] = []
    for signer_type in (ReferenceSigner, CmkmsSigner):
        # The path of a Unix socket has 107 bytes at most, and pytest's own folders may be deep.
        with tempfile.TemporaryDirectory(prefix="cmkms-node-") as folder:
            laddr = f"unix://{folder}/privval.sock" if transport is Transport.UNIX else "tcp://127.0.0.1:0"
            try:
                answers = asyncio.run(interview(signer_type, questions, laddr, directory, key_file))
            except Unavailable as reason:
                pytest.skip(str(reason))
            verdicts.append(answers)
    return [Both(reference, cmkms) for reference, cmkms in zip(*verdicts, strict=True)]


def _new_key() -> str:
    """A consensus key in CometBFT's form (privval/file.go, FilePVKey)."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return json.dumps(
        {
            "address": hashlib.sha256(public).hexdigest()[:40].upper(),
            "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(public).decode()},
            "priv_key": {
                "type": "tendermint/PrivKeyEd25519",
                "value": base64.b64encode(private.private_bytes_raw() + public).decode(),
            },
        }
    )
