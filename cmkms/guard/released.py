"""The last released signature of a chain: what a byte-identical repeat is answered from, even at a seal.

Nothing new is signed for it, so safety does not rest on it: the file may be old or missing. It is written a moment
after the reply, off the signing path, and a full disk only warns. Where it is there, it is a proof: no guard of this
key and of its generation may stand below it. CometBFT's form, and the number of the guards' generation.
"""

from __future__ import annotations

from cmkms.errors import CmkmsError
from cmkms.guard.disk import Disk
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, SignState, parse_state, render_state
from cmkms.home import read_bounded

__all__ = ["is_forgotten", "load_released", "store_released"]


def load_released(site: GuardSite) -> SignState | None:
    """Read what was released last; None if there is nothing of use, for whatever reason."""
    path = site.home.released_file(site.chain_id)
    try:
        state = parse_state(read_bounded(path, MAX_STATE_FILE_BYTES), str(path), site.chain_id, site.verify, ours=True)
    except (FileNotFoundError, CmkmsError):
        return None
    return state if state.signature is not None else None


def store_released(site: GuardSite, disk: Disk, state: SignState) -> None:
    """Write what was released last. Raises DiskError, which is worth a warning and no more."""
    disk.create(site.home.released_file(site.chain_id), render_state(state, ours=True))


def is_forgotten(released: SignState, generation: int) -> bool:
    """Tell whether it says nothing against a guard of that generation: an earlier one's guards had accepted it.

    The later is sealed above it, or begins below, by the word of its operator.
    """
    return 0 < released.generation < generation
