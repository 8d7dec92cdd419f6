"""How the tests of the command line call it, and what they expect of every command."""

import pytest

from cropvlm_core.cli import main

KEYS = {
    "image",
    "question",
    "zoomed",
    "reason",
    "crops",
    "box",
    "pixels",
    "confidence",
    "cropper",
    "seconds",
}


def run(*words: object) -> int:
    return main([str(word) for word in words])


def one_line_error(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("cropvlm: error: ")
    assert len(told.err) < 400
    return told.err
