"""What is read out of a document, so that the checks built on it can be trusted."""

from __future__ import annotations

from tests.docs.markdown import Fence, anchors, command_lines, documents, fences, inline_code, links


def commands(language: str, text: str) -> list[list[str]]:
    return command_lines(Fence(language, text))


def test_a_block_is_found_with_its_language() -> None:
    assert fences("text\n```toml\na = 1\n```\nmore\n") == [Fence("toml", "a = 1\n")]


def test_an_indented_block_in_a_list_is_found() -> None:
    assert fences("1. one\n   ```sh\n   make test\n   ```\n") == [Fence("sh", "   make test\n")]


def test_in_a_console_block_only_what_follows_a_prompt_is_a_command() -> None:
    assert commands("console", "$ make test\n42 passed\n# systemctl start cmkms\n") == [
        ["make", "test"],
        ["systemctl", "start", "cmkms"],
    ]


def test_in_a_shell_block_every_line_but_comments_is_a_command() -> None:
    assert commands("sh", "# first\nmake test\n") == [["make", "test"]]


def test_a_continued_line_is_one_command() -> None:
    assert commands("sh", "cmkms start \\\n    --id node-0\n") == [["cmkms", "start", "--id", "node-0"]]


def test_a_pipe_joins_two_commands() -> None:
    assert commands("sh", "cmkms state export c | tee x > y\n") == [["cmkms", "state", "export", "c"], ["tee", "x"]]


def test_what_stands_before_a_command_is_no_part_of_it() -> None:
    assert commands("sh", "sudo -u cmkms A=1 cmkms init  # once\n") == [["cmkms", "init"]]


def test_a_pin_with_a_hash_sign_is_no_comment() -> None:
    assert commands("sh", "cmkms start --peer a=1.2.3.4:1#ab\n") == [["cmkms", "start", "--peer", "a=1.2.3.4:1#ab"]]


def test_the_text_of_a_here_document_is_no_command() -> None:
    assert commands("sh", "cat > f <<EOF\nmake nothing\nEOF\nmake test\n") == [["cat"], ["make", "test"]]


def test_other_blocks_hold_no_commands() -> None:
    assert commands("toml", "make = 1\n") == []


def test_inline_code_in_a_block_is_not_inline_code() -> None:
    assert inline_code("`cmkms start`\n```sh\n`x`\n```\n") == ["cmkms start"]


def test_links_and_pictures_are_found() -> None:
    assert links("[a](b.md#c) ![d](e.svg) `[no](f)`") == ["b.md#c", "e.svg"]


def test_a_linked_picture_gives_its_link() -> None:
    assert links("[![d](e.svg)](f.md)") == ["f.md"]


def test_headings_are_anchors_as_github_names_them() -> None:
    assert anchors("# What it is, and for `whom`\n## Twice\n## Twice\n") == {
        "what-it-is-and-for-whom",
        "twice",
        "twice-1",
    }


def test_there_are_documents_to_check() -> None:
    assert "README.md" in {document.name for document in documents()}
