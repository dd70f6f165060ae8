"""A chain may call itself anything: no name collides with what else lies in a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmkms.guard.birth import OpenedGuard, open_guard
from cmkms.guard.disk import PosixDisk
from cmkms.guard.lock import HomeLock
from cmkms.guard.site import GuardSite
from cmkms.home import Home
from cmkms.keys.ed25519 import Ed25519Key

KEY = Ed25519Key(bytes(range(32)))


@pytest.mark.parametrize("chain_id", ["lock", "@lock", ".", "..", "a/b", "guard", "x" * 50, "\u2603"])
def test_a_guard_of_any_name_is_born_beside_the_lock(tmp_path: Path, chain_id: str) -> None:
    for name in ("data", "priv"):
        (tmp_path / name).mkdir(mode=0o700)
    home = Home(tmp_path)
    lock = HomeLock(home, "a test")
    state_file = tmp_path / "priv" / "state.json"
    site = GuardSite(home, chain_id, "node-0", bytes(32), KEY.type_name, KEY.pub_key, state_file, ("node-0",))
    for never_signed in (True, False):
        opened = open_guard(site, PosixDisk(), never_signed=never_signed)
        assert isinstance(opened, OpenedGuard)
        assert opened.guard.blown == ""
        opened.guard.close()
    lock.close()
