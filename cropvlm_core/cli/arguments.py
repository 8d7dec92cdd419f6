"""Arguments that several commands share, each worded once."""

import argparse
import math
from collections.abc import Callable
from typing import Any

_MOST_CROPS = 100


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add IMAGE and QUESTION."""
    parser.add_argument("image", metavar="IMAGE", help="path of a PNG, JPEG, WEBP, GIF, BMP, TIFF")
    parser.add_argument("question", metavar="QUESTION", help="what you want to know about it")


def add_cropper(parser: argparse.ArgumentParser) -> None:
    """Add --cropper, --max-crops and --min-confidence."""
    parser.add_argument(
        "--cropper",
        metavar="SPEC",
        default="embedded",
        help="who picks the crop: embedded[:FILE.onnx] | whole | centre | random[:SEED] | "
        "ocr | hf:FOLDER_OR_ID | openai:MODEL[@URL] (default: embedded)",
    )
    add_crop_limits(parser)


def add_crop_limits(parser: argparse.ArgumentParser) -> None:
    """Add --max-crops and --min-confidence."""
    parser.add_argument(
        "--max-crops",
        metavar="N",
        type=_crops,
        default=1,
        help="at most N crops, which hardly overlap (default: 1)",
    )
    parser.add_argument(
        "--min-confidence",
        metavar="P",
        type=_share,
        help="no crop less sure than this, 0..1; 0: whatever the confidence (default: what the "
        "cropper recommends)",
    )


def add_box_writing(parser: argparse.ArgumentParser) -> None:
    """Add --notation and --input-size, for models that write boxes."""
    parser.add_argument(
        "--notation",
        metavar="NAME",
        help="how an hf: or openai: model writes a box: percent | per_mille (Qwen3-VL) | "
        "per_mille_yx (Gemini) | loc_tokens (PaliGemma) | pixels (Qwen2.5-VL; give --input-size "
        "with openai:); default: what suits an hf: model, percent for openai:",
    )
    parser.add_argument(
        "--input-size",
        metavar="N",
        type=positive,
        help="longest edge in pixels to which such a model's page is scaled down (default: the "
        "page as it is, or an hf: model's own)",
    )


def add_served(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint and --constrain, for a cropper that a server runs."""
    parser.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="ask an openai: model as the checkpoint in FOLDER was trained, by its cropvlm.json "
        "(default: where MODEL is itself such a folder, as it is; else it is told how to write a "
        "box)",
    )
    parser.add_argument(
        "--constrain",
        metavar="SERVER",
        choices=("vllm", "sglang", "llamacpp"),
        help="have the server of an openai: model write nothing but a box; which server it is: "
        "vllm | sglang | llamacpp (default: read what it writes)",
    )


def cropper_options(given: argparse.Namespace) -> dict[str, Any]:
    """What ``load_cropper`` is told by :func:`add_box_writing` and :func:`add_served`."""
    names = ("notation", "input_size", "checkpoint", "constrain")
    return {name: getattr(given, name) for name in names}


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add --limit."""
    parser.add_argument(
        "--limit", metavar="N", type=positive, help="only the first N questions of each set"
    )


def positive(text: str) -> int:
    """A whole number above 0."""
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return count


def count(text: str) -> int:
    """A whole number, 0 or more."""
    return 0 if text == "0" else positive(text)


def number(text: str, expected: str, fits: Callable[[float], bool]) -> float:
    """A number that fits; ``expected`` says in an error which do. NaN must not."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def above_zero(text: str) -> float:
    """A number above 0, not infinite."""
    return number(text, "a number above 0", lambda value: 0 < value < math.inf)


def _share(text: str) -> float:
    return number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def _crops(text: str) -> int:
    count = positive(text)
    if count > _MOST_CROPS:
        raise argparse.ArgumentTypeError(f"expected at most {_MOST_CROPS} crops, got {text!r}")
    return count
