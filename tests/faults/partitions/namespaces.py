"""Network namespaces for one campaign: how a program puts itself into new ones, and makes one more for each host.

All of them, with their processes, devices and mounts, live in namespaces without a name that end with the program: the
kernel removes everything, however the program ends. It never touches the network of the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DEVICE", "Host", "again_inside", "is_inside", "outside_pid", "own_host", "why_not"]

_TUN: Final = Path("/dev/net/tun")
DEVICE: Final = "wire0"
_NETWORK_BITS: Final = 24
_PROBE_SECONDS: Final = 10.0

_INSIDE: Final = "TEST_NAMESPACES_INSIDE"
"""Holds the process id of the program outside."""

_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
"""Bare IP packets, without a header that names their protocol."""

_libc: Final = ctypes.CDLL(None, use_errno=True)

_UNSHARE: Final = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
"""A process namespace, too: when its first process ends, the kernel kills all others in it."""
_AS_NOBODY: Final = ("--user", "--map-root-user")
"""With a user namespace around them, the other ones need no root."""

_PROBE: Final = f"""
import fcntl, os, struct
wire = os.open({str(_TUN)!r}, os.O_RDWR)
fcntl.ioctl(wire, {_TUNSETIFF}, struct.pack("16sH22x", b"{DEVICE}", {_IFF_TUN | _IFF_NO_PI}))
"""


def again_inside(module: str, arguments: Sequence[str]) -> int:
    """Run `python -m MODULE ARGUMENTS` in new namespaces; returns its exit code, 2 where this machine has none."""
    for flags in (_AS_NOBODY, ()):
        command = [*_UNSHARE, *flags, sys.executable]
        if _probe(command) is None:
            whole = [*command, "-m", module, *arguments]
            with subprocess.Popen(
                whole, stdin=subprocess.PIPE, env={**os.environ, _INSIDE: str(os.getpid())}
            ) as inside:
                return inside.wait()
    print(why_not(sys.executable), file=sys.stderr)  # noqa: T201 - a command speaks
    return 2


def is_inside() -> bool:
    """Whether this program was run by `again_inside`. If so it ends from now on when the one outside does, however."""
    if not os.environ.get(_INSIDE):
        return False
    threading.Thread(target=_end_with_the_outside, daemon=True).start()
    return True


def outside_pid() -> int:
    """The process id, outside, of the program that made these namespaces; our own where there are none."""
    return int(os.environ.get(_INSIDE, "0")) or os.getpid()


def _end_with_the_outside() -> None:
    while os.read(0, 1):
        pass
    os._exit(3)


def why_not(python: str) -> str:
    """What this machine lacks for a network of our own; empty if nothing."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            return f"needs the program `{program}` (util-linux, iproute2)"
    if not _TUN.exists():
        return f"needs {_TUN} (kernel option TUN): the wires between the namespaces end there"
    failures = [_probe([*_UNSHARE, *flags, python]) for flags in (_AS_NOBODY, ())]
    if None in failures:
        return ""
    return (
        f"needs user namespaces with {_TUN} open to this user ({failures[0]}), "
        f"or CAP_SYS_ADMIN and CAP_NET_ADMIN ({failures[1]})"
    )


def _probe(command: Sequence[str]) -> str | None:
    """Why a program run by `command` could make no wire; None if it could."""
    done = subprocess.run([*command, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace with addresses of its own. What its kernel sends comes out at `wire`, and goes in there.

    `namespace` is a descriptor of it; `wire` gives and takes one IP packet a call, without blocking.
    """

    name: str
    addresses: tuple[str, ...]
    namespace: int
    wire: int

    @classmethod
    def make(cls, name: str, *addresses: str) -> Host:
        """Make a namespace whose only interfaces are the loopback and the wire. Raises OSError, CalledProcessError."""
        with _back_again():
            _checked(_libc.unshare(_CLONE_NEWNET))
            return own_host(name, *addresses)

    @contextlib.contextmanager
    def inside(self) -> Generator[None]:
        """For this thread, and for processes that it starts, this host's network is the network. Never await here."""
        with _back_again():
            _checked(_libc.setns(self.namespace, _CLONE_NEWNET))
            yield

    def close(self) -> None:
        """End its wire, and with it its interface. Its namespace goes when nobody is in it any more."""
        os.close(self.wire)
        os.close(self.namespace)

    def plug(self, *, up: bool) -> None:
        """Pull the plug of the host's interface, or put it in again: the host itself notices, unlike with a cut."""
        with self.inside():
            _ip("link", "set", DEVICE, "up" if up else "down")


def own_host(name: str, *addresses: str) -> Host:
    """Make the namespace that this thread is in a host. Raises OSError, CalledProcessError."""
    wire = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(wire, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    _ip("link", "set", "lo", "up")
    for address in addresses:
        _ip("address", "add", f"{address}/{_NETWORK_BITS}", "dev", DEVICE)
    _ip("link", "set", DEVICE, "up")
    return Host(name, addresses, _current(), wire)


@contextlib.contextmanager
def _back_again() -> Generator[None]:
    before = _current()
    try:
        yield
    finally:
        try:
            _checked(_libc.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)


def _current() -> int:
    """A descriptor of the network namespace of this thread: a thread is in one, not a process."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
