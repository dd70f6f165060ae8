"""Every error of a dial has a name and a hint, whatever the operating system calls it."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from cmkms.config import Scheme, ValidatorAddress
from cmkms.validators import TroubleKind
from cmkms.validators.trouble import from_lost_connection, from_os_error

TCP = ValidatorAddress(Scheme.TCP, "node.example", 26659)
UNIX = ValidatorAddress(Scheme.UNIX, path="/run/node.sock")


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("error", "address", "kind"),
    [
        (TimeoutError(), TCP, TroubleKind.TIMEOUT),
        (os_error(errno.ETIMEDOUT), TCP, TroubleKind.TIMEOUT),
        (os_error(errno.ECONNREFUSED), TCP, TroubleKind.REFUSED),
        (os_error(errno.ECONNREFUSED), UNIX, TroubleKind.REFUSED),
        (os_error(errno.ENOENT), UNIX, TroubleKind.ABSENT),
        (os_error(errno.EACCES), UNIX, TroubleKind.PERMISSION),
        (os_error(errno.EPERM), TCP, TroubleKind.PERMISSION),
        (os_error(errno.ECONNRESET), TCP, TroubleKind.RESET),
        (os_error(errno.EHOSTUNREACH), TCP, TroubleKind.UNREACHABLE),
        (os_error(errno.ENETUNREACH), TCP, TroubleKind.UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), TCP, TroubleKind.UNRESOLVED),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), TCP, TroubleKind.UNRESOLVED),
        (os_error(errno.EMFILE), TCP, TroubleKind.UNREACHABLE),
        (OSError("Multiple exceptions: ..."), TCP, TroubleKind.UNREACHABLE),
    ],
)
def test_an_error_of_the_operating_system_has_a_name_and_a_hint(
    error: OSError, address: ValidatorAddress, kind: TroubleKind
) -> None:
    trouble = from_os_error(error, address)
    assert trouble.kind is kind
    assert trouble.detail


def test_a_unix_socket_says_which_file_needs_the_permission() -> None:
    assert "/run/node.sock" in from_os_error(os_error(errno.EACCES), UNIX).detail


def test_a_name_that_does_not_resolve_is_named() -> None:
    assert "node.example" in from_os_error(socket.gaierror(socket.EAI_NONAME, "not known"), TCP).detail


@pytest.mark.parametrize(
    ("error", "spoke", "kind"),
    [
        (None, True, TroubleKind.CLOSED),
        (None, False, TroubleKind.CLOSED_EARLY),
        (os_error(errno.ECONNRESET), False, TroubleKind.CLOSED_EARLY),
        (os_error(errno.ECONNRESET), True, TroubleKind.RESET),
        (os_error(errno.EPIPE), True, TroubleKind.RESET),
        (os_error(errno.ETIMEDOUT), False, TroubleKind.RESET),
        (RuntimeError(), True, TroubleKind.RESET),
    ],
)
def test_the_end_of_a_connection_has_a_name(error: Exception | None, kind: TroubleKind, *, spoke: bool) -> None:
    trouble = from_lost_connection(error, spoke=spoke)
    assert trouble.kind is kind
    assert trouble.detail


def test_labels_are_words_for_metrics_and_no_two_are_alike() -> None:
    labels = [kind.value for kind in TroubleKind]
    assert len(set(labels)) == len(labels)
    assert all(label.replace("_", "").isalpha() and label.islower() for label in labels)
