"""Ask a vision-language model on this machine, with and without the crop.

Any image-text-to-text model of the Hugging Face Hub, or a folder; `pip install '.[local]'` first::

    python examples/local_target.py
    python examples/local_target.py --target hf:my/model --answer 19.20
    python examples/local_target.py page.jpg "Who is the seller?" --cropper hf:runs/grpo/model

With --answer it also tells how likely the model finds that answer, which servers do not: the sum of
the log-probabilities (nats) of its tokens, which GRPO rewards.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core import FixedCropper, ZoomPipeline, load_cropper, load_target
from cropvlm_core.vlm import ScoringVLM

RECEIPT = Path(__file__).parent / "receipt.png"


def main(argv: Sequence[str] | None = None) -> None:
    """Ask twice and print both answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", default=str(RECEIPT))
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("--target", default="hf:HuggingFaceTB/SmolVLM-256M-Instruct")
    parser.add_argument("--cropper", default="embedded", help="hf:FOLDER for one that you trained")
    parser.add_argument("--answer", help="an answer whose log-likelihood is printed")
    given = parser.parse_args(argv)

    target = load_target(given.target)
    for label, cropper in (
        ("page alone", FixedCropper(None)),
        ("page and crop", load_cropper(given.cropper)),
    ):
        answer = ZoomPipeline(cropper).ask(given.image, given.question, target)
        print(f"{label}: {answer.text}")
        if given.answer is not None and isinstance(target, ScoringVLM):
            (likelihood,) = target.log_likelihood([answer.zoom.conversation()], [given.answer])
            print(f"  log-likelihood of {given.answer!r}: {likelihood:.2f}")


if __name__ == "__main__":
    main()
