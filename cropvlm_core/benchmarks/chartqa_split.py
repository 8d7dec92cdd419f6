"""ChartQA by the difficulty of chart and question, as in github RobustCQA/ChartQA-Split.

``dataset/simple`` and ``dataset/complex`` (the chart), in each ``png`` and four files
``test_{human,augmented}_{simple,complex}.json`` (who asked, how hard), lists of ``imgname, query,
label``. Read: the repository's README, ``dataset/README.md`` and ``test_human_simple.json``.

There are no boxes: most questions need the whole chart, so that here a crop must do no harm.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cropvlm_core.benchmarks.document_sets import Asked, Converter, DocumentPage, pictures_of
from cropvlm_core.errors import DataError, SourceError
from cropvlm_core.sources import read_reference


def names(source: Path) -> list[str]:
    """The charts that are asked about and there."""
    asked = _asked(_dataset(source))
    return [name for name in pictures_of(_dataset(source)) if name in asked]


def pages(source: Path, chosen: Sequence[str], seed: int) -> Iterator[DocumentPage]:
    """The charts, each with all its questions; ``seed`` changes nothing here."""
    del seed
    pictures, asked = pictures_of(_dataset(source)), _asked(_dataset(source))
    for name in chosen:
        try:
            picture = read_reference(pictures[name])
        except SourceError:
            yield DocumentPage(name, b"", ".png", (), {"damaged or too large picture": 1})
            continue
        yield DocumentPage(f"chartqa-{name}", picture, ".png", tuple(asked[name]))


def _dataset(source: Path) -> Path:
    return source / "dataset" if (source / "dataset").is_dir() else source


def _asked(dataset: Path) -> dict[str, list[Asked]]:
    """The questions of every chart, by its name."""
    found: dict[str, dict[str, Asked]] = {}
    for file in sorted(dataset.glob("*/test_*_*.json")):
        field = file.stem.removeprefix("test_").replace("_", "-")
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            questions = [(str(row["imgname"]), row["query"], str(row["label"])) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"expected a list of imgname, query and label in {file.name}, got another"
            ) from error
        for image, query, label in questions:
            key = hashlib.sha1(query.encode(), usedforsecurity=False).hexdigest()[:6]
            asked = Asked(field, " ".join(query.split()), (label,), key=key)
            found.setdefault(Path(image).stem, {}).setdefault(key, asked)
    return {name: list(questions.values()) for name, questions in found.items()}


CHARTQA = Converter(
    "chartqa",
    "github.com/RobustCQA/ChartQA-Split",
    "none said in its repository; ChartQA itself is GPL-3.0",
    names,
    pages,
)
