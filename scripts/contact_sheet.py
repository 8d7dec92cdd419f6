"""Pages of a question set side by side: crops in colour, true boxes in green, a mark on misses.

    python scripts/contact_sheet.py DATA sheet.png --cropper embedded --count 24

One question a page, chosen by the seed. Green: where the answer stands; red: the crop.
"""

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

from cropvlm_core import AnsweredQuestion, ZoomPipeline, load_cropper, read_questions

TILE = (340, 560)
ACROSS = 8
CAPTION = 34


def tile(asked: AnsweredQuestion, pipeline: ZoomPipeline) -> Image.Image:
    """The overlay of one question with its true boxes and a caption."""
    zoom = pipeline.zoom_batch([asked])[0]
    picture = zoom.overlay()
    pen = ImageDraw.Draw(picture)
    for box in asked.targets:
        pen.rectangle(
            box.to_pixels(picture.size), outline=(0, 150, 60), width=max(2, picture.width // 250)
        )
    picture.thumbnail((TILE[0] - 8, TILE[1] - CAPTION - 8))
    framed = Image.new("RGB", TILE, "white")
    framed.paste(picture, (4, CAPTION))
    hit = asked.hit([crop.box for crop in zoom.crops])
    mark = {True: "hit", False: "MISS", None: "no box known"}[hit]
    sure = "" if zoom.crop is None else f" {zoom.crop.box.area:.0%} {zoom.crop.confidence or 0:.2f}"
    pen = ImageDraw.Draw(framed)
    pen.text((4, 2), asked.question[:52], fill="black")
    pen.text((4, 16), f"{mark}{sure}  {asked.id}", fill="black" if hit is not False else "red")
    return framed


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cropper", default="embedded")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    pages: dict[str, list[AnsweredQuestion]] = {}
    for asked in read_questions(given.data):
        pages.setdefault(str(asked.image), []).append(asked)
    dice = random.Random(given.seed)
    chosen = [dice.choice(pages[page]) for page in dice.sample(sorted(pages), given.count)]
    pipeline = ZoomPipeline(load_cropper(given.cropper))
    rows = (len(chosen) + ACROSS - 1) // ACROSS
    sheet = Image.new("RGB", (TILE[0] * ACROSS, TILE[1] * rows), "grey")
    for index, asked in enumerate(chosen):
        place = (index % ACROSS * TILE[0], index // ACROSS * TILE[1])
        sheet.paste(tile(asked, pipeline), place)
    sheet.save(given.output)
    print(f"{given.output}: {len(chosen)} pages")


if __name__ == "__main__":
    main()
