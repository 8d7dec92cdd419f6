"""Twenty faults of the paper's reference code: on ours, each is absent, and would be noticed."""

import itertools
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cropvlm_core.box import NO_ZOOM_NEEDED, Box, BoxNotation
from cropvlm_core.cropper import Cropper, Proposal, VLMCropper
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, read_questions, write_questions
from cropvlm_core.scoring import anls
from cropvlm_core.training.labelling import grow_labels, label
from cropvlm_core.training.rewards import AnswerLikelihood, AnswerScore, CropArea, valid_box
from cropvlm_core.training.run_settings import GRPOSettings, read_settings
from cropvlm_core.training.split import stratified_split
from cropvlm_core.vlm import ConstantVLM, Conversation
from tests import grpo_trainers as grpo
from tests import small_models
from tests.documents import commands, is_ours
from tests.rollouts import asked, rolled

# Where a package is missing, grpo_trainers has skipped all of this.
# isort: split
from cropvlm_core.training.grpo import CropGRPOTrainer
from cropvlm_core.training.sft import SFTCollator, sft_rows
from cropvlm_core.transformers_vlm import TransformersVLM

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks transformers under a name that transformers is giving up
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

torch = grpo.torch
ROOT = Path(__file__).parents[1]
TEXTS = ("[10, 10, 50, 50].", "[60, 60, 90, 90].", "the lower left", "[0, 20, 30, 80].")
MALFORMED = ("the lower left", "[7, 7", "[40, 40, 40, 40].", "")
WHOLE = "[0, 0, 100, 100]."


def test_01_tokens_after_the_end_get_no_gradient_and_no_divergence(tmp_path: Path) -> None:
    """End-of-sequence masking has no effect: padding gets gradient and KL."""
    trainer = grpo.trainer_of(tmp_path, [grpo.length], kl=1.0)
    grpo.move(trainer)
    ends = list(trainer.policy.sampler.ends)

    def end_early(_module: Any, _given: Any, logits: Any) -> Any:
        bias = torch.zeros(logits.shape[-1])
        bias[ends] = 4.0
        return logits + bias

    with_ends = trainer.policy.model.lm_head.register_forward_hook(end_early)
    batch = grpo.batch_of(trainer, 0, 3)
    batch["advantages"] = torch.randn(2 * grpo.GROUP)
    counts = batch["completion_mask"].sum(-1)
    for ids, count in zip(batch["completion_ids"].tolist(), counts.tolist(), strict=True):
        over = [place for place, token in enumerate(ids[:count]) if token in ends]
        assert over == [count - 1] or (over == [] and count == 8)
    padded = batch["completion_mask"] == 0
    assert padded.any()
    junk = batch | {
        "completion_ids": batch["completion_ids"].masked_fill(padded, 7),
        "ref_per_token_logps": batch["ref_per_token_logps"].masked_fill(padded, -9.0),
    }
    loss, gradient = grpo.learned(trainer, batch)
    same_loss, same_gradient = grpo.learned(trainer, junk)
    assert same_loss == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(same_gradient, gradient, rtol=1e-4, atol=1e-6)
    everything = {"completion_mask": torch.ones_like(batch["completion_mask"])}
    other_loss, other_gradient = grpo.learned(trainer, junk | everything)  # the fault
    assert other_loss != pytest.approx(loss, rel=1e-2)
    assert float((other_gradient - gradient).norm() / gradient.norm()) > 0.01
    with_ends.remove()


def test_02_what_is_scored_is_the_distribution_that_was_sampled(tmp_path: Path) -> None:
    """Sampled at T=0.8, scored at T=1."""
    trainer = grpo.trainer_of(tmp_path, [grpo.length])
    torch.manual_seed(0)
    batch = grpo.batch_of(trainer, *range(4), *[0] * 250)
    drawn = batch["completion_mask"].bool()

    def standard_errors() -> float:
        """How far the mean log-probability is from the one that these samples should have."""
        chances, doubts = grpo.log_probabilities(trainer, batch)
        off = (chances + doubts)[drawn]
        return float(off.mean() / off.std() * len(off) ** 0.5)

    assert trainer.temperature == 0.8
    assert abs(standard_errors()) < 4
    trainer.temperature = 1.0  # the fault
    assert abs(standard_errors()) > 6


