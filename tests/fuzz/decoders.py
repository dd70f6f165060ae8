"""The list of every way in: what turns bytes from a socket, a file, a command line or the environment into values.

A new decoder belongs here, with its samples and the errors that it may raise; `test_none_is_forgotten.py` fails until
it does. How inputs are made stands in `mutation.py`, what is asked of each decoder in `trial.py` and its entry.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from cmkms.errors import ConfigError, OperatorError, PeerError, SecretFileError, UnavailableError
from cmkms.guard.born import MarkerError
from cmkms.guard.record import RecordDamagedError
from cmkms.guard.state_file import StateFileError
from cmkms.peers.wire import PeerProtocolError
from cmkms.privval import CipherError, FramingError, HandshakeError, SignBytesError, UndecodableRequestError
from tests.fuzz import entries_change as change
from tests.fuzz import entries_files as files
from tests.fuzz import entries_link as link
from tests.fuzz import entries_privval as privval
from tests.fuzz import entries_text as text
from tests.fuzz.trial import Decoder

__all__ = ["DECODERS", "NO_DECODERS"]

_JSON: Final = tuple(
    token.encode()
    for token in (
        "null", "true", "-1", "1e999", "NaN", "Infinity", "9" * 400, "[", "]", "{", "}", '"', ",", ":", "[]", "{}",
        '"\\ud800"', "\\u0000", '"height"', '""', "[" * 2000,
    )
)  # fmt: skip
_TOML: Final = (
    b"[[chain]]\n", b"=", b'"', b'"""', b"'''", b"[", b"]", b"{", b"}", b"\n", b"#", b"true", b"1e999", b"inf", b"nan",
    b"0x", b"9" * 300, b"1979-05-27T07:32:00Z", b"a.a.a.", b"\xff", b"\xc3\xa9", b"\\ud800", b"[" * 2000,
)  # fmt: skip
_WORDS: Final = (
    b"\0", b"=", b",", b"#", b"://", b"@", b"[::1]", b"%", b"unix:///", b"tcp://", b"noise://", b"~", b"..", b"-", b"h",
    b"1e9", b"\xff", b"\xed\xa0\x80", b"\xc3\xa9", b"\xd9\xa1", b"9" * 300, b"CMKMS_", b"COMETKMS_", b"\n", b"\x1b[2J",
)  # fmt: skip
_HTTP: Final = (
    b"\r\n", b"\n", b"0\r\n", b"content-length: -1\r\n", b"transfer-encoding: chunked\r\n", b"HTTP/1.1 ", b": ",
    b"host: localhost\n", b"GET", b"HEAD", b"/status", b"/metrics", b"%", b"?", b"\xff", b"host: [::1",
)  # fmt: skip

_SESSION: Final = (UndecodableRequestError, FramingError, CipherError, HandshakeError)
_LINK: Final = (PeerProtocolError,)

