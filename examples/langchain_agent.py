"""A LangChain agent that looks closer at an image when it needs to.

::

    pip install '.[langchain]' langchain-openai
    export OPENAI_API_KEY=...
    python examples/langchain_agent.py
    python examples/langchain_agent.py page.jpg "Who is the seller?" --model anthropic:MODEL

The model is told of the tool ``zoom`` and calls it when it cannot read the answer. The middleware
sees to it that the crop reaches every provider's model. Without the tool, and with
``ZoomMiddleware()`` alone, every question would come with its crop at once.
"""

import argparse
import base64
import mimetypes
from collections.abc import Sequence
from pathlib import Path

from langchain.agents import create_agent
from langchain.messages import HumanMessage, ToolMessage

from langchain_cropvlm import ZoomMiddleware, ZoomTool

RECEIPT = Path(__file__).parent / "receipt.png"


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the agent, and tell where it looked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", type=Path, default=RECEIPT)
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("--model", default="openai:gpt-4.1-nano")
    given = parser.parse_args(argv)

    agent = create_agent(given.model, [ZoomTool()], middleware=[ZoomMiddleware(automatic=False)])
    image = {
        "type": "image",
        "base64": base64.b64encode(given.image.read_bytes()).decode(),
        "mime_type": mimetypes.guess_type(given.image)[0] or "image/png",
    }
    question = HumanMessage([{"type": "text", "text": given.question}, image])
    for message in agent.invoke({"messages": [question]})["messages"]:
        if isinstance(message, ToolMessage):
            print(f"looked closer: {message.text}")
    print(f"answer: {message.text}")


if __name__ == "__main__":
    main()
