"""What files feed: guards, markers, fuses, state files, the term, keys and identities.

Each entry lays its input where the product looks for it, checks what is promised of the result, and returns a word.
Formats with a checksum are tried twice: as they come, and with the checksum mended, so that what is behind it is met.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from cmkms.cluster import terms
from cmkms.cluster.octets import MAX_NUMBER
from cmkms.cluster.view import View
from cmkms.errors import CmkmsError
from cmkms.guard.agreed_floor import unusable_floor
from cmkms.guard.born import BornMarker, read_founders, read_marker, render_marker
from cmkms.guard.claims import NO_FLOOR, GuardClaim, GuardPhase, short_reason
from cmkms.guard.file import BLOCK_BYTES, FILE_BYTES, survey
from cmkms.guard.floor import claimed, floor_of, home_state, says_more
from cmkms.guard.fuse import read_fuse
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, next_generation
from cmkms.guard.hrs import NEVER
from cmkms.guard.inspection import inspect_guard
from cmkms.guard.record import RECORD_BYTES, GuardRecord, decode_record, encode_record
from cmkms.guard.released import load_released
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import SignState, parse_state, render_state
from cmkms.http.schema import status_json
from cmkms.keys import load_identity, load_key_file
from cmkms.keys.ed25519 import Ed25519Key
from cmkms.peers.codec import encode
from cmkms.peers.messages import Status
from tests.fuzz.scratch import laid, site
from tests.http.conftest import node_status
from tests.unit.guard.world import (
    CHAIN,
    GOLDEN_CHAIN,
    IDENTITY,
    KEY_HASH,
    NONCE,
    NOW,
    golden,
    hrs,
    precommit,
    prevote,
    proposal,
    signed,
)
from tests.unit.guard.world import record as record_at

__all__ = [
    "born_marker",
    "born_marker_corpus",
    "founders",
    "fuse",
    "fuse_corpus",
    "guard_file",
    "guard_file_corpus",
    "identity",
    "identity_corpus",
    "key_file",
    "key_file_corpus",
    "last_released",
    "last_released_corpus",
    "record",
    "record_corpus",
    "state_file",
    "state_file_corpus",
    "term_file",
    "term_file_corpus",
]

_Loaded = TypeVar("_Loaded")

_CRC_BYTES: Final = 4
_GOLDEN: Final = (
    "priv_val_server",
    "cosmos-kms",
    "cometkms-signer",
    "cometkms-follower",
    "tmkms",
    "horcrux-single",
    "horcrux-cluster",
    "horcrux-share",
)
_SECRET: Final = Ed25519Key(bytes(range(32)))
_SHOWN: Final = 16
"""Characters of a secret in a row that no error may show; fewer turn up by chance."""


def _with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def _also_mended(data: bytes, mended: bytes, read: Callable[[bytes], str], refused: type[Exception]) -> str:
    """Read the input as it is, which hardly ever gets past the checksum, and then with its checksum mended."""
    try:
        read(data)
    except refused:
        return read(mended)
    return read(data)


# --------------------------------------------------------------------------------------------------------- the guard


def _records() -> tuple[GuardRecord, ...]:
    plain = record_at(hrs(9, 0, 2), prevote(9))
    return (
        plain,
        replace(plain, sign_bytes=None),
        replace(plain, armed=False, generation=NO_GENERATION, hrs=NEVER, sign_bytes=None),
        replace(plain, paused=True, max_height=11, allowed_height=2**63 - 1, hrs=hrs(2**63 - 1, 2**31 - 1, 3)),
        replace(plain, chain_id="", member_id="x" * 32, sign_bytes=bytes(232)),
    )


def record_corpus() -> Sequence[bytes]:
    """Records of every kind: a watermark, a seal, unbound, paused with bounds, full to the brim."""
    return [encode_record(one) for one in _records()]


def record(data: bytes) -> str:
    """One sector: exactly what was encoded, or none."""

    def read(sector: bytes) -> str:
        found = decode_record(sector)
        assert encode_record(found) == sector, "not the only form"
        return "a seal" if found.sign_bytes is None else "a watermark"

    body = data[: RECORD_BYTES - _CRC_BYTES].ljust(RECORD_BYTES - _CRC_BYTES, b"\0")
    return _also_mended(data, _with_checksum(body), read, Exception)


def _file_of(*records: GuardRecord) -> bytes:
    blocks = [encode_record(one).ljust(BLOCK_BYTES, b"\0") for one in records]
    return b"".join(blocks)


def guard_file_corpus() -> Sequence[bytes]:
    """Files of two successive records, each twice; and of records that cannot be successive."""
    found: list[bytes] = []
    for one in _records():
        even, odd = replace(one, sequence=4), replace(one, sequence=5)
        found += [_file_of(even, even, odd, odd), _file_of(even, odd, even, odd)]
    return found


def guard_file(data: bytes) -> str:
    """A whole guard file: judged, never raising, and what is judged sound holds a record."""
    size = RECORD_BYTES - _CRC_BYTES
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    mended = b"".join(_with_checksum(block[:size].ljust(size, b"\0")) + block[RECORD_BYTES:] for block in blocks)
    told: list[str] = []
    for content in (data, mended[:FILE_BYTES]):
        found = survey(content)
        assert found.rot or found.highest is not None, "sound, and holds nothing"
        told.append(found.rot[:20] or "sound")
    place = site()
    laid(place.path, mended)
    # What the operator is shown of it, and what the replica would tell its peers.
    inspect_guard(place)
    place.path.unlink()
    return told[-1]


# ------------------------------------------------------------------------------------------------- what is beside it


def _marker() -> tuple[BornMarker, GuardRecord]:
    members = tuple(Member(name, IDENTITY, NONCE) for name in ("node-0", "node-1", "node-2"))
    generation = next_generation(CHAIN, KEY_HASH, NO_GENERATION, members)
    born = replace(record_at(hrs(9, 0, 2), prevote(9)), generation=generation)
    return BornMarker(generation, NO_GENERATION.hash, members), born


def born_marker_corpus() -> Sequence[bytes]:
    """Markers of one and of three, of a later generation, and JSON that is none."""
    marker, _ = _marker()
    one = replace(marker, members=marker.members[:1])
    later = replace(marker, generation=GenerationId(2**40, bytes(32)), previous=bytes(range(32)))
    return [render_marker(each, CHAIN) for each in (marker, one, later)] + [b"{}", b"[]", b'"x"', b"null"]


def born_marker(data: bytes) -> str:
    """The marker beside the keys: refused, or compared with a guard and written again."""
    _, born = _marker()
    path = laid(site().home.born_marker(CHAIN), data)
    try:
        found = read_marker(path)
        # What the operator asks is answered, whatever the marker holds.
        inspect_guard(site())
    finally:
        path.unlink()
    assert found is not None
    why = found.fits(born)
    path = laid(path, render_marker(found, CHAIN))
    assert read_marker(path) == found, "written again, it says something else"
    path.unlink()
    return why[:30] or "fits"


def founders(data: bytes) -> str:
    """The note beside an unarmed guard: of use, or as if it were not there."""
    _, born = _marker()
    path = laid(site().founders_file, data)
    try:
        found = read_founders(site(), born)
    except UnicodeEncodeError:
        return "a name that is no UTF-8"  # an open finding: test_what_was_found.py
    finally:
        path.unlink()
    return f"{min(len(found), 9)} founders"


def fuse_corpus() -> Sequence[bytes]:
    """Fuse markers as they are written, and some that are not."""
    kinds: tuple[object, ...] = (
        {"reason": "fdatasync failed: EIO", "since": 1_700_000_000.5},
        {"reason": "x" * 500, "since": 0},
        {"reason": None, "since": True},
        {"reason": "\ud800 alone", "since": -1},
        {"since": 1e300},
        [],
    )
    return [json.dumps(kind, indent=2).encode() for kind in kinds]


def fuse(data: bytes) -> str:
    """A fuse marker: there, it is blown; and the reason can be told to peers and people."""
    path = laid(site().home.fuse_file(CHAIN), data)
    found = read_fuse(path)
    path.unlink()
    assert found is not None, "a marker that is there counts as none"
    reason = short_reason(found.reason)
    claim = GuardClaim(CHAIN, KEY_HASH, GuardPhase.FUSED, NO_GENERATION, NONCE, 1, NEVER, NO_FLOOR, reason=reason)
    encode(Status(1, "", (), 0, (), (claim,)))
    fused = replace(node_status().chains[0].guard, state="fused", fuse=replace(found, reason=reason))
    status_json(replace(node_status(), chains=(replace(node_status().chains[0], guard=fused),)))
    return "cannot be read" if "cannot be read" in found.reason else "blown"


def last_released_corpus() -> Sequence[bytes]:
    """What a replica keeps of its last signature."""
    return [render_state(signed(one)) for one in (prevote(9), precommit(9, 3), proposal(9))]


def last_released(data: bytes) -> str:
    """The last signature: of use, or as if it were not there. What is of use goes into the view."""
    path = laid(site().home.released_file(CHAIN), data)
    found = load_released(site())
    path.unlink()
    if found is None:
        return "nothing"
    View({CHAIN: found})
    return "a signature"


# -------------------------------------------------------------------------------------------------- state, term, keys


def state_file_corpus() -> Sequence[bytes]:
    """State files of every signer that was met, as it wrote them, and our own."""
    states = (SignState(hrs(9, 0, 2)), SignState(NEVER), signed(prevote(9)), signed(precommit(2**62, 2**30)))
    return [*(golden(name) for name in _GOLDEN), *(render_state(one) for one in states)]


def state_file(data: bytes) -> str:
    """A state file, for the two chains of the samples; any signature is taken for good, so as to get further."""
    told = ""
    for chain_id in (CHAIN, GOLDEN_CHAIN):
        try:
            found = parse_state(data, "state.json", chain_id, lambda _bytes, _signature: True)
        except CmkmsError:
            if chain_id == GOLDEN_CHAIN and not told:
                raise
            continue
        told = _of_use(found, chain_id, data)
    return told


def _of_use(state: SignState, chain_id: str, data: bytes) -> str:
    again = parse_state(render_state(state), "state.json", chain_id, lambda _bytes, _signature: True)
    assert again == state, "written again, it says something else"
    place = _of_chain(chain_id)
    path = laid(place.state_file, data)
    claim = claimed(floor_of(state, path, NOW))
    assert not unusable_floor(claim, chain_id) or claim.hrs == NEVER, "the others would not take it"
    home_state_or_refused(place)
    path.unlink()
    says_more(state, record_at(hrs(9, 0, 2), prevote(9)))
    return "never signed" if state.hrs == NEVER else "signed" if state.sign_bytes else "a point"


def _of_chain(chain_id: str) -> GuardSite:
    return replace(site(), chain_id=chain_id)


def home_state_or_refused(place: GuardSite) -> None:
    """Read it where birth does, which checks the signature, too: refused, or taken."""
    try:
        home_state(place)
    except CmkmsError:
        return


def term_file_corpus() -> Sequence[bytes]:
    """Terms, with a vote and without."""
    kept = ((0, None), (7, "node-1"), (MAX_NUMBER, "x" * 64), (3, "é"))
    return [terms._encode(terms.TermVote(term, vote)) for term, vote in kept]


def term_file(data: bytes) -> str:
    """Term and vote: what was written, or lost with a warning. And never an error."""

    def read(content: bytes) -> str:
        found = terms._decode(content)
        assert terms._encode(found) == content, "not the only form"
        return "a vote" if found.voted_for else "no vote"

    warned: list[str] = []
    path = laid(site().home.data_dir / "@term", data)
    terms.FileTermStore(path, warned.append).load()
    assert len(warned) <= 1
    return _also_mended(data, _with_checksum(data[:-_CRC_BYTES]), read, ValueError)


def key_file_corpus() -> Sequence[bytes]:
    """A key file as CometBFT writes it, one without what can be derived, and the forms of other signers."""
    secret = base64.b64encode(_SECRET.expose_secret()).decode()
    public = base64.b64encode(_SECRET.pub_key).decode()
    private = {"type": "tendermint/PrivKeyEd25519", "value": secret}
    whole = {
        "address": _SECRET.address,
        "pub_key": {"type": "tendermint/PubKeyEd25519", "value": public},
        "priv_key": private,
    }
    other = {"type": "tendermint/PrivKeySecp256k1", "value": secret[:44]}
    seed = _SECRET.expose_secret()[:32]
    return [
        json.dumps(whole, indent=2).encode(),
        json.dumps({"priv_key": private}).encode(),
        json.dumps({"priv_key": other}).encode(),
        base64.b64encode(seed),
        seed,
        _SECRET.expose_secret().hex().encode(),
    ]


def identity_corpus() -> Sequence[bytes]:
    """CometBFT's node_key.json, and what else may lie in its place."""
    return key_file_corpus()


def key_file(data: bytes) -> str:
    """A consensus key: this one, another one, or refused without a word of the secret."""
    path = laid(site().home.default_key_file, data)
    key = _keeping_the_secret(partial(load_key_file, path))
    return "the key" if key.pub_key == _SECRET.pub_key else "another key"


def identity(data: bytes) -> str:
    """A connection identity, likewise."""
    path = laid(site().home.identity_file, data)
    found = _keeping_the_secret(partial(load_identity, path))
    return "the key" if found.public_key == _SECRET.pub_key else "another key"


def _keeping_the_secret(load: Callable[[], _Loaded]) -> _Loaded:
    try:
        return load()
    except CmkmsError as error:
        secret = _SECRET.expose_secret()
        shown = str(error)
        for form in (base64.b64encode(secret).decode()[:43], secret[:32].hex(), secret[:32].decode("latin-1")):
            pieces = (form[at : at + _SHOWN] for at in range(len(form) - _SHOWN + 1))
            assert not any(piece in shown for piece in pieces), "an error shows the secret"
        raise
