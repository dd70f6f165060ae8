"""Around a replica: how its process is hardened, and what it refuses before there is anything to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmkms.config import HostPort, LogFormat, LogLevel, NodeConfig, Peer
from cmkms.home import Home

HARDENED = """
import ctypes, os, resource, sys
from cmkms.hardening import harden_process
os.umask(0)
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
harden_process()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), oct(os.umask(0)))
"""
"""prctl 3 is PR_GET_DUMPABLE."""

RUN = """
import sys
from cmkms.errors import OperatorError
from cmkms.node import run
from tests.unit.test_node import config
from pathlib import Path
try:
    print(run(config(Path(sys.argv[1])), frozenset(sys.argv[2:])))
except OperatorError as error:
    print("refused:", error)
"""


def config(folder: Path) -> NodeConfig:
    """A configuration without a single chain."""
    return NodeConfig(
        home=Home(folder),
        id="node-0",
        raft_addr=HostPort("127.0.0.1", 9430),
        http_addr=HostPort("127.0.0.1", 0),
        default_ttl_seconds=0.4,
        peers=(Peer("node-0", HostPort("127.0.0.1", 9430)),),
        chains=(),
        log_level=LogLevel.DEBUG,
        log_format=LogFormat.JSON,
        allow_unsafe=True,
    )


def python(code: str, *arguments: str) -> str:
    """Run code in a process of its own: what is hardened stays so."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    return done.stdout


def test_a_hardened_process_leaves_no_core_is_not_dumpable_and_keeps_files_private() -> None:
    assert python(HARDENED).split() == ["(0,", "0)", "0", "0o77"]


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [(["other-1"], "--never-signed other-1"), ([], "no chain is configured")],
)
def test_a_run_without_anything_to_sign_for_is_refused(tmp_path: Path, arguments: list[str], refusal: str) -> None:
    folder = tmp_path / "home"
    for directory in (folder, folder / "priv", folder / "data"):
        directory.mkdir(mode=0o700)
    assert python(RUN, str(folder), *arguments).startswith("refused:")
    assert refusal in python(RUN, str(folder), *arguments)


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    for directory in (folder, folder / "priv", folder / "data"):
        directory.mkdir(mode=0o700)
    (folder / "data").chmod(0o777)
    assert f"chmod go-w {folder / 'data'}" in python(RUN, str(folder))
