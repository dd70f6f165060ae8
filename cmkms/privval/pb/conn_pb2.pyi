from cmkms.privval.pb import types_pb2 as _types_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuthSigMessage(_message.Message):
    __slots__ = ("pub_key", "sig")
    PUB_KEY_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    pub_key: _types_pb2.PublicKey
    sig: bytes
    def __init__(self, pub_key: _Optional[_Union[_types_pb2.PublicKey, _Mapping[str, object]]] = ..., sig: _Optional[bytes] = ...) -> None: ...
