"""Zoom into a page and save two pictures: the crop, and the page with the crop outlined.

Run it without arguments for the example receipt::

    python examples/zoom_overlay.py
    python examples/zoom_overlay.py page.jpg "Who is the seller?" --folder pictures
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core import ZoomPipeline, load_cropper

RECEIPT = Path(__file__).parent / "receipt.png"


def main(argv: Sequence[str] | None = None) -> None:
    """Zoom, save, and say where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", default=str(RECEIPT))
    parser.add_argument("question", nargs="?", default="What is the total?")
    parser.add_argument("--cropper", default="embedded")
    parser.add_argument("--folder", type=Path, default=Path())
    given = parser.parse_args(argv)

    pipeline = ZoomPipeline(load_cropper(given.cropper))
    zoom = pipeline.zoom(given.image, given.question)

    given.folder.mkdir(parents=True, exist_ok=True)
    overlay = given.folder / "overlay.png"
    zoom.overlay().save(overlay)
    if zoom.crop is None:
        print(f"the whole page is the right view ({zoom.reason}); see {overlay}")
        return
    crop = given.folder / "crop.png"
    zoom.crop.image.save(crop)
    print(f"{crop} holds {zoom.crop.box.area:.1%} of the page; {overlay} shows where")


if __name__ == "__main__":
    main()
