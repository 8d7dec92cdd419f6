"""A run on a user's own documents: split, measure, learn, export, measure again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.embedded.weights import read_weights
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.export import export_policy, read_network
from cropvlm_core.training.own_documents.learning import Teacher
from cropvlm_core.training.own_documents.locate import PageReader
from cropvlm_core.training.own_documents.material import Material, fingerprint, gather
from cropvlm_core.training.own_documents.measure import Outcome, measure
from cropvlm_core.training.own_documents.plan import OwnPlan
from cropvlm_core.training.own_documents.schedule import Schedule
from cropvlm_core.training.questions import validation_questions
from cropvlm_core.training.reply_cache import ReplyCache
from cropvlm_core.training.rewards import AnswerScore, CropArea
from cropvlm_core.training.signals import Listener
from cropvlm_core.training.supervised import load_checkpoint
from cropvlm_core.vlm import VLM

WEIGHTS = "policy.onnx"
RENDERED_PAGES = 24
"""Of all kinds, and as many receipts: on these a run must not get worse."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Learned:
    """What came of a run.

    Attributes:
        weights: the file that was written.
        told: what the run was told, its data and its start included.
        material: what was learned from.
        steps, minutes: of training.
        held_out: outcomes of the questions kept back, before and after, in the same order.
        rendered, receipts: the same on the project's own pages, where nobody reads.
        failures: conversations to which the reader gave no reply.
    """

    weights: Path
    told: dict[str, Any]
    material: Material
    steps: int
    minutes: float
    held_out: tuple[list[Outcome], list[Outcome]]
    rendered: tuple[list[Outcome], list[Outcome]]
    receipts: tuple[list[Outcome], list[Outcome]]
    failures: int


def learn(
    plan: OwnPlan,
    questions: Sequence[AnsweredQuestion],
    reader: VLM,
    start: Path,
    folder: Path,
    tell: Tell,
    clock: Callable[[], float] = time.monotonic,
) -> Learned:
    """Train, or go on training, from ``start``; write ``folder/policy.onnx``; measure both.

    Args:
        plan: what the run is told.
        questions: all of the user's.
        reader: the frozen reader.
        start: the weight file to begin with.
        folder: gets ``policy.onnx``, ``checkpoint.pt``, ``log.jsonl`` (the curve), and what was
            read, so that nothing is read twice: ``replies.jsonl``, ``words.jsonl``.
        tell: is given a line now and then.
        clock: tells seconds, by which ``plan.minutes`` are counted.

    Raises:
        Stopped: a signal came; the same call goes on.
        DataError: the folder holds a run of other data or settings, or nothing is to be learned.
        WeightsError: ``start`` is no weight file of ours.
        SourceError, ImageError: a page cannot be opened.
        MissingExtraError: ``plan.locate``, and there is no Tesseract.
        ModelError: Tesseract failed.
    """
    cropper = EmbeddedCropper(start)
    network = read_network(start)
    told = plan.to_dict() | {"data": fingerprint(questions), "start": read_weights(start)[1]}
    held = load_checkpoint(folder / "checkpoint.pt")
    if held is not None:
        check_same(told, held["told"])
    folder.mkdir(parents=True, exist_ok=True)
    score = AnswerScore(
        reader, plan.metric, unreadable=0.0, cache=folder / "replies.jsonl",
        identity=f"{plan.reader} {getattr(reader, 'version', '')}",
    )  # fmt: skip
    words = PageReader(ReplyCache(folder / "words.jsonl")) if plan.locate else None
    with Listener() as listener:
        tell(f"looking at the pages of {len(questions)} questions")
        material = gather(
            questions, cropper.settings, score, words,
            held_out=plan.held_out, seed=plan.seed, check=listener.check,
        )  # fmt: skip
        tell(f"measuring the start on {len(material.held_out)} questions kept back")
        before = measure(start, material.held_out, score, check=listener.check)
        teacher = Teacher(
            network, cropper.settings, [score, CropArea(plan.area_price)],
            group=plan.group, questions=plan.questions, shuffle=plan.shuffle_rewards,
            seed=plan.seed,
        )  # fmt: skip
        schedule = Schedule(plan, teacher, told, held, folder, clock)
        tell(f"learning from {len(material.pages)} pages for {plan.minutes:g} minutes")
        schedule.train(material.pages, check=listener.check, tell=tell)
        about = _about(cropper.about, told)
        export_policy(schedule.averaged.eval(), folder / WEIGHTS, cropper.settings, about)
        tell("measuring the new file, and both on rendered pages")
        return Learned(
            folder / WEIGHTS,
            told,
            material,
            schedule.step,
            schedule.done,
            (before, measure(folder / WEIGHTS, material.held_out, score, check=listener.check)),
            _both(start, folder / WEIGHTS, None),
            _both(start, folder / WEIGHTS, "receipt"),
            score.failures,
        )


def check_same(told: dict[str, Any], before: dict[str, Any]) -> None:
    """Refuse to mix two runs in one folder; only the length of the schedule may change.

    Raises:
        DataError: something else differs.
    """
    for name in sorted((told.keys() | before.keys()) - {"minutes"}):
        if told.get(name) != before.get(name):
            raise DataError(
                f"expected the {name} of the run in --out ({shorten(before.get(name))}), or "
                f"another folder, got {shorten(told.get(name))}"
            )


def _both(start: Path, weights: Path, kind: str | None) -> tuple[list[Outcome], list[Outcome]]:
    questions = list(validation_questions(RENDERED_PAGES, kind))
    return measure(start, questions, None), measure(weights, questions, None)


def _about(about: dict[str, str], told: dict[str, Any]) -> dict[str, str]:
    """What the new file says of how it was trained: as the old one, and on what since."""
    trained = json.loads(about["trained"]) | {"own_documents": told}
    return {"trained": json.dumps(trained)}
