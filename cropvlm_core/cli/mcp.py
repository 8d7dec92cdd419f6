"""``cropvlm mcp``: the tools zoom and look for every client of the Model Context Protocol."""

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.mcp_server.tools import ImageTools

_ADDRESS = "127.0.0.1:8765"
_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))?:([0-9]{1,5})")
_NAME = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "mcp",
        help="serve zoom and look to clients of the Model Context Protocol",
        description="Serve the tools zoom and look to a client of the Model Context Protocol, on "
        "stdin and stdout, or with --http on a socket. Without --roots no file is read, without "
        "--urls nothing is fetched: images then come as data: URIs alone.",
    )
    parser.add_argument(
        "--roots",
        metavar="DIR",
        nargs="+",
        action="extend",
        default=[],
        help="folders below which the model may name image files; relative paths are meant from "
        "them",
    )
    parser.add_argument(
        "--urls",
        action="store_true",
        help="let the model name http and https URLs, which are fetched from public addresses",
    )
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        nargs="?",
        const=_address(_ADDRESS),
        type=_address,
        help=f"serve streamable HTTP instead of stdin and stdout (default: {_ADDRESS})",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        type=_name,
        action="append",
        default=[],
        help="with --http: a name of this server that clients may use, besides localhost; may be "
        "given several times",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=arguments.above_zero,
        default=60.0,
        help="how long a call may take (default: 60)",
    )
    parser.add_argument(
        "--answer-size",
        metavar="N",
        type=_answer_size,
        default=1_000_000,
        help="most characters of an answer, pictures included; larger pictures are sent as JPEG "
        "and then scaled down (default: 1000000, what desktop clients take)",
    )
    parser.add_argument(
        "--structured",
        action="store_true",
        help="send the figures as structured content, too: for programs; several chat clients then "
        "show the model no picture",
    )
    arguments.add_cropper(parser)
    arguments.add_box_writing(parser)
    arguments.add_served(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Load the cropper, then serve until the client is done, or until Ctrl-C."""
    import asyncio

    from cropvlm_core.errors import MissingExtraError
    from cropvlm_core.listening import is_local, listen, url_of

    try:
        from cropvlm_core.mcp_server import http, server
    except ModuleNotFoundError as error:
        raise MissingExtraError("the MCP server", "mcp") from error

    listener = None if given.http is None else listen(*given.http, waiting=http.CONNECTIONS)
    built = server.build_server(_tools(given), seconds=given.timeout, structured=given.structured)
    if listener is None:
        signal.signal(signal.SIGINT, _leave)
        if sys.stdin is not None and sys.stdin.isatty():
            print("cropvlm: serving MCP on stdin and stdout, for a client", file=sys.stderr)
        asyncio.run(server.serve_stdio(built))
        return 0
    host = listener.getsockname()[0]
    shown = f"[{host}]" if ":" in host else host
    print(f"cropvlm: serving MCP at {url_of(listener)}{http.PATH}", file=sys.stderr)
    if not is_local(listener):
        print("cropvlm: whoever reaches this address may call: it asks for no key", file=sys.stderr)
    own = {shown, given.http[0] if ":" not in given.http[0] else shown} - {"0.0.0.0", "[::]"}
    names = [*given.allow_host, *sorted(own)]
    asyncio.run(http.serve_http(built, listener, names))
    return 0


def _tools(given: argparse.Namespace) -> "ImageTools":
    from cropvlm_core.errors import SourceError, shorten
    from cropvlm_core.loading import load_cropper
    from cropvlm_core.mcp_server.tools import ImageTools
    from cropvlm_core.sources import Allowed, check_decoders
    from cropvlm_core.zoom import ZoomPipeline

    if given.urls:
        check_decoders()
    for root in given.roots:
        if not Path(root).is_dir():
            raise SourceError(f"expected a folder for --roots, got {shorten(root)}")
    allowed = Allowed.of(given.roots, given.urls)
    cropper = load_cropper(given.cropper, **arguments.cropper_options(given))
    pipeline = ZoomPipeline(cropper, max_crops=given.max_crops, min_confidence=given.min_confidence)
    return ImageTools(pipeline, allowed, answer_size=given.answer_size)


def _leave(_: int, __: FrameType | None) -> Any:
    """End at Ctrl-C: the thread that reads stdin would otherwise wait for another line."""
    print("cropvlm: interrupted", file=sys.stderr, flush=True)
    os._exit(130)


def _address(text: str) -> tuple[str, int]:
    """HOST:PORT, :PORT or [IPv6]:PORT."""
    found = _HOST_AND_PORT.fullmatch(text if ":" in text else f":{text}")
    if found is None or int(found[3]) > 65535:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    return found[1] or found[2] or "127.0.0.1", int(found[3])


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected the name of a host, got {text!r}")
    return text


def _answer_size(text: str) -> int:
    size = arguments.positive(text)
    if size < 50_000:
        raise argparse.ArgumentTypeError(f"expected at least 50000 characters, got {text!r}")
    return size
