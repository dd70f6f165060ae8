"""What fuzzing has found, each as a test of its own that says in a sentence what was wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from cmkms.cluster import codec as raft
from cmkms.errors import PeerError, SecretFileError
from cmkms.guard.change_file import change_path, read_change, render_change
from cmkms.guard.claims import short_reason
from cmkms.guard.fuse import read_fuse
from cmkms.guard.inspection import inspect_guard
from cmkms.http.schema import StatusBody, status_json
from cmkms.keys import load_key_file
from cmkms.keys.ed25519 import Ed25519Key
from cmkms.status import FuseStatus
from cmkms.telemetry.repetition import VAIN_BURST, Repeats
from tests.fuzz.entries_change import change
from tests.fuzz.entries_files import born_marker_corpus, guard_file_corpus
from tests.fuzz.entries_text import status_page_corpus
from tests.fuzz.scratch import laid, site
from tests.http.conftest import node_status
from tests.unit.cluster.test_strangers import settled
from tests.unit.guard.world import CHAIN, hrs, record

_KEY = Ed25519Key(bytes(range(32)))
_SECRET = base64.b64encode(_KEY.expose_secret()).decode()


def test_a_leader_that_never_commits_does_not_fill_the_memory_of_its_followers() -> None:
    """Entries of 15 KiB were put into the log without an end: 13 MB a second, for as long as they came."""
    world = settled()
    follower, term = world["node-0"], world["node-0"].term + 1
    previous = follower._engine.end.index
    follower.received("node-2", raft.encode(raft.AppendEntries(term, 1.0, 1, previous, follower._engine.end.term, ())))
    entry = raft.Entry(term, b"\x00")

    def append() -> None:
        end = follower._engine.end
        batch = raft.AppendEntries(term, 1.0, 1, end.index, end.term, (entry,) * raft.MAX_ENTRIES)
        follower.received("node-2", raft.encode(batch))

    append()
    with pytest.raises(PeerError, match="never commits"):
        append()
    world.run_until(lambda: world.holder is not None, 5)
    assert world.holder is not None


def _refusal(document: object) -> str:
    path = laid(site().home.default_key_file, json.dumps(document).encode())
    with pytest.raises(SecretFileError) as refused:
        load_key_file(path)
    return str(refused.value)


def test_a_key_that_stands_where_its_type_belongs_is_not_shown_in_the_error() -> None:
    """The first 60 characters of a type went into the error: the whole seed, where the two were swapped by hand."""
    message = _refusal({"priv_key": {"type": _SECRET, "value": "tendermint/PrivKeyEd25519"}})
    assert _SECRET[:16] not in message
    assert "expected tendermint/PrivKeyEd25519" in message


def test_a_key_that_stands_where_its_address_belongs_is_not_shown_in_the_error() -> None:
    """The first 80 characters of an address did."""
    private = {"type": "tendermint/PrivKeyEd25519", "value": _SECRET}
    for secret in (_SECRET, _KEY.expose_secret()[:32].hex()):
        message = _refusal({"address": secret, "priv_key": private})
        assert secret[:16] not in message
        assert _KEY.address in message


def test_a_fuse_that_blew_in_a_home_whose_path_is_no_utf_8_can_be_told_to_peers() -> None:
    """Python carries such a path as lone surrogates. The claim that names it cannot be made, and the replica ends."""
    marker = {"reason": "cannot write /srv/\udcff/data/guard: Input/output error", "since": 1.0}
    laid(site().home.fuse_file(CHAIN), json.dumps(marker).encode())
    blown = read_fuse(site().home.fuse_file(CHAIN))
    site().home.fuse_file(CHAIN).unlink()
    assert blown is not None
    assert "Input/output error" in short_reason(blown.reason)


def test_a_born_marker_with_a_name_that_is_no_utf_8_is_refused_with_a_message() -> None:
    """A damaged marker has to be refused by name: `start` and `guard show` end in a traceback instead."""
    path = laid(site().home.born_marker(CHAIN), born_marker_corpus()[0].replace(b"node-1", b"\\ud800"))
    laid(site().path, guard_file_corpus()[0])
    try:
        assert inspect_guard(site()).problems
    finally:
        path.unlink()
        site().path.unlink()


def test_a_fuse_that_blew_at_no_time_that_there_is_can_be_shown() -> None:
    """A damaged `since` is any number. `/status` and `/readyz` were errors for as long as it lay there."""
    chain = node_status().chains[0]
    for since in (1e300, -1e300, 253_402_300_800.0):
        fused = replace(chain.guard, state="fused", fuse=FuseStatus("why", since))
        assert "why" in status_json(replace(node_status(), chains=(replace(chain, guard=fused),)))


def test_a_status_that_is_not_a_number_of_seconds_is_no_status() -> None:
    """`"uptime_seconds": NaN` was taken for a status, and `cmkms status` ended in a traceback."""
    text = status_page_corpus()[0].replace(b'"uptime_seconds":12.346', b'"uptime_seconds":NaN')
    assert b"NaN" in text
    with pytest.raises(ValidationError):
        StatusBody.model_validate_json(text)


def test_the_note_of_a_change_with_a_name_that_is_no_utf_8_counts_as_none() -> None:
    """A damaged change.json has to be as good as none: the replica does not start instead."""
    fields = json.loads(render_change(change()))
    fields["members"][0]["id"] = "\ud800"
    laid(change_path(site()), json.dumps(fields).encode())
    try:
        assert read_change(site(), record(hrs(9, 0, 2))) is None
    finally:
        change_path(site()).unlink()


def test_a_node_that_asks_for_ever_other_things_in_vain_does_not_fill_the_log() -> None:
    """The same request again was told seldom; two in turns were two lines each time, thousands a second."""
    repeats = Repeats()
    told = [moment for moment in range(10_000) if repeats.tell(f"request {moment % 2}", 1000 + moment / 1000)]
    assert VAIN_BURST <= len(told) <= VAIN_BURST + 11
    assert repeats.take_held_back() > 4_000
    assert repeats.take_held_back() == 0
