"""Gives up the guard of one replica of several, on its operator's word, so that a new one can join the others.

What is left of the old guard is kept beside. The new one answers nothing until a change of generation has sealed it
above all that was signed; it must never take part in a birth, and `joins.json` says so.
"""

from __future__ import annotations

from pathlib import Path

from cmkms.errors import OperatorError
from cmkms.guard.birth import SYSTEM_CLOCKS
from cmkms.guard.change_file import change_path, joins_path
from cmkms.guard.disk import Disk
from cmkms.guard.floor import GuardRefusedError
from cmkms.guard.lock import HomeLock
from cmkms.guard.replacement import refuse_if_busy
from cmkms.guard.site import GuardSite

__all__ = ["give_up_guard"]

_NOTE = b"""{
  "format": 1,
  "note": "the guard of this home was given up: a new one joins by a change of generation, and is never born"
}
"""


def give_up_guard(site: GuardSite, disk: Disk) -> tuple[Path, ...]:
    """Set guard, fuse and born marker aside; returns where they lie now. Killed half-way, it may be run again.

    Raises GuardRefusedError for a replica that signs alone, HomeLockedError, GuardBusyError, DiskError.
    """
    if site.alone:
        raise GuardRefusedError(
            f"the replica {site.member_id} signs alone for chain {site.chain_id}: there are no other guards that a new "
            f"one could join. See --above and --from-state"
        )
    lock = HomeLock(site.home, "cmkms guard replace")
    try:
        if site.path.exists():
            refuse_if_busy(site, disk)
        disk.make_dir(site.path.parent)
        disk.create(joins_path(site), _NOTE)
        stamp = f"given-up-at-{int(SYSTEM_CLOCKS.wall())}"
        born = site.home.born_marker(site.chain_id)
        old = (site.path, site.home.fuse_file(site.chain_id), change_path(site), site.founders_file, born)
        aside = [(path, path.with_name(f"{path.name}.{stamp}")) for path in old if path.exists()]
        for path, kept in aside:
            disk.rename(path, kept)
    except OSError as error:
        raise OperatorError(f"{site.path.parent}: {error.strerror or error}") from error
    finally:
        lock.close()
    return tuple(kept for _, kept in aside)