def test_03_an_answer_with_a_colon_is_scored_whole() -> None:
    """An answer with ":" is scored only after its last colon."""
    vlm, answer = grpo.judge(), "NASA: 10:45"
    (rollout,) = rolled(asked(small_models.page(90, 120), answers=(answer,)), TEXTS[0])
    each = grpo.plainly(vlm, rollout.zoom.conversation(), answer)
    with grpo.rows_read(vlm.model.lm_head) as rows:
        (value,) = AnswerLikelihood(vlm)([rollout])
    assert value == pytest.approx(float(each.sum()), rel=1e-4)
    assert value != pytest.approx(float(each[-3:].sum()), rel=1e-2)  # "4", "5" and the end
    assert sum(rows) == len(each) == vlm.token_counts([answer])[0]


def test_04_long_answers_need_not_dominate(tmp_path: Path) -> None:
    """Likelihood is an unnormalised sum: long answers dominate."""

    def spread(answer: str, *, per_token: bool) -> float:
        reward = AnswerLikelihood(grpo.Listener([]), per_token=per_token)
        values = reward(rolled(asked(answers=(answer,)), *TEXTS[:2]))
        return float(np.ptp([value for value in values if value is not None]))

    short, long = "1998", "1998" * 20
    assert spread(long, per_token=True) == pytest.approx(spread(short, per_token=True))
    assert spread(long, per_token=False) == pytest.approx(20 * spread(short, per_token=False))
    (rollout,) = rolled(asked(small_models.page(90, 120), answers=("NASA",)), TEXTS[0])
    each = grpo.plainly(grpo.judge(), rollout.zoom.conversation(), "NASA")
    reward = grpo.reward_of(tmp_path, per_token=True)
    assert reward([rollout]) == [pytest.approx(float(each.mean()), rel=1e-4)]


def test_05_the_accuracy_reward_runs_as_wired(tmp_path: Path) -> None:
    """The accuracy reward cannot run as wired."""
    vlm, first = grpo.judge(), grpo.questions()[0]
    zooms = [grpo.both_ways(first, text)[1] for text in TEXTS]
    said = vlm.reply([zoom.conversation() for zoom in zooms])
    write_questions(tmp_path / "questions.jsonl", [replace(first, answers=(said[1],))])
    trainer = grpo.trainer_of(
        tmp_path, reward="anls", reward_model=f"hf:{small_models.whole_vlm()}", batch_size=1
    )
    grpo.say(trainer, TEXTS)
    CropGRPOTrainer.train(trainer)
    wanted = [anls(reply, [said[1]]) for reply in said]
    wanted[2] = -1.0  # no box
    assert wanted[1] == 1.0
    assert min(wanted[0], wanted[3]) < 1.0
    assert trainer.reward_values["answer_score_anls"] == wanted
    figures = trainer.state.log_history[0]
    assert figures["rewards/answer_score_anls/mean"] == pytest.approx(sum(wanted) / grpo.GROUP)
    assert figures["grad_norm"] > 0


