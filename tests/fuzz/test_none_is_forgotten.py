"""Every function of the package that turns bytes or files into values stands on the list of decoders.

Looked for in the source: functions that are named like a decoder and take bytes, and functions that call what parses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import cmkms
from tests.fuzz.decoders import DECODERS, NO_DECODERS

PACKAGE: Final = Path(cmkms.__file__).parent
NOT_THE_PRODUCT: Final = ("cmkms.harness", "cmkms.privval.pb")
"""The judge of the tests, and generated code behind privval/messages.py and secret_connection.py."""

BYTES: Final = {"bytes", "bytearray", "memoryview", "ReadableBuffer", "Buffer"}
NAMED_LIKE_ONE: Final = (
    "decode", "parse", "read", "load", "survey", "unpack", "open", "receive", "feed", "versions_of", "issuer_of",
    "from_", "take", "merge", "agree", "describe", "copies", "shake_hands", "received",
)  # fmt: skip
PARSERS: Final = {
    "loads", "FromString", "ParseFromString", "unpack", "unpack_from", "iter_unpack", "read_bounded", "read_secret",
    "load_der_x509_certificate", "load_pem_x509_certificate", "model_validate_json", "from_bytes", "b64decode",
    "fromhex", "literal_eval",
}  # fmt: skip
"""Calls that make sense of bytes. Whoever calls one is a decoder, or belongs to one of the same module."""
PURE_VALUES: Final = {"fromhex", "b64decode"}
"""These take the text of a value that somebody else has cut out: they count where the function takes bytes or text."""


def functions(module: str, source: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{module}:{node.name}", node


def takes_bytes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return any(BYTES & set(ast.unparse(one.annotation).split(" | ")) for one in arguments if one.annotation is not None)


def is_reader_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether this makes an object that walks through bytes."""
    return function.name == "__init__" and any(one.arg in {"data", "content", "buffer"} for one in function.args.args)


def parses(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    names = (one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in called)
    return PARSERS & set(names)


def is_decoder(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    name = function.name.lstrip("_")
    if takes_bytes(function) and (name.startswith(NAMED_LIKE_ONE) or is_reader_of(function)):
        return True
    return bool(parses(function) - PURE_VALUES)


def decoders_of(package: Path, name: str) -> Iterator[str]:
    """What in a package looks like a decoder, as module:function."""
    for path in sorted(package.rglob("*.py")):
        module = ".".join((name, *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        if module.startswith(NOT_THE_PRODUCT):
            continue
        yield from (where for where, function in functions(module, path.read_text()) if is_decoder(function))


def forgotten(found: Iterator[str]) -> list[str]:
    """Those that neither stand on the list nor belong to a module of which one does, and which are no exemption.

    A module's private parts are reached through its public ones; a public function has to be named by itself.
    """
    listed = {where for decoder in DECODERS for where in decoder.covers}
    modules = {where.partition(":")[0] for where in listed}
    missing: list[str] = []
    for where in found:
        module, _, function = where.partition(":")
        private = function.startswith("_") or module in {"cmkms.peers.wire", "cmkms.cluster.octets"}
        if where not in listed and module not in NO_DECODERS and not (private and module in modules):
            missing.append(where)
    return sorted(set(missing))


def test_every_decoder_of_the_package_is_on_the_list() -> None:
    assert forgotten(decoders_of(PACKAGE, "cmkms")) == []


def test_what_the_list_names_is_there() -> None:
    there: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("cmkms", *path.relative_to(PACKAGE).with_suffix("").parts))
        there.update(where for where, _ in functions(module, path.read_text()))
    assert {where for decoder in DECODERS for where in decoder.covers} - there == set()
    assert {
        module for module in NO_DECODERS if not (PACKAGE.parent / f"{module.replace('.', '/')}.py").exists()
    } == set()


def test_every_decoder_has_a_name_of_its_own_and_samples_that_it_reads() -> None:
    assert len({decoder.name for decoder in DECODERS}) == len(DECODERS)
    for decoder in DECODERS:
        assert any(_is_read(decoder.entry, data, decoder.permitted) for data in decoder.corpus()), decoder.name


def _is_read(entry: object, data: bytes, permitted: tuple[type[Exception], ...]) -> bool:
    assert callable(entry)
    try:
        entry(data)
    except permitted:
        return False
    return True


@pytest.mark.parametrize(
    "source",
    [
        "def decode_handshake(data: bytes) -> str: return ''",
        "class New:\n    def receive(self, data: bytearray | None) -> None: ...",
        "import json\ndef settings(path):\n    return json.loads(path.read_text())",
        "from cmkms.home import read_bounded\ndef anything(path):\n    return read_bounded(path, 10)",
        "import struct\nasync def anything(sock):\n    return struct.unpack('>I', await sock.read(4))",
        "class New:\n    def __init__(self, data: bytes) -> None: ...",
    ],
)
def test_a_new_decoder_that_is_not_on_the_list_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "new.py").write_text(source)
    assert len(forgotten(decoders_of(tmp_path, "cmkms"))) == 1
