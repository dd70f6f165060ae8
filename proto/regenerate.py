"""Makes cmkms/privval/pb/ out of the .proto files beside this script; with --check it only compares.

Needs grpcio-tools in the version of the lock: another protoc writes another version into what it makes.
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO_DIR = Path(__file__).resolve().parent
REPOSITORY = PROTO_DIR.parent
PACKAGE = Path("cmkms/privval/pb")


def generate(target: Path) -> None:
    """Run protoc on every .proto file; the results lie in `target` as they lie in the repository."""
    sources = [str(path.relative_to(PROTO_DIR)) for path in sorted((PROTO_DIR / PACKAGE).glob("*.proto"))]
    outputs = [f"-I{PROTO_DIR}", f"--python_out={target}", f"--pyi_out={target}"]
    if subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *outputs, *sources], check=False).returncode:
        sys.exit("protoc failed; its words stand above")
    for stub in (target / PACKAGE).glob("*_pb2.pyi"):
        # protoc leaves out the type arguments, which a strict type checker asks for.
        stub.write_text(stub.read_text().replace("_Mapping]", "_Mapping[str, object]]"))


def read_generated(root: Path) -> dict[str, str]:
    """Return the generated files below `root` by name."""
    return {path.name: path.read_text() for path in sorted((root / PACKAGE).glob("*_pb2.py*"))}


def check() -> int:
    """Print how the checked-in files differ from what the .proto files give; 1 if they do, else 0."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        wanted = read_generated(Path(scratch))
    present = read_generated(REPOSITORY)
    for name in sorted(wanted.keys() | present.keys()):
        before, after = present.get(name, "").splitlines(), wanted.get(name, "").splitlines()
        for line in difflib.unified_diff(before, after, f"{PACKAGE}/{name} as checked in", "as generated", lineterm=""):
            print(line)
    if wanted == present:
        return 0
    print(f"{PACKAGE} is not what proto/ gives: run `python proto/regenerate.py` and commit the result.")
    return 1


def main() -> int:
    """Entry point of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if anything would change")
    if parser.parse_args().check:
        return check()
    generate(REPOSITORY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