def test_06_two_questions_at_once_are_two_questions_one_by_one(tmp_path: Path) -> None:
    """Batch > 1 is silently wrong."""
    trainer = grpo.trainer_of(tmp_path, [AnswerLikelihood(grpo.judge()), valid_box])
    grpo.move(trainer)
    grpo.say(trainer, TEXTS)
    parts, alone = [], []
    for row in (0, 3):
        parts.append(grpo.batch_of(trainer, row))
        alone.append(grpo.learned(trainer, parts[-1]))
    both = grpo.batch_of(trainer, 0, 3)
    assert len(set(both["prompt_mask"].sum(-1).tolist())) == 2
    for name in ("completion_ids", "ref_per_token_logps", "advantages"):
        assert torch.allclose(both[name], torch.cat([part[name] for part in parts]), atol=1e-4)
        halves = both[name].split(grpo.GROUP)  # the same texts, but another question
        assert torch.allclose(*halves) is (name == "completion_ids")
    loss, gradient = grpo.learned(trainer, both)
    assert loss == pytest.approx((alone[0][0] + alone[1][0]) / 2, rel=1e-4)
    mean = (alone[0][1] + alone[1][1]) / 2
    assert float((gradient - mean).norm() / mean.norm()) < 1e-4
    assert float((alone[0][1] - mean).norm() / mean.norm()) > 0.1
    pair = grpo.questions()[:2]
    together = trainer.cropper.propose_batch(pair)
    assert together[0].boxes != together[1].boxes
    for proposal, question in zip(together, pair, strict=True):
        assert proposal.boxes == trainer.cropper.propose_batch([question])[0].boxes


def test_07_vllm_is_refused_by_name(tmp_path: Path) -> None:
    """The vLLM path uses undefined names."""
    with pytest.raises(DataError, match="use_vllm"):
        read_settings(GRPOSettings, None, {"use_vllm": True})
    trainer = grpo.trainer_of(tmp_path, [grpo.length])
    trainer.args.use_vllm = True
    with pytest.raises(DataError, match="expected use_vllm=False"):
        CropGRPOTrainer(trainer.cropper, grpo.questions(), [grpo.length], trainer.args)


def test_08_the_reward_model_is_any_model_at_any_size(tmp_path: Path) -> None:
    """The reward model cannot be swapped, fixed at 512 px."""
    rollouts = rolled(asked(small_models.page(300, 200)), *TEXTS)
    values = []
    for model in (small_models.whole_vlm(), small_models.splitting_vlm(), small_models.qwen()):
        values.append(grpo.reward_of(tmp_path, model)(rollouts))
        assert all(value is not None for value in values[-1])
    assert values[0] != values[1] != values[2]
    tiles = []
    for size in (64, 128, 192):
        sized = grpo.reward_of(tmp_path, small_models.splitting_vlm(), reward_input_size=size)
        with small_models.tiles_seen(sized.vlm.model.model.vision_model) as seen:
            sized(rollouts)
        tiles.append(sum(seen))
    assert tiles[0] < tiles[1] < tiles[2]


def test_09_dropout_is_off_in_policy_and_reference_alike(tmp_path: Path) -> None:
    """LoRA dropout is on in the policy's log-probabilities and off in the reference's."""
    trainer = grpo.trainer_of(tmp_path, [grpo.length], lora_dropout=0.5)
    batch = grpo.batch_of(trainer, 0, 3)
    assert trainer.model.training
    assert torch.allclose(grpo.log_probabilities(trainer, batch)[0], batch["ref_per_token_logps"])
    grpo.move(trainer)  # LoRA starts as nothing, and dropout of nothing would not show
    one, two = (grpo.log_probabilities(trainer, batch)[0] for _ in range(2))
    assert torch.equal(one, two)
    layers = [each for each in trainer.model.modules() if isinstance(each, torch.nn.Dropout)]
    for layer in layers:
        layer.p = 0.5  # the fault
    assert not torch.allclose(grpo.log_probabilities(trainer, batch)[0], one, atol=1e-2)


