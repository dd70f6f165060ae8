"""What a harness promises about ports: one that was handed out stays free for the program it was meant for."""

from __future__ import annotations

import socket

import pytest

from cmkms.harness.signer_process import free_port


def test_a_port_handed_out_can_be_listened_at_again_and_again() -> None:
    port = free_port()
    for _ in range(3):
        with socket.create_server(("127.0.0.1", port)) as listener, socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()


def test_a_port_handed_out_is_refused_to_whoever_looks_for_a_free_one() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_a_port_handed_out_refuses_connections_until_somebody_listens() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
