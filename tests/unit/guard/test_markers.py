"""The small files beside a guard: its born marker, its fuse, and the last released signature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.errors import DiskError
from cmkms.guard.born import BornMarker, MarkerError, read_marker, render_marker
from cmkms.guard.disk import PosixDisk
from cmkms.guard.fuse import Fuse, read_fuse
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, next_generation
from cmkms.guard.hrs import NEVER
from cmkms.guard.released import load_released, store_released
from cmkms.guard.state_file import SignState, render_state
from tests.unit.guard.world import CHAIN, IDENTITY, KEY_HASH, NONCE, OTHER_KEY, make_site, precommit, record, signed

MEMBER = Member("node-0", IDENTITY, NONCE)
BORN = next_generation(CHAIN, KEY_HASH, NO_GENERATION, (MEMBER,))
MARKER = BornMarker(BORN, NO_GENERATION.hash, (MEMBER,))
RECORD = replace(record(NEVER), generation=BORN)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NASTY = [
    b'{"reason": "EIO", "since": NaN}',
    b"",
    b"{",
    b"[]",
    b"null",
    b"5",
    b"\xff",
    b"[" * 4000,
    b'{"format": 1}',
    b'{"format": 2}',
    b'{"reason": 1, "since": ' + b"9" * 400 + b"}",
    b'{"reason": 1, "since": {}}',
    b"1" * 4000,
]


class TestTheBornMarker:
    def test_it_is_read_back_as_it_was_written(self, tmp_path: Path) -> None:
        path = tmp_path / "marker.json"
        path.write_bytes(render_marker(MARKER, CHAIN))
        assert read_marker(path) == MARKER
        assert json.loads(path.read_bytes())["chain_id"] == CHAIN

    def test_where_there_is_none_nothing_was_born(self, tmp_path: Path) -> None:
        assert read_marker(tmp_path / "marker.json") is None

    def test_it_fits_its_guard(self) -> None:
        assert MARKER.fits(RECORD) == ""
        assert MARKER.member("node-0") == MEMBER
        assert MARKER.member("node-1") is None

    @pytest.mark.parametrize(
        ("other", "why"),
        [
            (replace(RECORD, nonce=bytes(16)), "not the one that was born"),
            (replace(RECORD, generation=GenerationId(2, BORN.hash)), "of generation 2"),
            (replace(RECORD, generation=GenerationId(1, bytes(32))), "of generation 1:00000000"),
            (replace(RECORD, chain_id="other-1"), "own hash"),
            (replace(RECORD, key_hash=bytes(32)), "own hash"),
        ],
        ids=["nonce", "number", "hash", "chain", "key"],
    )
    def test_it_fits_no_other(self, other: object, why: str) -> None:
        assert why in MARKER.fits(other)  # type: ignore[arg-type]

    def test_a_marker_whose_members_were_edited_fits_nothing(self) -> None:
        assert "own hash" in replace(MARKER, members=(replace(MEMBER, identity=bytes(32)),)).fits(RECORD)

    @pytest.mark.parametrize("data", NASTY)
    def test_what_cannot_be_read_is_an_error_and_never_none(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "marker.json"
        path.write_bytes(data)
        with pytest.raises(MarkerError, match=r"marker\.json"):
            read_marker(path)

    @given(
        replaced=st.dictionaries(
            st.sampled_from(["format", "generation", "generation_hash", "previous_hash", "members"]), json_values
        )
    )
    def test_any_content_is_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, replaced: dict[str, object]
    ) -> None:
        path = tmp_path_factory.mktemp("marker") / "marker.json"
        path.write_text(json.dumps(json.loads(render_marker(MARKER, CHAIN)) | replaced))
        try:
            found = read_marker(path)
        except MarkerError:
            return
        assert found is not None


class TestTheFuse:
    def test_it_is_whole_until_it_is_blown(self, tmp_path: Path) -> None:
        assert Fuse(PosixDisk(), tmp_path / "fuse.json").blown is None

    def test_a_restart_finds_it_blown_with_its_reason(self, tmp_path: Path) -> None:
        path = tmp_path / "fuse.json"
        assert Fuse(PosixDisk(), path).blow("the disk failed", 12.5)
        found = Fuse(PosixDisk(), path).blown
        assert found is not None
        assert (found.reason, found.since) == ("the disk failed", 12.5)

    def test_the_first_reason_stays(self, tmp_path: Path) -> None:
        fuse = Fuse(PosixDisk(), tmp_path / "fuse.json")
        fuse.blow("first", 1.0)
        fuse.blow("second", 2.0)
        assert fuse.blown is not None
        assert fuse.blown.reason == "first"

    def test_it_blows_in_memory_even_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        fuse = Fuse(PosixDisk(), tmp_path / "nowhere" / "fuse.json")
        assert not fuse.blow("the disk failed", 1.0)
        assert fuse.blown is not None

    @pytest.mark.parametrize("data", NASTY)
    def test_a_marker_that_cannot_be_read_counts_as_blown(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "fuse.json"
        path.write_bytes(data)
        assert read_fuse(path) is not None

    @given(reason=st.text(), since=st.floats(allow_nan=False))
    def test_any_reason_is_found_again_as_blown(
        self, tmp_path_factory: pytest.TempPathFactory, reason: str, since: float
    ) -> None:
        path = tmp_path_factory.mktemp("fuse") / "fuse.json"
        Fuse(PosixDisk(), path).blow(reason * 50, since)
        assert read_fuse(path) is not None


class TestTheLastReleased:
    def test_it_is_read_back(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        site.path.parent.mkdir()
        store_released(site, PosixDisk(), signed(precommit(5)))
        assert load_released(site) == signed(precommit(5))

    @pytest.mark.parametrize(
        "content",
        [
            None,
            b"",
            b"{}",
            render_state(SignState(NEVER)),
            render_state(signed(precommit(5), OTHER_KEY)),
            render_state(signed(precommit(5, chain="other-1"))),
        ],
        ids=["absent", "empty", "no fields", "no bytes", "another key", "another chain"],
    )
    def test_whatever_else_is_there_is_as_if_there_were_nothing(self, tmp_path: Path, content: bytes | None) -> None:
        site = make_site(tmp_path)
        site.path.parent.mkdir()
        if content is not None:
            site.home.released_file(CHAIN).write_bytes(content)
        assert load_released(site) is None

    def test_a_disk_that_is_full_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DiskError):
            store_released(make_site(tmp_path), PosixDisk(), signed(precommit(5)))
