"""Which file systems a guard may live on: those that keep what fdatasync(2) returned for, and lock across processes.

Network, FUSE, overlay and memory file systems do not, each in its own way, so they are refused by name.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from cmkms.errors import OperatorError

__all__ = ["UntrustedFileSystemError", "untrusted_file_system"]

# linux/magic.h, and each file system's own header for those that are not listed there.
_UNTRUSTED: Final = {
    0x6969: ("nfs", "a network file system"),
    0xFF534D42: ("cifs", "a network file system"),
    0xFE534D42: ("smb2", "a network file system"),
    0x517B: ("smb", "a network file system"),
    0x564C: ("ncp", "a network file system"),
    0x5346414F: ("afs", "a network file system"),
    0x00C36400: ("ceph", "a network file system"),
    0x01161970: ("gfs2", "a cluster file system"),
    0x7461636F: ("ocfs2", "a cluster file system"),
    0x0BD00BD0: ("lustre", "a network file system"),
    0x47504653: ("gpfs", "a cluster file system"),
    0x19830326: ("beegfs", "a cluster file system"),
    0x73757245: ("coda", "a network file system"),
    0x786F4256: ("vboxsf", "a host's folder shared into a virtual machine"),
    0xBACBACBC: ("vmhgfs", "a host's folder shared into a virtual machine"),
    0x65735546: ("fuse", "a user-space file system"),
    0x01021997: ("9p", "a host's folder shared into a virtual machine"),
    0x01021994: ("tmpfs", "memory, gone at the next reboot"),
    0x858458F6: ("ramfs", "memory, gone at the next reboot"),
    0x958458F6: ("hugetlbfs", "memory, gone at the next reboot"),
    0x794C7630: ("overlay", "a container's layer, gone with the container"),
    0x61756673: ("aufs", "a container's layer, gone with the container"),
}
_F_TYPE_MASK: Final = 0xFFFFFFFF


class UntrustedFileSystemError(OperatorError):
    """The guard's folder lies on a file system that cannot keep its promise."""


class _StatFs(ctypes.Structure):
    # struct statfs starts with f_type as a long on every Linux architecture but s390x; the rest is not looked at.
    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_char * 512))


def untrusted_file_system(path: Path) -> str:
    """Return why the file system under `path` is not fit for a guard; empty if it is. Raises OSError."""
    buffer = _StatFs()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), ctypes.byref(buffer)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    known = _UNTRUSTED.get(buffer.f_type & _F_TYPE_MASK)
    return f"{known[0]}: {known[1]}" if known else ""
