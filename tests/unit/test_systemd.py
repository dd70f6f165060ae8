"""What systemd is told, over a real datagram socket, and nothing at all where there is no systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cmkms.systemd import notify


def test_without_a_notify_socket_nothing_is_told() -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": ""})


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative/path"])
def test_an_address_of_another_kind_is_left_alone(address: str) -> None:
    assert not notify("READY=1", {"NOTIFY_SOCKET": address})


def test_a_state_reaches_a_socket_in_the_file_system(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"


def test_a_state_reaches_an_abstract_socket(tmp_path: Path) -> None:
    name = f"cmkms-test-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        assert notify("STOPPING=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert manager.recv(100) == b"STOPPING=1"


def test_a_manager_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
