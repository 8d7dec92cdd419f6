"""``cropvlm ask``: the answer of a target that sees the whole page and the crop."""

import argparse
import json
import sys
import time

from cropvlm_core.cli import arguments
from cropvlm_core.cli import page as pages


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "ask",
        help="ask a model about a page, with the crop beside it",
        description="Ask a model about a page: it sees the whole page, the crop and the question. "
        "The answer alone goes to stdout.",
    )
    arguments.add_question(parser)
    pages.add_page(parser)
    parser.add_argument(
        "--model",
        metavar="SPEC",
        required=True,
        help="who answers: openai:MODEL[@URL] (any OpenAI-compatible server; the key comes from "
        "OPENAI_API_KEY, the server without @URL from OPENAI_BASE_URL) | hf:FOLDER_OR_ID (on this "
        "machine) | tesseract@N (reads the pictures at N pixels) | constant:TEXT",
    )
    parser.add_argument("--no-zoom", action="store_true", help="send the whole page alone")
    arguments.add_cropper(parser)
    arguments.add_box_writing(parser)
    arguments.add_served(parser)
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Zoom, ask, and print the answer."""
    from cropvlm_core.loading import load_cropper, load_target
    from cropvlm_core.vlm import checked_replies
    from cropvlm_core.zoom import ZoomPipeline

    start = time.perf_counter()
    asked, page = pages.opened(given)
    decoding = time.perf_counter() - start
    target = load_target(given.model)
    if given.no_zoom:
        name, cropper = "whole", load_cropper("whole")
    else:
        name = given.cropper
        cropper = load_cropper(name, **arguments.cropper_options(given))
    pipeline = ZoomPipeline(cropper, max_crops=given.max_crops, min_confidence=given.min_confidence)
    start = time.perf_counter()
    zoom = pipeline.zoom_batch([asked])[0]
    answer = checked_replies(target.reply([zoom.conversation()]), 1)[0]
    seconds = decoding + time.perf_counter() - start
    counted = pages.which(page)
    if given.json:
        told = zoom.to_dict(cropper=name, seconds=round(seconds, 4))
        print(json.dumps(told | {"answer": answer, "model": given.model}))
        if counted:
            print(f"cropvlm: {counted}", file=sys.stderr)
        return 0
    print(answer)
    seen = " and ".join(
        [
            counted or "the whole page",
            *(f"a crop of {crop.box.area:.1%} of it" for crop in zoom.crops),
        ]
    )
    print(f"({given.model} saw {seen}; {seconds:.2f} s)", file=sys.stderr)
    return 0
