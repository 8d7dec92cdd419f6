"""The command line ``cropvlm``: one module a command, imported only when that command runs.

Exit codes: 0 done (also when the answer is "no zoom"), 1 a model or server failed, 2 bad input or
a missing extra (one line on stderr), 130 interrupted.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from cropvlm_core import __version__
from cropvlm_core.cli import ask, batch, compare, doctor, evaluate, label, mcp, proxy, train, zoom
from cropvlm_core.errors import CropVLMError, ModelError

_COMMANDS = (zoom, ask, batch, evaluate, compare, label, train, mcp, proxy, doctor)


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="cropvlm",
        description="Show a vision-language model the part of the page that answers the question.",
    )
    parser.add_argument("--version", action="version", version=f"cropvlm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` defaults to the process's arguments."""
    arguments = build_parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, line by line; we say one line or none.
            warnings.filterwarnings("ignore", module="PIL")
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except ModelError as error:
        return _complain(error, 1)
    except CropVLMError as error:
        return _complain(error, 2)
    except BrokenPipeError:
        # Whoever read our output has enough, as `head` does. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that cannot be written
        what = error.strerror or type(error).__name__
        print(f"cropvlm: error: {what}: {error.filename or 'output'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cropvlm: interrupted", file=sys.stderr)
        return 130
    return code


def _complain(error: CropVLMError, code: int) -> int:
    print(f"cropvlm: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
