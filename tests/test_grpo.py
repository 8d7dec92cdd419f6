"""GRPO with shared work is TRL's GRPO: the same loss and gradients, for a fraction of the work."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.box import NO_ZOOM_NEEDED, Box, BoxNotation
from cropvlm_core.errors import DataError, ModelError
from cropvlm_core.questions import AnsweredQuestion
from tests import small_models
from tests.programs import require_package

torch = require_package("torch")
for _package in ("transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from cropvlm_core.training.grpo import CropGRPOTrainer  # noqa: E402
from cropvlm_core.training.rewards import AnswerLikelihood, valid_box  # noqa: E402
from cropvlm_core.training.rollouts import Rollout  # noqa: E402
from cropvlm_core.training.runs import LANGUAGE, VISION  # noqa: E402
from cropvlm_core.training.small_vlm import build_small_vlm  # noqa: E402
from cropvlm_core.transformers_vlm import (  # noqa: E402
    CropperSettings,
    TransformersCropper,
    TransformersVLM,
    shared,
)

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks transformers under a name that transformers is giving up
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

GROUP = 4
CHECKPOINTING = (
    "activation_checkpointing"  # what newer versions of transformers call it
    if "activation_checkpointing" in {field.name for field in dataclasses.fields(GRPOConfig)}
    else "gradient_checkpointing"
)
LORA = {
    "language": LANGUAGE,
    "language and vision": f"{LANGUAGE}|{VISION}",
    "every weight": None,
}


@small_models.built
def other_vlm(folder: Path) -> None:
    """Of the same shape as ``whole_vlm``, with weights of its own."""
    build_small_vlm(folder, small_models.WHOLE, seed=1)


def questions(count: int = 4) -> list[AnsweredQuestion]:
    """Pages of different shape, prompts of different length."""
    return [
        AnsweredQuestion(
            small_models.page(70 + 50 * number, 160 - 20 * number, number),
            "What is the total" + ", and please be exact," * number + "?",
            answers=(f"{number}: NASA",),
        )
        for number in range(count)
    ]


def arguments(folder: Path, **changed: Any) -> GRPOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "beta": 0.04,
        "temperature": 0.8,
        "num_generations": GROUP,
        "per_device_train_batch_size": 2 * GROUP,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 10,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        CHECKPOINTING: False,
        "disable_dropout": True,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return GRPOConfig(**settings | changed)


def adapter(targets: str | None) -> LoraConfig | None:
    if targets is None:
        return None
    return LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=targets)


def length(rollouts: Sequence[Rollout]) -> list[float | None]:
    return [float(len(rollout.text)) for rollout in rollouts]


def shared_trainer(
    model: Path, folder: Path, targets: str | None = LANGUAGE, **changed: Any
) -> CropGRPOTrainer:
    cropper = TransformersCropper(TransformersVLM.from_pretrained(model, device="cpu"))
    return CropGRPOTrainer(
        cropper,
        questions(),
        [length],
        arguments(folder, **changed),
        peft_config=adapter(targets),
    )


def stock_trainer(model: Path, folder: Path, targets: str | None, **changed: Any) -> GRPOTrainer:
    policy = TransformersVLM.from_pretrained(model, device="cpu")
    return GRPOTrainer(
        model=policy.model,
        reward_funcs=[lambda prompts, **_: [0.0] * len(prompts)],
        args=arguments(folder, **changed),
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": "x"}]]}),
        processing_class=policy.processor,
        peft_config=adapter(targets),
    )


def asked(rows: Sequence[int]) -> list[dict[str, Any]]:
    """What TRL hands on of its data."""
    return [{"prompt": [{"role": "user", "content": "?"}], "row": row} for row in rows]


def rolled_out(trainer: CropGRPOTrainer, rows: Sequence[int]) -> dict[str, Any]:
    """What the trainer samples and scores for questions, without image tokens in what it wrote.

    A model with random weights may write them, and TRL then looks for more pictures.
    """
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2
    image = trainer.policy.model.config.image_token_id
    while True:
        batch = trainer._generate_and_score_completions(asked(rows))
        if not bool((batch["completion_ids"] == image).any()):
            return batch


def as_stock(trainer: CropGRPOTrainer, batch: dict[str, Any]) -> dict[str, Any]:
    """The same batch as TRL holds it: the pixels of every row."""
    pictures = [trainer._prompts["train"][row].pictures[0] for row in batch["rows"].tolist()]
    most = max(len(picture.pixels) for picture in pictures)

    def stacked(tensors: Sequence[Any]) -> Any:
        rows = [torch.cat([t, t.new_zeros(most - len(t), *t.shape[1:])]) for t in tensors]
        return torch.stack(rows)

    return {name: value for name, value in batch.items() if name != "rows"} | {
        "pixel_values": stacked([picture.pixels for picture in pictures]),
        "pixel_attention_mask": stacked([picture.mask for picture in pictures]),
        "num_images": [1] * len(pictures),
    }


@pytest.mark.parametrize("loss_type", ["dr_grpo", "grpo"])
@pytest.mark.parametrize("targets", LORA.values(), ids=LORA)
@pytest.mark.parametrize("model", [small_models.whole_vlm, small_models.splitting_vlm])
def test_loss_and_gradients_are_those_of_trl(
    tmp_path: Path, model: Any, targets: str | None, loss_type: str
) -> None:
    torch.manual_seed(0)
    ours = shared_trainer(model(), tmp_path, targets, loss_type=loss_type)
    stock = stock_trainer(model(), tmp_path, targets, loss_type=loss_type)
    with torch.no_grad():  # LoRA starts as nothing; a test of gradients must not
        for weight in ours.model.parameters():
            if weight.requires_grad:
                weight += torch.randn_like(weight) * 0.02
    stock.model.load_state_dict(ours.model.state_dict())
    stock.model.train()
    stock.current_gradient_accumulation_steps = 2

    batch = rolled_out(ours, [0] * GROUP + [3] * GROUP)
    assert len({int(n) for n in batch["prompt_mask"].sum(-1)}) == 2  # padded on the left
    batch["advantages"] = torch.randn(2 * GROUP)
    same = as_stock(ours, batch)
    mine, theirs = ours._compute_loss(ours.model, batch), stock._compute_loss(stock.model, same)
    mine.backward()  # type: ignore[no-untyped-call]
    theirs.backward()
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-4, abs=1e-7)
    gradients = [
        {name: w.grad for name, w in trainer.model.named_parameters() if w.grad is not None}
        for trainer in (ours, stock)
    ]
    assert gradients[0].keys() == gradients[1].keys()
    off = sum(((gradients[0][n] - gradients[1][n]) ** 2).sum() for n in gradients[0])
    whole = sum((each**2).sum() for each in gradients[1].values())
    assert whole.item() > 0
    assert float((off / whole).sqrt()) < 1e-4


@pytest.mark.parametrize("targets", LORA.values(), ids=LORA)
def test_reference_is_the_model_started_from(tmp_path: Path, targets: str | None) -> None:
    trainer = shared_trainer(small_models.whole_vlm(), tmp_path, targets)
    before = TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    trainer.train()
    trainer.model.train()
    batch = rolled_out(trainer, [1] * GROUP)
    ids, mask = batch["completion_ids"], batch["completion_mask"]
    prompt = trainer._prompts["train"][1]
    with torch.no_grad():
        for row in range(GROUP):
            reply = ids[row][mask[row].bool()]
            whole = torch.cat([torch.tensor(prompt.ids), reply]).unsqueeze(0)
            logits = before.model(
                input_ids=whole,
                pixel_values=prompt.pictures[0].pixels.unsqueeze(0),
                pixel_attention_mask=prompt.pictures[0].mask.unsqueeze(0),
            ).logits[0, -len(reply) - 1 : -1]
            expected = (logits / 0.8).log_softmax(-1).gather(-1, reply.unsqueeze(-1)).squeeze(-1)
            found = batch["ref_per_token_logps"][row][mask[row].bool()]
            assert torch.allclose(found, expected, atol=1e-4)
    moved = trainer._compute_loss(trainer.model, batch | {"advantages": torch.zeros(GROUP)})
    assert moved.item() > 0  # the policy has moved, and what is left of the loss is the divergence


def test_samples_come_from_the_distribution_that_is_scored(tmp_path: Path) -> None:
    """The first token of many samples is as frequent as its log-probability says."""
    trainer = shared_trainer(
        small_models.whole_vlm(),
        tmp_path,
        num_generations=512,
        per_device_train_batch_size=512,
        max_completion_length=1,
        gradient_accumulation_steps=1,
    )
    torch.manual_seed(0)
    trainer.model.train()
    batch = trainer._generate_and_score_completions(asked([0] * 512))
    with torch.no_grad():
        scored, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            1,
        )
    tokens, chances = batch["completion_ids"][:, 0], scored[:, 0].exp()
    for token in tokens.unique():
        chance = float(chances[tokens == token][0])
        share = float((tokens == token).float().mean())
        assert abs(share - chance) < 5 * (chance * (1 - chance) / 512) ** 0.5 + 1e-3


@pytest.mark.parametrize(
    ("targets", "passes"), [(LANGUAGE, 1), (f"{LANGUAGE}|{VISION}", 3)], ids=["frozen", "trained"]
)
def test_each_page_is_encoded_once_a_pass(tmp_path: Path, targets: str, passes: int) -> None:
    """TRL encodes it 18 times for G = 6: to sample, for the loss, for the reference."""
    trainer = shared_trainer(
        small_models.whole_vlm(), tmp_path, targets, max_steps=1, gradient_accumulation_steps=1
    )
    with small_models.tiles_seen(trainer.policy.model.model.vision_model) as tiles:
        trainer.train()
    assert sum(tiles) == passes * 2  # two questions a step


def test_groups_stay_together_and_change_their_order(tmp_path: Path) -> None:
    trainer = shared_trainer(small_models.whole_vlm(), tmp_path)
    orders = set()
    for _ in range(8):
        trainer._buffered_inputs = None
        rows = [number for number in range(4) for _ in range(GROUP)]
        trainer.model.train()
        trainer._prepare_inputs(asked(rows))
        parts = [part["rows"].tolist() for part in trainer._buffered_inputs]
        for part in parts:
            assert part[:GROUP] == [part[0]] * GROUP
            assert part[GROUP:] == [part[GROUP]] * GROUP
        orders.add(tuple(row for part in parts for row in part[::GROUP]))
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3)}
    assert len(orders) > 1


def test_a_group_that_is_split_over_batches_gives_the_same_gradient(tmp_path: Path) -> None:
    def gradient(rows_at_once: int) -> Any:
        torch.manual_seed(0)
        trainer = shared_trainer(small_models.whole_vlm(), tmp_path)
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        torch.manual_seed(1)
        batch = rolled_out(trainer, [0] * GROUP + [2] * GROUP)
        for start in range(0, 2 * GROUP, rows_at_once):
            part = slice(start, start + rows_at_once)
            some = {k: v[part] if v.dim() else v for k, v in batch.items()}
            loss = trainer._compute_loss(trainer.model, some) * rows_at_once
            loss.backward()  # type: ignore[no-untyped-call]
        return torch.cat([w.grad.flatten() for w in trainer.model.parameters() if w.requires_grad])

    whole, split = gradient(2 * GROUP), gradient(2)
    assert torch.allclose(whole, split, rtol=1e-3, atol=1e-6 * float(whole.abs().max()) + 1e-9)


def test_rewards_see_the_crops_of_inference(tmp_path: Path) -> None:
    """The trainer's rollouts are what the cropper's own reading makes of the same text."""
    seen: list[Rollout] = []

    def watched(rollouts: Sequence[Rollout]) -> list[float | None]:
        seen.extend(rollouts)
        return [0.0] * len(rollouts)

    cropper = TransformersCropper(
        TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu"),
        CropperSettings(no_zoom=True),
    )
    trainer = CropGRPOTrainer(
        cropper, questions(), [watched], arguments(tmp_path), peft_config=adapter(LANGUAGE)
    )
    box = Box(0.2, 0.3, 0.6, 0.5)
    texts = [BoxNotation.percent.write(box), "[7, 7", NO_ZOOM_NEEDED, "[60, 50, 20, 30]."]
    tokenizer = cropper.vlm.processor.tokenizer
    written = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    trainer._generate_single_turn = lambda *_, **__: (written, None)  # type: ignore[method-assign]
    trainer.model.train()
    trainer._generate_and_score_completions(asked([1] * 4))
    assert [rollout.text for rollout in seen] == texts
    assert [rollout.proposal.reason for rollout in seen] == [
        None,
        "unreadable",
        "no_zoom_needed",
        None,
    ]
    assert [rollout.repaired for rollout in seen] == [False, False, False, True]
    assert seen[0].proposal.boxes == (box,)
    assert seen[0].zoom.box == seen[3].zoom.box
    assert trainer.rollouts == seen
    assert len(trainer.advantages) == 4


def test_it_follows_the_reward(tmp_path: Path) -> None:
    """Where only one first token is rewarded, it becomes likelier."""
    cropper = TransformersCropper(
        TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    )

    def digits(rollouts: Sequence[Rollout]) -> list[float | None]:
        return [float(sum(map(str.isdigit, rollout.text))) for rollout in rollouts]

    trainer = CropGRPOTrainer(
        cropper,
        questions(),
        [digits],
        arguments(
            tmp_path,
            max_steps=30,
            learning_rate=1e-2,
            num_generations=16,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=1,
            lr_scheduler_type="constant",
            beta=0.0,
            seed=1,
        ),
        peft_config=adapter(LANGUAGE),
    )
    trainer.train()
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 1


def test_missing_rewards_are_not_zero(tmp_path: Path) -> None:
    """Not alone, nor beside others; a reward that no rollout of a question has is left out."""
    values = {"judge": [3.0, None, 1.0, None, None, None, None, None]}
    values["format"] = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]

    def judge(_: Sequence[Rollout]) -> list[float | None]:
        return list(values["judge"])

    def form(_: Sequence[Rollout]) -> list[float | None]:
        return list(values["format"])

    cropper = TransformersCropper(
        TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    )
    trainer = CropGRPOTrainer(
        cropper, questions(), [judge, form], arguments(tmp_path), peft_config=adapter(LANGUAGE)
    )
    batch = rolled_out(trainer, [0] * GROUP + [1] * GROUP)
    assert batch["advantages"].tolist() == [1.5, 0, -1.5, 0, 0.5, 0.5, -0.5, -0.5]
    assert trainer.reward_values["judge"] == values["judge"]


@pytest.mark.parametrize(
    ("judged_by", "targets", "pages"),
    [
        (small_models.whole_vlm, LANGUAGE, 0),  # the policy's own tower, frozen: it saw the page
        (small_models.whole_vlm, f"{LANGUAGE}|{VISION}", 1),
        (other_vlm, LANGUAGE, 1),
    ],
    ids=["same tower", "tower learns", "another tower"],
)
def test_a_likelihood_reward_encodes_page_and_each_crop_once(
    tmp_path: Path, judged_by: Any, targets: str, pages: int
) -> None:
    judge = TransformersVLM.from_pretrained(judged_by(), device="cpu")
    cropper = TransformersCropper(
        TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    )
    trainer = CropGRPOTrainer(
        cropper,
        questions(),
        [AnswerLikelihood(judge), valid_box],
        arguments(tmp_path),
        peft_config=adapter(targets),
    )
    texts = ["[10, 10, 50, 50].", "[10, 10, 50, 50].", "[60, 60, 90, 90].", "[0, 20, 30, 80]."]
    tokenizer = cropper.vlm.processor.tokenizer
    written = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    trainer._generate_single_turn = lambda *_, **__: (written, None)  # type: ignore[method-assign]
    trainer.model.train()
    with small_models.tiles_seen(judge.model.model.vision_model) as tiles:
        trainer._generate_and_score_completions(asked([1] * 4))
    assert sum(tiles) == pages + 3
    values = trainer.reward_values
    alone = TransformersVLM.from_pretrained(judged_by(), device="cpu")
    expected = AnswerLikelihood(alone)(trainer.rollouts)
    assert values["answer_likelihood"] == pytest.approx(expected, abs=1e-4)
    assert values["valid_box"] == [1.0] * 4
    assert values["answer_likelihood"][0] == values["answer_likelihood"][1]


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    cropper = TransformersCropper(
        TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    )
    with pytest.raises(DataError, match="at least one question"):
        CropGRPOTrainer(cropper, [], [length], arguments(tmp_path))
    with pytest.raises(DataError, match="at least 4 questions, which one step takes, got 3"):
        CropGRPOTrainer(cropper, questions(3), [length], arguments(tmp_path))
    unanswered = [AnsweredQuestion(small_models.page(60, 60), "What?", id="q7")] * 4
    with pytest.raises(DataError, match="q7"):
        CropGRPOTrainer(cropper, unanswered, [length], arguments(tmp_path))
    with pytest.raises(DataError, match="gradient_checkpointing"):
        CropGRPOTrainer(
            cropper, questions(), [length], arguments(tmp_path, **{CHECKPOINTING: True})
        )
    with pytest.raises(ValueError, match="a __name__ of its own"):
        CropGRPOTrainer(cropper, questions(), [length, length], arguments(tmp_path))
    other = TransformersCropper(TransformersVLM.from_pretrained(small_models.qwen(), device="cpu"))
    with pytest.raises(ModelError, match="SmolVLM family"):
        CropGRPOTrainer(other, questions(), [length], arguments(tmp_path))


def test_equal_frozen_weights_are_kept_once(tmp_path: Path) -> None:
    judge = TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    trainer = shared_trainer(small_models.whole_vlm(), tmp_path)
    before = judge.model.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    saved = shared.keep_once(trainer.policy.model, judge.model)
    assert saved == sum(w.numel() * w.element_size() for w in judge.model.parameters())
    assert shared.keep_once(trainer.policy.model, judge.model) == 0
    trainer.train()
    after = judge.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    other = TransformersVLM.from_pretrained(other_vlm(), device="cpu")
    assert shared.keep_once(trainer.policy.model, other.model) < saved / 10  # norms, all ones


def test_weights_that_learn_are_not_shared(tmp_path: Path) -> None:
    judge = TransformersVLM.from_pretrained(small_models.whole_vlm(), device="cpu")
    trainer = shared_trainer(small_models.whole_vlm(), tmp_path, None)
    assert shared.keep_once(trainer.policy.model, judge.model) == 0


def test_bf16_draws_from_what_it_scores(tmp_path: Path) -> None:
    """Sampling, reference and loss compute in one dtype, and so do the features of the pages."""
    trainer = shared_trainer(small_models.whole_vlm(), tmp_path, bf16=True, max_steps=1)
    seen: list[tuple[bool, Any]] = []
    layer = trainer.policy.model.model.text_model.layers[0].self_attn.q_proj.base_layer
    layer.register_forward_hook(
        lambda _, __, made: seen.append((torch.is_grad_enabled(), made.dtype))
    )
    tower = trainer.policy.model.model.vision_model.encoder.layers[0].self_attn.q_proj
    tower.register_forward_hook(
        lambda _, __, made: seen.append((torch.is_grad_enabled(), made.dtype))
    )
    trainer.train()
    assert {grad for grad, _ in seen} == {True, False}
    assert {dtype for _, dtype in seen} == {torch.bfloat16}
