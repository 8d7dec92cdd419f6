"""``cropvlm proxy``: crops for any app that talks to an OpenAI-compatible server."""

import argparse
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.zoom import ZoomPipeline

_MIB = 2**20


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "proxy",
        help="stand in front of an OpenAI-compatible server and add crops",
        description="Stand in front of an OpenAI-compatible server: add the crop behind every "
        "image of a Chat Completions or Responses request, and pass on everything else byte for "
        "byte. Point an app's base URL at it. SIGTERM and Ctrl-C finish what runs. "
        "All of it: docs/proxy.md.",
    )
    parser.add_argument(
        "--upstream",
        metavar="URL",
        required=True,
        type=_upstream,
        help="the server behind it, such as https://api.openai.com/v1",
    )
    parser.add_argument(
        "--host",
        metavar="HOST",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0: all of this machine (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port", metavar="N", type=_port, default=8765, help="port; 0: any (default: 8765)"
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        type=str.lower,
        help="a name by which apps may call this server, besides localhost; may be given several "
        "times (default: with an address other than this machine's own, any name)",
    )
    arguments.add_cropper(parser)
    arguments.add_box_writing(parser)
    arguments.add_served(parser)
    parser.add_argument(
        "--urls",
        action="store_true",
        help="also fetch images that are http or https URLs, from public addresses, to zoom into "
        "them (default: they go on without a crop)",
    )
    cores = os.cpu_count() or 1
    for name, default, what in (
        ("--workers", min(4, cores), "threads that zoom"),
        ("--max-requests", 64, "requests under way at once; others wait in line"),
        ("--queue", 128, "requests that wait at most; a further one gets 429"),
    ):
        parser.add_argument(
            name,
            metavar="N",
            type=arguments.positive,
            default=default,
            help=f"{what} (default: {default})",
        )
    for name, size, what in (
        ("--max-body", 64, "largest body of a request to zoom into; a larger one gets 413"),
        ("--memory", 512, "such bodies held at once in all; others wait in line"),
    ):
        parser.add_argument(
            name,
            metavar="MIB",
            type=arguments.positive,
            default=size,
            help=f"{what} (default: {size})",
        )
    for name, seconds, what in (
        ("--zoom-timeout", 20.0, "a request for which zooming takes longer goes on without crops"),
        ("--timeout", 600.0, "silence of the upstream after which a client gets 504"),
        ("--grace", 600.0, "how long what runs may go on after SIGTERM"),
    ):
        parser.add_argument(
            name,
            metavar="SECONDS",
            type=arguments.above_zero,
            default=seconds,
            help=f"{what} (default: {seconds:g})",
        )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from cropvlm_core.errors import MissingExtraError
    from cropvlm_core.listening import listen, url_of

    if any(find_spec(package) is None for package in ("starlette", "uvicorn", "httpx")):
        raise MissingExtraError("the proxy", "proxy")
    from cropvlm_core.proxy import log, server
    from cropvlm_core.proxy.app import Proxy
    from cropvlm_core.proxy.settings import Settings

    pipeline = _pipeline(given)
    listening = listen(given.host, given.port, waiting=server.BACKLOG)
    settings = Settings(
        given.upstream,
        hosts=server.names_of(listening, given.allow_host),
        urls=given.urls,
        workers=given.workers,
        max_requests=given.max_requests,
        queue=given.queue,
        max_body=given.max_body * _MIB,
        memory=given.memory * _MIB,
        zoom_seconds=given.zoom_timeout,
        timeout=given.timeout,
    )
    print(f"cropvlm: set the apps' base URL to {url_of(listening)}/v1", file=sys.stderr)
    log.log_to_stdout()
    server.serve(Proxy(settings, pipeline, given.cropper), settings, listening, given.grace)
    return 0


def _pipeline(given: argparse.Namespace) -> "ZoomPipeline":
    from PIL import Image

    from cropvlm_core.loading import load_cropper
    from cropvlm_core.sources import check_decoders
    from cropvlm_core.zoom import ZoomPipeline

    if given.urls:
        check_decoders()
    cropper = load_cropper(given.cropper, **arguments.cropper_options(given))
    pipeline = ZoomPipeline(cropper, max_crops=given.max_crops, min_confidence=given.min_confidence)
    if given.cropper.partition(":")[0] == "embedded":
        # an empty page, so that damaged weights end the start and not the first request
        pipeline.zoom(Image.new("RGB", (64, 64), "white"), "What is the total?")
    return pipeline


def _upstream(text: str) -> str:
    from cropvlm_core.proxy.settings import check_upstream

    try:
        check_upstream(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _port(text: str) -> int:
    return int(
        arguments.number(
            text, "a port, 0 to 65535", lambda port: 0 <= port <= 65535 and port % 1 == 0
        )
    )
