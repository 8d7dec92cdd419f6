"""A LlamaIndex agent that looks closer at an image when it needs to.

::

    pip install '.[llamaindex]' llama-index-llms-openai
    export OPENAI_API_KEY=...
    python examples/llamaindex_agent.py
    python examples/llamaindex_agent.py page.jpg "Who is the seller?"

LlamaIndex's ``OpenAI`` drops images in tool results; ``with_tool_images`` hands them over in a user
message. ``OpenAIResponses`` and ``Anthropic`` need no wrapping.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from llama_index.core.agent.workflow import AgentOutput, FunctionAgent, ToolCallResult
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.llms.openai import OpenAI

from llamaindex_cropvlm import ZoomToolSpec, with_tool_images

RECEIPT = Path(__file__).parent / "receipt.png"


async def ask(image: Path, question: str, model: str) -> None:
    """Ask the agent, and tell where it looked."""
    tools = ZoomToolSpec().to_tool_list()
    agent = FunctionAgent(tools=[*tools], llm=with_tool_images(OpenAI(model=model)))
    message = ChatMessage(role="user", blocks=[TextBlock(text=question), ImageBlock(path=image)])
    output: AgentOutput = await agent.run(message)
    for call in output.tool_calls:
        if isinstance(call, ToolCallResult):
            print(f"looked closer: {call.tool_output.content}")
    print(f"answer: {output.response.content}")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, and ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", type=Path, default=RECEIPT)
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("--model", default="gpt-4.1-nano")
    given = parser.parse_args(argv)
    asyncio.run(ask(given.image, given.question, given.model))


if __name__ == "__main__":
    main()
