"""Reads out of the documents what can be checked: commands, inline commands, TOML, links and anchors.

Owns the little Markdown that the documents use. It never runs anything.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Fence", "anchors", "command_lines", "documents", "fences", "inline_code", "links", "repository"]

FENCE: Final = re.compile(r"^( *)(```+|~~~+)[ \t]*(\w*)[^\n]*\n(.*?)^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[(?:[^\][]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HEADING: Final = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
HTML_ANCHOR: Final = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
SHELLS: Final = frozenset({"sh", "bash", "shell"})
BETWEEN_COMMANDS: Final = frozenset({"&&", "||", "|", ";", "&", "(", ")"})
REDIRECTIONS: Final = frozenset({">", ">>", "<", ">&", "&>"})


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block: the language it names and its text."""

    language: str
    text: str


def repository() -> Path:
    """Return the root of the repository."""
    return Path(__file__).resolve().parents[2]


def documents() -> list[Path]:
    """Return every document a reader is sent to: those at the root, in docs/, and the READMEs of folders."""
    root = repository()
    found = {*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("[!.]*/README.md")}
    return sorted(found)


def fences(text: str) -> list[Fence]:
    """Return the fenced blocks of a document, in order."""
    return [Fence(match[3], match[4]) for match in FENCE.finditer(text)]


def command_lines(fence: Fence) -> list[list[str]]:
    """Return the simple commands in a block as lists of words.

    In `console` blocks a command follows a `$ ` or `# ` prompt, all else is output; in `sh` blocks each line is one.
    """
    joined = re.sub(r"\\\n[ \t]*(?:> )?", " ", fence.text)
    lines = [line.strip() for line in joined.splitlines()]
    if fence.language == "console":
        lines = [line[2:] for line in lines if line.startswith(("$ ", "# "))]
    elif fence.language in SHELLS:
        lines = [line for line in _without_here_documents(lines) if not line.startswith("#")]
    else:
        return []
    return [command for line in lines for command in _simple_commands(line)]


def inline_code(text: str) -> list[str]:
    """Return what stands between single backticks outside of blocks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", text))


def links(text: str) -> list[str]:
    """Return the targets of all links and pictures outside of blocks and inline code."""
    return LINK.findall(re.sub(r"`[^`\n]+`", "", FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """Return the anchors a document has: its headings as GitHub names them, and explicit ones."""
    outside = FENCE.sub("", text)
    found = set(HTML_ANCHOR.findall(outside))
    for heading in HEADING.findall(outside):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        base = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (slug := f"{base}-{number}" if number else base) in found:
            number += 1
        found.add(slug)
    return found


def _without_here_documents(lines: list[str]) -> list[str]:
    kept: list[str] = []
    ends_at = ""
    for line in lines:
        if ends_at:
            ends_at = "" if line == ends_at else ends_at
            continue
        kept.append(line)
        opened = re.search(r"<<-?\s*['\"]?(\w+)", line)
        ends_at = opened[1] if opened else ""
    return kept


def _simple_commands(line: str) -> list[list[str]]:
    """Split a line at pipes and the like; drop redirections, comments, and what stands before a command."""
    lexer = shlex.shlex(re.sub(r"(^|\s)#\s.*$", "", line), posix=True, punctuation_chars=True)
    lexer.commenters = ""
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    skip_next = False
    for word in lexer:
        if skip_next:
            skip_next = False
        elif word in BETWEEN_COMMANDS:
            commands.append([])
        elif word in REDIRECTIONS or word.startswith("<<"):
            skip_next = True
        else:
            commands[-1].append(word)
    return [bare for command in commands if (bare := _without_prefix(command))]


def _without_prefix(words: list[str]) -> list[str]:
    while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in {"sudo", "exec", "env", "time"}):
        words = words[3:] if words[:2] == ["sudo", "-u"] else words[1:]
    return words