def test_10_questions_and_answers_are_said_as_they_are_written(tmp_path: Path) -> None:
    """``.capitalize()`` lower-cases the rest of question and answer."""
    text, answer = "what does NASA's iPhone SE say?", "mail from NASA: iOS"
    page = small_models.page(90, 120)
    question = AnsweredQuestion(page, text, answers=(answer,), boxes=(Box(0, 0, 0.5, 0.5),))
    write_questions(tmp_path / "questions.jsonl", [question])
    listener = grpo.Listener([])
    trainer = grpo.trainer_of(tmp_path, [AnswerLikelihood(listener)], batch_size=1)
    grpo.say(trainer, TEXTS)
    batch = grpo.batch_of(trainer, 0)
    tokenizer = trainer.processing_class.tokenizer
    taught = SFTCollator(trainer.cropper, sft_rows([question]))([{"row": 0}])
    for ids in (batch["prompt_ids"][0], taught["input_ids"][0]):
        assert text in tokenizer.decode(ids)
    assert len(listener.heard) == 4  # three boxes, and the page alone
    for conversation, reply in listener.heard:
        assert reply == answer
        assert conversation.text.splitlines()[0] == text
    said = grpo.judge().whole_inputs.text.replies([Conversation((text,))], [answer])[0]
    assert answer in tokenizer.decode(said)


def test_11_a_malformed_box_is_no_crop_and_a_small_one_not_nothing() -> None:
    """A malformed box is 2x2 pixels in training, 99x99 in evaluation; a small one becomes 0x0."""
    for size, text in itertools.product(
        [(7, 5), (200, 300), (3000, 1000)], [*MALFORMED, "[99, 99, 100, 100].", "[3, 3, 4, 4]."]
    ):
        trained, zoom = grpo.both_ways(asked(Image.new("RGB", size)), text)
        assert [crop.pixels for crop in trained.zoom.crops] == [crop.pixels for crop in zoom.crops]
        if text in MALFORMED:
            assert (zoom.crops, zoom.reason) == ((), "unreadable")
            assert len(trained.zoom.conversation().images) == 1
        else:
            shown = {7: [], 200: [(28, 28)], 3000: [(30, 28)]}[size[0]]
            assert [crop.image.size for crop in zoom.crops] == shown
            (tight,) = rolled(trained.question, text)  # by rules without a smallest side
            assert tight.zoom.crop is not None
            assert min(tight.zoom.crop.image.size) >= 1


def test_12_a_full_stop_after_the_box_makes_no_difference() -> None:
    """Box text needs a trailing "." in one parser and not in another."""
    question = asked(small_models.page(200, 300))
    for text in ("[12, 30, 45, 60]", "[12.5, 30, 45, 60]", "[60, 45, 30, 12]", WHOLE, "[1, 2]"):
        bare, stopped = grpo.both_ways(question, text), grpo.both_ways(question, f"{text}.")
        assert bare[0].proposal.boxes == stopped[0].proposal.boxes == bare[1].proposal.boxes
        assert bare[1].pixels == stopped[1].pixels == stopped[0].zoom.pixels
        for reward in (valid_box, CropArea(1.0), AnswerLikelihood(grpo.Listener([]))):
            assert reward([bare[0]]) == reward([stopped[0]])
    for name in ("percent", "per_mille", "per_mille_yx", "pixels"):
        notation = BoxNotation.from_name(name)
        written = notation.write(Box(0.1, 0.2, 0.3, 0.4), size=(100, 100)).rstrip(".")
        stops = [notation.read(written + end, size=(100, 100)).box for end in ("", ".")]
        assert stops == [Box(0.1, 0.2, 0.3, 0.4)] * 2


def test_13_the_whole_page_is_no_crop_and_no_zoom_can_be_said() -> None:
    """The whole image is a valid box with full reward; there is no "no zoom needed"."""
    listener = grpo.Listener([])
    box, whole, declined = rolled(asked(), TEXTS[0], WHOLE, NO_ZOOM_NEEDED)
    likelihood = AnswerLikelihood(listener)([box, whole, declined])
    assert [len(conversation.images) for conversation, _ in listener.heard] == [2, 1]
    assert valid_box([box, whole, declined]) == [1.0, 0.0, 1.0]
    assert likelihood[1] == likelihood[2]  # what the page alone is worth, without a penalty
    assert CropArea(1.0)([box, whole, declined]) == [pytest.approx(-0.16), -1.0, 0.0]
    assert (whole.zoom.crops, whole.zoom.reason) == ((), "no_zoom_needed")
    assert (declined.zoom.crops, declined.zoom.reason) == ((), "no_zoom_needed")


