"""The generated code is what proto/ gives, and runs on the protobuf that the lock installs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_generated_code_is_what_the_proto_files_give() -> None:
    result = subprocess.run(
        [sys.executable, "proto/regenerate.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_lock_installs_a_protobuf_that_the_generated_code_accepts() -> None:
    generated = (REPOSITORY / "cmkms/privval/pb/privval_pb2.py").read_text()
    lock = (REPOSITORY / "requirements/runtime.txt").read_text()
    made_by = re.search(r"Protobuf Python Version: ([\d.]+)", generated)
    locked = re.search(r"^protobuf==([\d.]+)", lock, re.MULTILINE)

    assert made_by is not None
    assert locked is not None
    assert version(locked[1]) >= version(made_by[1])
