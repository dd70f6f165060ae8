"""What fuzzing has found, each as a test of its own that says in a sentence what was wrong."""

from __future__ import annotations

import base64
import json

import pytest

from cmkms.errors import SecretFileError
from cmkms.guard.claims import short_reason
from cmkms.guard.fuse import read_fuse
from cmkms.keys import load_key_file
from cmkms.keys.ed25519 import Ed25519Key
from tests.fuzz.scratch import laid, site
from tests.unit.guard.world import CHAIN

_KEY = Ed25519Key(bytes(range(32)))
_SECRET = base64.b64encode(_KEY.expose_secret()).decode()


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


@pytest.mark.xfail(strict=True, reason="short_reason does not take text that is no UTF-8: open, guard/claims.py")
def test_a_fuse_that_blew_in_a_home_whose_path_is_no_utf_8_can_be_told_to_peers() -> None:
    """Python carries such a path as lone surrogates. The claim that names it cannot be made, and the replica ends."""
    marker = {"reason": "cannot write /srv/\udcff/data/guard: Input/output error", "since": 1.0}
    laid(site().home.fuse_file(CHAIN), json.dumps(marker).encode())
    blown = read_fuse(site().home.fuse_file(CHAIN))
    site().home.fuse_file(CHAIN).unlink()
    assert blown is not None
    assert "Input/output error" in short_reason(blown.reason)
