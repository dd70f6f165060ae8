"""A guard file that cannot be opened is refused by name, and blows no fuse: nothing was read, nobody was answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmkms.guard.birth import GuardSite, OpenedGuard, open_guard
from cmkms.guard.disk import PosixDisk
from cmkms.guard.file import GuardUnopenedError
from cmkms.home import Home
from cmkms.keys.ed25519 import Ed25519Key


@pytest.fixture
def site(tmp_path: Path) -> GuardSite:
    for name in ("data", "priv"):
        (tmp_path / name).mkdir(mode=0o700)
    key = Ed25519Key(bytes(range(32)))
    state_file = tmp_path / "priv" / "priv_validator_state.json"
    return GuardSite(Home(tmp_path), "c-1", "node-0", bytes(32), key.type_name, key.pub_key, state_file, ("node-0",))


def test_a_symbolic_link_in_its_place_is_refused_and_the_fuse_stays_whole(site: GuardSite) -> None:
    born = open_guard(site, PosixDisk(), never_signed=True)
    assert isinstance(born, OpenedGuard)
    born.guard.close()
    elsewhere = site.path.with_name("elsewhere")
    site.path.rename(elsewhere)
    site.path.symlink_to(elsewhere)
    with pytest.raises(GuardUnopenedError, match=str(site.path)):
        open_guard(site, PosixDisk())
    assert not site.home.fuse_file("c-1").exists()

    site.path.unlink()
    elsewhere.rename(site.path)
    again = open_guard(site, PosixDisk())
    assert isinstance(again, OpenedGuard)
    assert again.guard.blown == ""
    again.guard.close()