DECODERS: Final = (
    # ------------------------------------------------------------------------------------------- a validator's node
    Decoder(
        "privval-frames",
        ("cmkms.privval.framing:feed",),
        privval.frames, privval.stream_corpus, (FramingError,), share=0.5,
    ),
    Decoder(
        "privval-session",
        ("cmkms.privval.session:receive", "cmkms.privval.session:_receive", "cmkms.privval.session:_decode"),
        privval.plain_session, privval.stream_corpus, _SESSION, share=0.5,
    ),
    Decoder(
        "privval-request",
        (
            "cmkms.privval.messages:decode_request",
            "cmkms.privval.messages:_open_envelope",
            "cmkms.privval.wire:__init__",
        ),
        privval.request, privval.requests_corpus, (UndecodableRequestError,), share=2,
    ),
    Decoder(
        "secret-connection-opening",
        (
            "cmkms.privval.secret_connection:receive",
            "cmkms.privval.secret_connection:_open_frames",
            "cmkms.privval.session:_shake_hands",
        ),
        privval.secret_opening, privval.secret_opening_corpus, _SESSION, share=0.3,
    ),
    Decoder(
        "secret-connection-proof",
        ("cmkms.privval.secret_connection:_verify", "cmkms.privval.secret_connection:_agree"),
        privval.proof, privval.proof_corpus, _SESSION, share=0.1,
    ),
    Decoder(
        "secret-connection-record",
        ("cmkms.privval.secret_connection:open",),
        privval.record, privval.record_corpus, (CipherError,),
    ),
    Decoder(
        "secret-connection-stream",
        ("cmkms.privval.secret_connection:_open_frames",),
        privval.secret_stream, privval.stream_corpus, _SESSION, share=0.05,
    ),
    Decoder(
        "sign-bytes",
        (
            "cmkms.privval.signbytes:parse_sign_bytes",
            "cmkms.privval.signbytes:_parse_leniently",
            "cmkms.privval.signbytes:_read_block_id",
            "cmkms.privval.signbytes:_read_hash",
            "cmkms.privval.signbytes:_read_timestamp",
            "cmkms.privval.signbytes:fixed",
            "cmkms.privval.signbytes:__init__",
        ),
        privval.sign_bytes, privval.sign_bytes_corpus, (SignBytesError,), share=2,
    ),
    Decoder(
        "sign-bytes-header",
        ("cmkms.privval.header:read_header",),
        privval.header, privval.sign_bytes_corpus, (SignBytesError,), share=2,
    ),
    # ------------------------------------------------------------------------------------------- the other replicas
    Decoder(
        "peer-frames",
        ("cmkms.peers.frames:feed", "cmkms.peers.frames:next_frame"),
        link.frames, link.frames_corpus, _LINK, share=0.3,
    ),
    Decoder(
        "peer-message",
        (
            "cmkms.peers.codec:decode",
            "cmkms.peers.codec:versions_of",
            "cmkms.peers.rpc_codec:decode_accept",
            "cmkms.peers.rpc_codec:decode_answered",
            "cmkms.peers.rpc_codec:decode_peek",
            "cmkms.peers.rpc_codec:decode_peeked",
            "cmkms.peers.rpc_codec:_decode_verdict",
            "cmkms.peers.claims_codec:read_claims",
            "cmkms.peers.change_codec:read_change",
            "cmkms.peers.wire:__init__",
            "cmkms.peers.wire:decode_utf8",
            "cmkms.peers.session:_take",
            "cmkms.peers.session:_take_hello",
        ),
        link.message, link.messages_corpus, _LINK, share=2,
    ),
    Decoder(
        "peer-certificate",
        ("cmkms.keys.certificate:issuer_of",),
        link.certificate, link.certificate_corpus, (PeerError,),
    ),
    Decoder(
        "raft-message",
        ("cmkms.cluster.codec:decode", "cmkms.cluster.octets:__init__", "cmkms.cluster.coordination:received"),
        link.raft, link.raft_corpus, (PeerError,), share=2,
    ),
    Decoder(
        "view",
        ("cmkms.cluster.view:decode", "cmkms.cluster.view:merge"),
        link.view, link.view_corpus, (PeerError,),
    ),
    # --------------------------------------------------------------------------------------------------------- files
    Decoder(
        "guard-record",
        ("cmkms.guard.record:decode_record", "cmkms.guard.record:_unpack"),
        files.record, files.record_corpus, (RecordDamagedError,), share=2,
    ),
    Decoder(
        "guard-file",
        (
            "cmkms.guard.file:survey",
            "cmkms.guard.file:_copies",
            "cmkms.guard.birth:readable_record",
            "cmkms.guard.inspection:inspect_guard",
        ),
        files.guard_file, files.guard_file_corpus, (), share=0.3,
    ),
    Decoder(
        "born-marker",
        ("cmkms.guard.born:read_marker",),
        files.born_marker, files.born_marker_corpus, (MarkerError,), _JSON, text=True, share=0.5,
    ),
    Decoder(
        "founders",
        ("cmkms.guard.born:read_founders",),
        files.founders, files.born_marker_corpus, (), _JSON, text=True, share=0.5,
    ),
    Decoder(
        "fuse",
        ("cmkms.guard.fuse:read_fuse",),
        files.fuse, files.fuse_corpus, (), _JSON, text=True, share=0.5,
    ),
    Decoder(
        "last-released",
        ("cmkms.guard.released:load_released",),
        files.last_released, files.last_released_corpus, (), _JSON, text=True, share=0.5,
    ),
    Decoder(
        "state-file",
        (
            "cmkms.guard.state_file:parse_state",
            "cmkms.guard.state_file:_load",
            "cmkms.guard.floor:home_state",
            "cmkms.guard.floor:read_state",
            "cmkms.cli.homeset:read_state",
        ),
        files.state_file, files.state_file_corpus, (StateFileError,), _JSON, text=True,
    ),
    Decoder(
        "term-file",
        ("cmkms.cluster.terms:_decode", "cmkms.cluster.terms:load"),
        files.term_file, files.term_file_corpus, (ValueError,),
    ),
    Decoder(
        "key-file",
        (
            "cmkms.keys.file:load_key_file",
            "cmkms.keys.amino_json:parse_key_document",
            "cmkms.keys.amino_json:_describe_bare",
            "cmkms.keys.amino_json:_decode_base64",
        ),
        files.key_file, files.key_file_corpus, (SecretFileError,), _JSON, text=True, share=0.5,
    ),
    Decoder(
        "identity",
        ("cmkms.keys.identity:load_identity", "cmkms.keys.identity:from_seed"),
        files.identity, files.identity_corpus, (SecretFileError,), _JSON, text=True, share=0.5,
    ),
    # ---------------------------------------------------------------------------------------- a change of generation
    Decoder(
        "change-file",
        (
            "cmkms.guard.change_file:parse_change",
            "cmkms.guard.change_file:read_change",
            "cmkms.guard.change_file:last_change",
        ),
        change.change_file, change.change_file_corpus, (), _JSON, text=True, share=0.5,
    ),
    Decoder(
        "control-line",
        ("cmkms.control.lines:parse_line",),
        change.line, change.line_corpus, (), _JSON, text=True,
    ),
    Decoder(
        "control-request",
        ("cmkms.control.server:_exchange",),
        change.control_request, change.control_request_corpus, (), _JSON, text=True, share=0.2,
        memory=8 * 1024 * 1024,
    ),
    Decoder(
        "control-answer",
        ("cmkms.control.client:control",),
        change.control_answer, change.control_answer_corpus, (UnavailableError, OperatorError), _JSON, text=True,
        share=0.1, memory=8 * 1024 * 1024,
    ),
    # --------------------------------------------------------------------- configuration, command lines, status, HTTP
    Decoder(
        "config-file",
        ("cmkms.config.file:read_config_file",),
        text.configuration, text.configuration_corpus, (ConfigError,), _TOML, text=True, share=0.3,
    ),
    Decoder(
        "environment",
        ("cmkms.config.load:resolve_config",),
        text.environment, text.environment_corpus, (ConfigError,), _WORDS, text=True, share=0.4,
    ),
    Decoder(
        "flags",
        ("cmkms.config.load:resolve_config",),
        text.flags, text.flags_corpus, (ConfigError,), _WORDS, text=True, share=0.4,
    ),
    Decoder(
        "config-values",
        ("cmkms.config.syntax:parse_peer",),
        text.values, text.values_corpus, (ValueError,), _WORDS, text=True, share=2,
    ),
    Decoder(
        "node-flags",
        ("cmkms.cli.homeset:parse_nodes",),
        text.nodes, text.nodes_corpus, (ConfigError,), _WORDS, text=True, share=0.5,
    ),
    Decoder(
        "status-page",
        ("cmkms.cli.status_page:print_status",),
        text.status_page, text.status_page_corpus, (ValidationError,), _JSON, text=True, share=0.3,
        memory=8 * 1024 * 1024,
    ),
    Decoder(
        "status-answer",
        ("cmkms.cli.asking:ask",),
        text.answer, text.answer_corpus, (UnavailableError,), _HTTP, text=True, share=0.1,
        # It reads into one buffer of the longest status there is.
        memory=16 * 1024 * 1024,
    ),
    Decoder(
        "http-request",
        ("cmkms.http.app:create_app",),
        text.http, text.http_corpus, (), _HTTP, text=True, share=0.1,
        memory=8 * 1024 * 1024,
    ),
)  # fmt: skip
"""Every decoder, with its entry, its samples and its permitted errors."""

NO_DECODERS: Final = {
    "cmkms.cluster.audited": "compares the source of an installed package with a digest",
    "cmkms.control.client": "hands lines to control/lines.py",
    "cmkms.control.server": "hands lines to control/lines.py",
    "cmkms.guard.disk": "moves bytes to and from the guard's file, and looks a process number up in /proc/locks",
    "cmkms.home": "reads files with a bound, and understands none of them",
    "cmkms.keys.ed25519": "takes a seed whose length the caller has checked",
    "cmkms.peers.tls": "hands certificates to OpenSSL and to keys/certificate.py",
    "cmkms.privval.merlin": "a hash: takes any bytes",
    "cmkms.validators.conversation": "hands bytes to privval/session.py",
}
"""Modules that look as if they decoded something, and what they do instead."""
