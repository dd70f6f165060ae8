"""Inputs that have found something, kept for ever: `corpus/DECODER/NAME`, each with its sentence in `corpus/README.md`.

They are tried before anything else, in every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.fuzz.trial import Decoder

__all__ = ["FOLDER", "kept_for"]

FOLDER: Final = Path(__file__).parent / "corpus"


def kept_for(decoder: Decoder) -> list[bytes]:
    """Return what was kept of one decoder, in order of names."""
    return [path.read_bytes() for path in sorted((FOLDER / decoder.name).glob("*"))]
