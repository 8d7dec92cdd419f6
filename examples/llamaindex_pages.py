"""A LlamaIndex query engine over a folder of pages, with the crop behind each page.

::

    pip install '.[llamaindex]' llama-index-llms-openai
    export OPENAI_API_KEY=...
    python examples/llamaindex_pages.py
    python examples/llamaindex_pages.py scans "Who is the seller?"

Here every page of the folder goes to the model. For more pages than the model takes, retrieve
first: the postprocessor crops whatever comes out of any retriever.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from llama_index.core import SummaryIndex
from llama_index.core.schema import ImageNode
from llama_index.llms.openai import OpenAI

from llamaindex_cropvlm import ZoomPostprocessor

PAGES = Path(__file__).parent
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the engine, and tell where the model was shown more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=PAGES)
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("--model", default="gpt-4.1-nano")
    given = parser.parse_args(argv)

    pages = [
        ImageNode(image_path=str(path), metadata={"file": path.name})
        for path in sorted(given.folder.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    engine = SummaryIndex(pages).as_query_engine(
        llm=OpenAI(model=given.model),
        multimodal=True,
        node_postprocessors=[ZoomPostprocessor()],
    )
    response = engine.query(given.question)
    for source in response.source_nodes:
        if box := source.metadata.get("box"):
            shown = ", ".join(f"{side} {value:.0%}" for side, value in box.items())
            print(f"looked closer: {shown}")
    print(f"answer: {response}")


if __name__ == "__main__":
    main()
