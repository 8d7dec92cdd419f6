"""``cropvlm train embedded`` and ``pages``: the embedded cropper, and pages to measure it on."""

import argparse
import os
import time
from pathlib import Path
from typing import Any

from cropvlm_core.cli import arguments, train_own_documents

RENDERED = (
    "reading_minutes", "processes", "device", "producers", "pixels", "store", "area",
    "answerable_pages", "export_only",
)  # fmt: skip
"""Options of the road that learns from rendered pages, none of which goes with ``--data``."""


def add_parsers(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the two sub-commands and their arguments."""
    embedded = kinds.add_parser(
        "embedded",
        help="train the embedded cropper on rendered pages, or on your own documents",
        description="Train the embedded cropper from scratch on pages this project renders, choose "
        "how wide it crops on rendered pages it has not seen, and export DIR/policy.onnx. With "
        "--data: go on training the cropper of the wheel on your own documents, from questions "
        "and answers, no boxes, for some minutes on a CPU. The same command again goes on where a "
        "stopped run was.",
    )
    embedded.add_argument("--out", metavar="DIR", type=Path, required=True, help="the run's folder")
    embedded.add_argument(
        "--minutes",
        type=arguments.above_zero,
        default=None,
        help="length of the schedule (default 95; with --data 15)",
    )
    embedded.add_argument("--seed", type=int, default=1, help="source of all chance (default 1)")
    embedded.add_argument(
        "--rate",
        type=arguments.above_zero,
        default=None,
        help="peak learning rate (default: by the road)",
    )
    embedded.add_argument(
        "--start",
        metavar="FILE",
        type=Path,
        default=None,
        help="with --device: begin with the network of this weight file; with --data: with this "
        "file in place of the one in the wheel",
    )
    _add_rendered(embedded.add_argument_group("on rendered pages"))
    train_own_documents.add_arguments(embedded.add_argument_group("on your own documents"))
    embedded.set_defaults(run=run_embedded, complain=embedded.error)

    pages = kinds.add_parser(
        "pages",
        help="render pages as a question set",
        description="Render pages that training never draws, with questions and true boxes, as a "
        "question set that `cropvlm evaluate DIR` reads, and a contact sheet DIR/contact.png.",
    )
    pages.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    pages.add_argument(
        "--count", type=arguments.positive, default=50, help="how many pages (default 50)"
    )
    pages.add_argument("--kind", help="one kind of page, e.g. receipt (default: all kinds)")
    pages.add_argument(
        "--held-out", action="store_true", help="ask with wordings that training never uses"
    )
    pages.set_defaults(run=run_pages)


def _add_rendered(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--reading-minutes",
        type=arguments.above_zero,
        default=None,
        help="of these, the first part that teaches letters and words only (default: a sixth)",
    )
    group.add_argument(
        "--processes",
        type=arguments.positive,
        default=None,
        help="training processes of one thread (default 2)",
    )
    group.add_argument(
        "--device",
        default=None,
        help="train on this device (cuda, cpu, ...) beside processes that render its pages; "
        "without it, every process renders and trains on a CPU",
    )
    group.add_argument(
        "--producers",
        type=arguments.positive,
        default=None,
        help="with --device: processes that render pages (default: three fewer than the cores)",
    )
    group.add_argument(
        "--pixels",
        type=arguments.positive,
        default=None,
        help="with --device: input pixels of a batch (default 24 million on a GPU, 1.3 million on "
        "a CPU)",
    )
    group.add_argument(
        "--store",
        metavar="DIR",
        type=Path,
        default=None,
        help="with --device: where rendered pages wait, best a folder in memory (default: in the "
        "run's folder)",
    )
    group.add_argument(
        "--area",
        type=arguments.above_zero,
        default=None,
        help="largest mean crop area, share of the page, when choosing how wide to crop (default "
        "0.045)",
    )
    group.add_argument(
        "--answerable-pages",
        metavar="N",
        type=arguments.count,
        default=None,
        help="pages on which it learns, last, to tell whether a page answers a question; 0: as "
        "--start has it (default 1000, some seven minutes of a core)",
    )
    group.add_argument(
        "--export-only",
        action="store_const",
        const=True,
        help="export the run's checkpoint as it is now",
    )


def run_embedded(given: argparse.Namespace) -> int:
    """Train unless told otherwise, choose the settings, export; or learn from own documents."""
    _check_road(given)
    _need_torch()
    if given.data is not None:
        return train_own_documents.run(given)
    from cropvlm_core.training.calibration import export_run

    if not given.export_only:
        _train(given)
    told = 1000 if given.answerable_pages is None else given.answerable_pages
    setting = export_run(given.out, area=given.area or 0.045, answerable_pages=told)
    print(
        f"{given.out / 'policy.onnx'}: on rendered pages hits {setting.hit_rate:.1%} "
        f"at {setting.mean_area:.1%} of the page"
    )
    if setting.confidence is not None:
        print(setting.confidence.to_text())
    print(f"measure it: cropvlm evaluate DATA --cropper embedded:{given.out / 'policy.onnx'}")
    return 0


def _check_road(given: argparse.Namespace) -> None:
    """Leave by the parser's own complaint where options of both roads meet."""
    own = train_own_documents.OPTIONS
    wrong = own if given.data is None else RENDERED
    named = [f"--{name.replace('_', '-')}" for name in wrong if getattr(given, name) is not None]
    if named and given.data is None:
        given.complain(f"{', '.join(named)}: expected --data beside it, got none")
    if named:
        given.complain(f"{', '.join(named)}: not allowed with --data")
    if given.data is not None and given.reward is None:
        given.complain("--data: expected --reward beside it (tesseract@512, openai:MODEL, hf:PATH)")


def _train(given: argparse.Namespace) -> None:
    from cropvlm_core.errors import DataError
    from cropvlm_core.training.pages import need_programs
    from cropvlm_core.training.stored_training import StoredPlan, device_memory, train_stored
    from cropvlm_core.training.supervised import TrainingPlan, train_supervised

    need_programs()
    minutes = given.minutes or 95.0
    chosen: dict[str, Any] = {"minutes": minutes, "seed": given.seed}
    if given.rate is not None:
        chosen["rate"] = given.rate
    if given.device is None:
        if given.start is not None:
            raise DataError("expected --device (cuda, cpu, ...) or --data beside --start, got none")
        reading = minutes / 6 if given.reading_minutes is None else given.reading_minutes
        plan = TrainingPlan(reading_minutes=reading, processes=given.processes or 2, **chosen)
        train_supervised(plan, given.out)
        return
    cores = os.cpu_count() or 1
    small = given.device == "cpu"
    reading = minutes / 20 if given.reading_minutes is None else given.reading_minutes
    train_stored(
        StoredPlan(
            device=given.device,
            reading_minutes=reading,
            producers=given.producers or max(1, cores - 3),
            rest=3.0 if small else 0.0,
            pixels=given.pixels or (1_300_000 if small else 24_000_000),
            batches=2 if small else 4,
            store=2_000_000_000 if small else device_memory(given.device) // 2,
            **chosen,
        ),
        given.out,
        store=given.store,
        start=given.start,
    )


def run_pages(given: argparse.Namespace) -> int:
    """Render the pages and the contact sheet."""
    from cropvlm_core.errors import DataError
    from cropvlm_core.training.pages import KINDS
    from cropvlm_core.training.questions import write_pages

    if given.kind is not None and given.kind not in KINDS:
        raise DataError(f"expected a kind of page of {sorted(KINDS)}, got {given.kind!r}")
    begun = time.perf_counter()
    count = write_pages(given.out, given.count, given.kind, held_out=given.held_out)
    rate = given.count / (time.perf_counter() - begun)
    print(
        f"{given.out}: {given.count} pages, {count} questions, {rate:.1f} pages a second; "
        f"look at {given.out / 'contact.png'}"
    )
    return 0


def _need_torch() -> None:
    from importlib.util import find_spec

    from cropvlm_core.errors import MissingExtraError

    if any(find_spec(name) is None for name in ("torch", "onnx")):
        raise MissingExtraError("training the embedded cropper", "finetune")
