"""Every link of the documents that stays in this repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import anchors, documents, links, repository

ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def broken(document: Path) -> list[str]:
    """Return the links of a document that lead nowhere."""
    return [
        link for link in links(document.read_text()) if not (ELSEWHERE.match(link) or leads_somewhere(document, link))
    ]


def leads_somewhere(document: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target.read_text())


@pytest.mark.parametrize("document", documents(), ids=lambda document: str(document.relative_to(repository())))
def test_no_link_is_broken(document: Path) -> None:
    assert broken(document) == []


def test_a_link_to_a_missing_file_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("[x](missing.md) [y](a.md) [z](https://example.org/missing)")
    assert broken(document) == ["missing.md"]


def test_a_link_to_a_missing_heading_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# Here\n[x](#there) [y](#here) [z](a.md#nowhere)")
    assert broken(document) == ["#there", "a.md#nowhere"]
