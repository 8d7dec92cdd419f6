"""The commands that our documents name, and whether they are ours."""

import argparse
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cropvlm_core.cli import build_parser

_COMMAND = re.compile(r"\s*(?:\S*/|.*\$\(command -v )?cropvlm\)?\"?\s+(.*)", re.DOTALL)


def commands(document: Path) -> Iterator[tuple[list[str], bool]]:
    """The words of each ``cropvlm`` command, and whether it is a whole one, to be run as it is."""
    text = document.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in re.split(r"\n|&&|;", block.replace("\\\n", " ")):
            if match := _COMMAND.match(line):
                words = shlex.split(match[1], comments=True)
                yield words, language in ("bash", "sh") and "..." not in words
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"(?ms)^```.*?^```", "", text)):
        if match := _COMMAND.match(span):
            yield match[1].split(), False


def is_ours(words: Sequence[str], *, whole: bool) -> bool:
    """Whether our parser takes a command; of one in part, its sub-commands and options."""
    parser: Any = build_parser()
    if whole:
        try:
            parser.parse_args(words)
        except SystemExit as left:
            return left.code == 0
        return True
    for word in words:
        kinds = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        if option := re.match(r"\[?(--?[a-z][a-z-]*)", word):
            if option[1] not in parser._option_string_actions:
                return False
        elif kinds and word != "...":
            if word not in kinds[0].choices:
                return False
            parser = kinds[0].choices[word]
    return True