def test_14_boxes_are_rounded_outward() -> None:
    """Boxes are floored on all four sides: small ones collapse."""
    dice = random.Random(0)
    floored = 0
    for _ in range(300):
        size = dice.randrange(20, 3000), dice.randrange(20, 3000)
        left, top = dice.uniform(0, 0.99), dice.uniform(0, 0.99)
        box = Box(left, top, left + dice.uniform(1e-4, 0.01), top + dice.uniform(1e-4, 0.01))
        floored += int(box.left * 100) == int(box.right * 100)  # the fault
        for name in ("percent", "per_mille", "per_mille_yx", "loc_tokens", "pixels"):
            notation = BoxNotation.from_name(name)
            read = notation.read(notation.write(box, size=size), size=size).box
            assert read is not None
            assert box.covered_by(read) == pytest.approx(1)
        snapped = Box.from_pixels(box.to_pixels(size), size)
        assert box.covered_by(snapped) == pytest.approx(1)
    assert floored > 30


def test_15_a_teachers_pixels_are_those_of_the_picture_it_saw(tmp_path: Path) -> None:
    """Teacher boxes are in the resized image's pixels but divided by the original size."""
    shown: list[tuple[int, int]] = []

    class Pointer:
        def reply(self, conversations: Sequence[Conversation]) -> list[str]:
            found = []
            for conversation in conversations:
                dark = conversation.images[0].convert("L").point(lambda value: 255 * (value < 128))
                shown.append(dark.size)
                found.append(str(list(dark.getbbox() or ())))
            return found

    size, true = (1700, 2203), Box(0.6, 0.7, 0.8, 0.75)
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).rectangle(true.to_pixels(size), fill="black")
    teacher = VLMCropper(Pointer(), BoxNotation.pixels(), input_size=560)
    file = tmp_path / "labelled.jsonl"
    label([AnsweredQuestion(page, "Where?", answers=("x",))], teacher, file)
    grow_labels(file, growth=False)
    (row,) = read_questions(file)
    assert row.boxes[0].iou(true) > 0.9
    assert max(shown[0]) <= 560  # divided by the page's size, the box would be a third of it


def test_16_both_halves_hold_every_data_set() -> None:
    """The SFT/GRPO split is unshuffled, so the halves hold different data sets."""
    rows = [
        AnsweredQuestion(f"/{name}/{number}.png", "What?", set_name=name)
        for name in ("textvqa", "docvqa", "stvqa", "infographicvqa")
        for number in range(40)
    ]
    for half in stratified_split(rows):
        names = [row.set_name for row in half]
        assert {name: names.count(name) for name in names} == dict.fromkeys(names, 20)
        assert len(set(names)) == 4
        assert len(set(names[:20])) == 4  # and in no order
    assert not {row.set_name for row in rows[:80]} & {row.set_name for row in rows[80:]}


def test_17_the_right_answer_is_right_under_every_metric() -> None:
    """The metric gives 0 for "NASA" against "NASA"."""
    metrics = set(get_args(get_type_hints(GRPOSettings)["reward"])) - {"likelihood"}
    assert {"anls", "vqa_accuracy", "exact_match"} < metrics
    for metric in metrics:
        for answers in (("NASA",), ("nasa",), ("ESA", "NASA"), ("NASA",) * 10):
            group = rolled(asked(answers=answers), TEXTS[0])
            assert AnswerScore(ConstantVLM("NASA"), metric)(group) == [1.0]
            assert AnswerScore(ConstantVLM("Roscosmos"), metric)(group) == [0.0]


