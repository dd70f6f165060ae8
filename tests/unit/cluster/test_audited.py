"""The installed pysyncobj is the one whose source was read. When this fails, read the difference and docs/adr/0009."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from cmkms.cluster.audited import AUDITED_SHA256, AUDITED_VERSION, check_audited, source_digest
from cmkms.errors import OperatorError


def installed() -> Path:
    spec = find_spec("pysyncobj")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_the_installed_source_is_the_audited_one() -> None:
    assert version("pysyncobj") == AUDITED_VERSION
    assert source_digest(installed()) == AUDITED_SHA256
    check_audited()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "pysyncobj"
    shutil.copytree(installed(), package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in [name for name in sys.modules if name == "pysyncobj" or name.startswith("pysyncobj.")]:
        monkeypatch.delitem(sys.modules, name)
    return package


def test_a_copy_of_it_will_do(copy: Path) -> None:
    assert source_digest(copy) == AUDITED_SHA256
    check_audited()


def test_one_changed_byte_is_refused_by_name(copy: Path) -> None:
    path = copy / "journal.py"
    path.write_bytes(path.read_bytes().replace(b"1024", b"1025", 1))
    with pytest.raises(OperatorError, match=r"pysyncobj: this pysyncobj is not .* install exactly pysyncobj==0\.3\.17"):
        check_audited()


def test_an_added_module_is_refused(copy: Path) -> None:
    (copy / "more.py").write_bytes(b"")
    with pytest.raises(OperatorError, match="install exactly"):
        check_audited()


def test_a_renamed_module_is_refused(copy: Path) -> None:
    (copy / "monotonic.py").rename(copy / "monotonous.py")
    with pytest.raises(OperatorError, match="install exactly"):
        check_audited()


def test_none_at_all_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(OperatorError, match="pysyncobj is not installed; install exactly"):
        check_audited()


def test_where_there_is_none_the_command_line_says_so(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    given = ["--chain-id", "c", "--validator-addr", "unix:///s", "--peer", "node-0=127.0.0.1:9430", "--id", "node-0"]
    hidden = "import sys; sys.modules['pysyncobj'] = None; from cmkms.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", hidden, "start", "--home", home, *given],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert ran.stderr.startswith("cmkms: pysyncobj is not installed; install exactly pysyncobj==0.3.17")
