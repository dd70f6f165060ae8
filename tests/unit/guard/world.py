"""The little world in which guards are tested: one chain, one key, blocks, and the messages that are signed in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cmkms.guard.birth import GuardSite
from cmkms.guard.decide import AcceptRequest, GuardState
from cmkms.guard.generation import GenerationId, key_hash
from cmkms.guard.guard import GuardClocks
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.record import GuardRecord
from cmkms.guard.state_file import SignState, render_state
from cmkms.home import Home
from cmkms.keys.ed25519 import Ed25519Key
from cmkms.privval import (
    NIL_BLOCK,
    BlockID,
    PartSetHeader,
    Proposal,
    SignedMsgType,
    Timestamp,
    Vote,
    proposal_sign_bytes,
    vote_sign_bytes,
)

CHAIN: Final = "guarded-1"
KEY: Final = Ed25519Key(hashlib.sha256(b"guard tests").digest())
OTHER_KEY: Final = Ed25519Key(hashlib.sha256(b"another key").digest())
KEY_HASH: Final = key_hash("ed25519", KEY.pub_key)
IDENTITY: Final = hashlib.sha256(b"identity of node-0").digest()
GENERATION: Final = GenerationId(1, hashlib.sha256(b"a generation").digest())
NONCE: Final = bytes(range(16))
NOW: Final = 1_800_000_000
"""Unix seconds at which the tests' clock stands still."""

GOLDEN_CHAIN: Final = "golden-1"
GOLDEN_PUB_KEY: Final = bytes.fromhex("feaa5f6283593397e90ae15328a7bddfb1e4216ffae6a31b5af638fc58e52d27")


def block(number: int) -> BlockID:
    """Block of that number; 0 is nil."""
    if number == 0:
        return NIL_BLOCK
    digest = hashlib.sha256(f"block {number}".encode()).digest()
    return BlockID(digest, PartSetHeader(1, digest[::-1]))


def prevote(height: int, round_: int = 0, number: int = 1, at: int = NOW, chain: str = CHAIN) -> bytes:
    return vote_sign_bytes(chain, Vote(SignedMsgType.PREVOTE, height, round_, block(number), Timestamp(at, 0)))


def precommit(height: int, round_: int = 0, number: int = 1, at: int = NOW, chain: str = CHAIN) -> bytes:
    return vote_sign_bytes(chain, Vote(SignedMsgType.PRECOMMIT, height, round_, block(number), Timestamp(at, 0)))


def proposal(
    height: int, round_: int = 0, number: int = 1, at: int = NOW, pol_round: int = -1, chain: str = CHAIN
) -> bytes:
    return proposal_sign_bytes(chain, Proposal(height, round_, pol_round, block(number), Timestamp(at, 0)))


def request(sign_bytes: bytes, generation: GenerationId = GENERATION) -> AcceptRequest:
    return AcceptRequest.of(KEY_HASH, generation, sign_bytes)


def hrs(height: int, round_: int = 0, step: int = 0) -> HRS:
    return HRS(height, round_, Step(step))


def state(at: HRS, sign_bytes: bytes | None) -> GuardState:
    return GuardState(CHAIN, KEY_HASH, GENERATION, armed=True, hrs=at, sign_bytes=sign_bytes)


def record(at: HRS, sign_bytes: bytes | None = None, sequence: int = 4) -> GuardRecord:
    return GuardRecord(
        chain_id=CHAIN,
        member_id="node-0",
        key_hash=KEY_HASH,
        nonce=NONCE,
        generation=GENERATION,
        sequence=sequence,
        armed=True,
        hrs=at,
        sign_bytes=sign_bytes,
        accepted_at=NOW,
    )


@dataclass
class Clock:
    """A wall clock that tests set."""

    now: float = NOW
    clocks: GuardClocks = field(init=False)

    def __post_init__(self) -> None:
        self.clocks = GuardClocks(wall=lambda: self.now, monotonic=lambda: 0.0)


CLOCKS: Final = Clock().clocks


def make_site(
    path: Path,
    *,
    member: str = "node-0",
    identity: bytes = IDENTITY,
    key: Ed25519Key = KEY,
    members: tuple[str, ...] = (),
) -> GuardSite:
    """Make an empty home at `path`, as `cmkms init` leaves it, and name its guard; of one replica if not told else."""
    home = Home(path)
    for directory in (home.path, home.data_dir, home.priv_dir):
        directory.mkdir(mode=0o700, exist_ok=True)
    return GuardSite(
        home=home,
        chain_id=CHAIN,
        member_id=member,
        identity=identity,
        key_type=key.type_name,
        pub_key=key.pub_key,
        state_file=home.default_state_file,
        members=members or (member,),
    )


def signed(sign_bytes: bytes, key: Ed25519Key = KEY) -> SignState:
    """State of a signer that signed `sign_bytes` last."""
    return SignState(request(sign_bytes).hrs, sign_bytes, key.sign(sign_bytes))


def put_state(site: GuardSite, given: SignState) -> Path:
    """Lay a state file where birth looks for it."""
    site.state_file.write_bytes(render_state(given))
    return site.state_file


def golden(name: str) -> bytes:
    """Return another signer's state file, as that signer wrote it."""
    return (Path(__file__).parents[2] / "data" / "guard" / f"{name}.json").read_bytes()