def test_18_answers_go_with_their_question_in_any_order(tmp_path: Path) -> None:
    """Answers are joined to questions by position."""
    trainer = grpo.trainer_of(tmp_path, [grpo.length])
    said = grpo.questions()
    order = [row["row"] for batch in trainer.get_train_dataloader() for row in batch][:: grpo.GROUP]
    assert sorted(order) == [0, 1, 2, 3] != order  # shuffled
    grpo.batch_of(trainer, *order)
    for row, rollout in zip(trainer._rows, trainer.rollouts, strict=True):
        assert rollout.question.question == said[row].question
        assert rollout.question.answers == said[row].answers
        assert rollout.zoom.image.size == said[row].open().size

    class ByText(Cropper):
        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            return [Proposal((Box(0, 0, len(each.question) / 1000, 1),)) for each in questions]

    file = tmp_path / "labelled.jsonl"
    label(said[:2], ByText(), file)
    label(said[::-1], ByText(), file)  # goes on, with the set in another order
    grow_labels(file, growth=False)
    rows = list(read_questions(file))
    assert sorted(row.question for row in rows) == sorted(row.question for row in said)
    for row in rows:
        assert row.boxes[0].right == pytest.approx(len(row.question) / 1000)

    class Echo:
        def reply(self, conversations: Sequence[Conversation]) -> list[str]:
            heard.extend(conversations)
            return [conversation.text for conversation in conversations]

    heard: list[Conversation] = []
    rollouts = [rolled(replace(row, answers=(row.question,)), TEXTS[0])[0] for row in said]
    reward = AnswerScore(Echo(), lambda reply, answers: float(answers[0] in reply.splitlines()))
    assert reward(rollouts) == reward(rollouts[::-1]) == [1.0] * 4
    assert len(heard) == 4  # the second time, all replies were known


def test_19_it_runs_here_and_every_command_in_the_documents_exists() -> None:
    """FlashAttention and CUDA hard-coded; a model class that is gone; README commands missing."""
    vlm = TransformersVLM.from_pretrained(small_models.whole_vlm())
    assert vlm.model.config._attn_implementation == "sdpa"
    assert grpo.judge().model.device.type == "cpu"
    assert "flash_attn" not in sys.modules
    gone = re.compile(r"Vision2Seq|\.cuda\(\)|attention: str = .flash")
    for file in (ROOT / "cropvlm_core").rglob("*.py"):
        assert not gone.search(file.read_text(encoding="utf-8")), file.name
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [(document.name, *each) for document in documents for each in commands(document)]
    assert len([words for _, words, whole in found if whole]) > 10
    assert [each for each in found if not is_ours(each[1], whole=each[2])] == []
    assert not is_ours(["benchmark", "x"], whole=False)
    assert not is_ours(["zoom", "page.png"], whole=True)
    assert not is_ours(["train", "grpo", "--vllm"], whole=False)
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for script in re.findall(r"(?:python3?|bash) ((?:scripts|examples)/[\w.]+)", text):
            assert (ROOT / script).is_file(), script


def test_20_no_page_is_read_twice_and_no_logits_are_wasted(tmp_path: Path) -> None:
    """5.5x redundant image encoding and full-sequence logits."""
    for vision_learns, passes in ((False, 1), (True, 3)):  # of 18 that TRL makes for a group of 6
        folder = tmp_path / str(passes)
        folder.mkdir()
        trainer = grpo.trainer_of(folder, [grpo.length], group_size=6, lora_vision=vision_learns)
        model = trainer.policy.model
        with small_models.tiles_seen(model.model.vision_model) as tiles:
            with grpo.rows_read(model.lm_head) as rows:
                CropGRPOTrainer.train(trainer)
        assert sum(tiles) == passes * 2  # two questions
        scored = round(trainer.state.log_history[0]["completions/mean_length"] * 12)
        assert sum(rows) <= 2 * 6 * 8 + 2 * scored  # drawn, policy, reference
        shortest = min(len(each.ids) for each in trainer._prompts["train"].values())
        assert 2 * 6 * shortest > sum(rows)  # what one pass over whole sequences would cost
