"""A LangChain chain, without an agent: prompt, zoom, model.

::

    pip install '.[langchain]' langchain-openai
    export OPENAI_API_KEY=...
    python examples/langchain_chain.py
    python examples/langchain_chain.py "Who is the seller?" page1.jpg page2.jpg

All pages go through the cropper in one batch.
"""

import argparse
import base64
from collections.abc import Sequence
from pathlib import Path

from langchain.chat_models import init_chat_model
from langchain_core.prompts import ChatPromptTemplate

from langchain_cropvlm import zoom_messages

RECEIPT = Path(__file__).parent / "receipt.png"
PROMPT = ChatPromptTemplate(
    [
        ("system", "Answer from the image, as briefly as you can."),
        (
            "user",
            [
                {"type": "image", "base64": "{image}", "mime_type": "image/png"},
                {"type": "text", "text": "{question}"},
            ],
        ),
    ]
)


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the same question about every page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("images", nargs="*", type=Path, default=[RECEIPT])
    parser.add_argument("--model", default="openai:gpt-4.1-nano")
    given = parser.parse_args(argv)

    chain = PROMPT | zoom_messages() | init_chat_model(given.model)
    answers = chain.batch(
        [
            {
                "question": given.question,
                "image": base64.b64encode(path.read_bytes()).decode(),
            }
            for path in given.images
        ]
    )
    for path, answer in zip(given.images, answers, strict=True):
        print(f"{path.name}: {answer.text}")


if __name__ == "__main__":
    main()
