"""Every error that cmkms raises on purpose, in families by who must act on it.

A message names the file, key or peer, what was wrong, and what to do next. No message ever holds key material.
"""

from __future__ import annotations

__all__ = [
    "BrokenInvariantError",
    "CmkmsError",
    "ConfigError",
    "DiskError",
    "OperatorError",
    "PeerError",
    "SecretFileError",
    "UnavailableError",
]


class CmkmsError(Exception):
    """Root of all errors that cmkms raises on purpose."""


class OperatorError(CmkmsError):
    """The operator must act: a file, flag or command is missing or wrong. The CLI prints it and exits with 2."""


class ConfigError(OperatorError):
    """A configuration value cannot be used: says where it came from, which key, and what was expected."""


class SecretFileError(OperatorError):
    """A file that holds a secret cannot be trusted: mode, owner, kind or content."""


class UnavailableError(CmkmsError):
    """Something is taken or out of reach for now. The CLI exits with 1, so that a supervisor tries again."""


class PeerError(CmkmsError):
    """The other side of a connection broke the protocol. Ends that connection and nothing else."""


class DiskError(CmkmsError):
    """A disk operation that the promise rests on has failed. Trips the fuse of the guard concerned."""


class BrokenInvariantError(CmkmsError):
    """A bug in cmkms: something that cannot be true is. Ends the process; a supervisor starts it again."""
