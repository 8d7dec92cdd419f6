"""Ask a vision-language model the same question twice: with the page alone, and with the crop too.

Any OpenAI-compatible server will do::

    export OPENAI_API_KEY=...
    python examples/ask_with_and_without.py
    python examples/ask_with_and_without.py --model openai:my-model@http://127.0.0.1:8000/v1
    python examples/ask_with_and_without.py page.jpg "Who is the seller?"

The difference shows where the model sees the page at a low resolution and the print is small.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core import FixedCropper, ZoomPipeline, load_cropper, load_target

RECEIPT = Path(__file__).parent / "receipt.png"


def main(argv: Sequence[str] | None = None) -> None:
    """Ask twice and print both answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", default=str(RECEIPT))
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("--model", default="openai:gpt-4.1-nano")
    parser.add_argument("--cropper", default="embedded")
    given = parser.parse_args(argv)

    target = load_target(given.model)
    whole = ZoomPipeline(FixedCropper(None))
    zooming = ZoomPipeline(load_cropper(given.cropper))

    without = whole.ask(given.image, given.question, target)
    print(f"page alone:    {without.text}")
    answer = zooming.ask(given.image, given.question, target)
    seen = "no crop" if answer.zoom.box is None else f"crop of {answer.zoom.box.area:.1%}"
    print(f"page and crop: {answer.text}  ({seen})")


if __name__ == "__main__":
    main()
