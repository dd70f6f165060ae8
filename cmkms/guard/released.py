"""The last released signature of a chain: what a byte-identical repeat is answered from, even at a seal.

Nothing new is signed for it, so safety does not rest on it: the file may be old or missing. It is written a moment
after the reply, off the signing path, and a full disk only warns. Where it is there, it is a proof: no guard of this
key and of its generation may stand below it. CometBFT's form, and the number of the guards' generation.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from cmkms.errors import CmkmsError
from cmkms.guard.disk import Disk
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, SignState, parse_state, state_fields
from cmkms.home import read_bounded

__all__ = ["is_forgotten", "load_released", "store_released"]

_GENERATION: Final = "generation"


def load_released(site: GuardSite) -> SignState | None:
    """Read what was released last; None if there is nothing of use, for whatever reason."""
    path = site.home.released_file(site.chain_id)
    try:
        fields: dict[str, Any] = json.loads(read_bounded(path, MAX_STATE_FILE_BYTES))
        generation = int(fields.pop(_GENERATION, 0))
        state = parse_state(json.dumps(fields).encode(), str(path), site.chain_id, site.verify)
    except (FileNotFoundError, CmkmsError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return replace(state, generation=generation) if state.signature is not None else None


def store_released(site: GuardSite, disk: Disk, state: SignState) -> None:
    """Write what was released last. Raises DiskError, which is worth a warning and no more."""
    fields = state_fields(state) | {_GENERATION: state.generation}
    disk.create(site.home.released_file(site.chain_id), (json.dumps(fields, indent=2) + "\n").encode())


def is_forgotten(released: SignState, generation: int) -> bool:
    """Tell whether it says nothing against a guard of that generation: an earlier one's guards had accepted it.

    The later is sealed above it, or begins below, by the word of its operator.
    """
    return 0 < released.generation < generation
