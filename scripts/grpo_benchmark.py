"""What a GRPO step costs: TRL's own trainer beside CropGRPOTrainer, at SmolVLM-256M's shape.

    python scripts/grpo_benchmark.py --out runs/grpo-benchmark

Each row runs in a process of its own, one after the other, on one thread: the same random weights,
pages, questions, G = 6 boxes a question and reward, so that the loss and the norm of the gradient
must come out the same. The weights are random and so is what they would write; both trainers do
the work of sampling, and their samples are then replaced by the same boxes, which a reward can use.

``stock``: TRL's GRPOTrainer, and the answer's log-likelihood as one would write it first: page and
crop through the processor for every rollout, one forward pass over the batch, logits of everything.
``shared``: CropGRPOTrainer and AnswerLikelihood. cpu-seconds are process time, loading apart.

The reward model is frozen. As ``own`` it is the checkpoint that the policy starts from: then, where
LoRA leaves the vision tower alone, the policy's features of a page serve the reward too, and equal
frozen weights are kept once. As ``other`` it has weights of its own, and nothing is common.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUP = 6
CASES = (("language", "own"), ("language", "other"), ("language and vision", "own"))
"""What LoRA adapts, and whose weights the reward model has."""


def main() -> None:
    """Run every row, or one of them when called by itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and figures")
    parser.add_argument("--prompts", type=int, default=2, help="questions measured (default 2)")
    parser.add_argument("--input-size", type=int, default=512, help="longest edge (default 512)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda (then in bfloat16)")
    parser.add_argument("--shape", choices=("smolvlm-256m", "tiny"), default="smolvlm-256m")
    parser.add_argument(
        "--row", nargs=3, metavar=("TRAINER", "LORA", "JUDGE"), help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure(given, *given.row)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in CASES:
        for trainer in ("stock", "shared"):
            command = [sys.executable, *sys.argv, "--row", trainer, *case]
            said = subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                env=os.environ | {"OMP_NUM_THREADS": str(given.threads)},
            )
            rows.append(json.loads(said.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    (given.out / "figures.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows, given))


def build(given: argparse.Namespace, judge: str) -> Path:
    """Write a random model once: the policy's, or one of the same shape for the reward alone."""
    from cropvlm_core.training.small_vlm import SMOLVLM_256M, SmallVLM, build_small_vlm

    folder: Path = given.out / f"{given.shape}-{judge}"
    if not (folder / "config.json").exists():
        shape = SMOLVLM_256M if given.shape == "smolvlm-256m" else SmallVLM()
        build_small_vlm(folder, shape, seed=0 if judge == "own" else 1)
    return folder


def measure(
    given: argparse.Namespace, trainer_name: str, lora: str, judge_name: str
) -> dict[str, Any]:
    """One row: figures of a few steps of one trainer."""
    import torch
    from peft import LoraConfig
    from PIL import Image
    from trl import GRPOConfig, GRPOTrainer

    from cropvlm_core.box import Box, BoxNotation
    from cropvlm_core.questions import AnsweredQuestion
    from cropvlm_core.training.grpo import CropGRPOTrainer
    from cropvlm_core.training.rewards import AnswerLikelihood
    from cropvlm_core.training.rollouts import roll_out
    from cropvlm_core.training.runs import LANGUAGE, VISION
    from cropvlm_core.transformers_vlm import (
        CropperSettings,
        TransformersCropper,
        TransformersVLM,
        shared,
    )

    torch.set_num_threads(given.threads)
    policy, judge = (
        TransformersVLM.from_pretrained(
            build(given, name),
            device=given.device,
            dtype=dtype,
            input_size=given.input_size,
            batch_size=GROUP,
        )
        # as a run loads them: weights that learn in fp32, those of the reward as the device likes
        for name, dtype in (("own", "float32"), (judge_name, None))
    )
    judge.model.requires_grad_(False)
    chance = random.Random(0)
    torch.manual_seed(0)
    questions = [
        AnsweredQuestion(
            Image.effect_noise((1240, 1754), 60 + number).convert("RGB"),
            f"What is the total amount of invoice {number}?",
            answers=(f"{chance.uniform(1, 999):.2f}",),
        ).opened()
        for number in range(given.prompts)
    ]
    texts = []
    for _ in range(given.prompts * GROUP):
        left, top = chance.uniform(0.1, 0.5), chance.uniform(0.1, 0.5)
        box = Box(left, top, left + chance.uniform(0.1, 0.4), top + chance.uniform(0.1, 0.4))
        texts.append(BoxNotation.percent.write(box))
    tokenizer = policy.processor.tokenizer
    written = [
        tokenizer(f" {text}<end_of_utterance>", add_special_tokens=False)["input_ids"]
        for text in texts
    ]
    longest = max(map(len, written))
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = clock(given.device)
            try:
                return call(*args, **kwargs)
            finally:
                seconds[name] += clock(given.device) - start

        run.__name__ = getattr(call, "__name__", name)
        return run

    class Written:
        """Samples as its trainer does, and returns the boxes prepared above."""

        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            timed("sampling", super()._generate_single_turn)(*args, **kwargs)  # type: ignore[misc]
            return written, None

        def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
            name = "loss, forward" if torch.is_grad_enabled() else "reference"
            return timed(name, super()._get_per_token_logps_and_entropies)(*args, **kwargs)  # type: ignore[misc]

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
            return timed("reward", super()._calculate_rewards)(*args, **kwargs)  # type: ignore[misc]

    def naive(completions: list[Any], row: list[int], **_: Any) -> list[float]:
        """The log-likelihood of the answers, without a thought for cost."""
        rollouts = roll_out(
            [questions[number] for number in row],
            [completion[0]["content"] for completion in completions],
            notation=BoxNotation.percent,
            rules=CropperSettings().rules,
        )
        scores = []
        for start in range(0, len(rollouts), GROUP):
            group = rollouts[start : start + GROUP]
            answers = [rollout.question.answers[0] for rollout in group]
            texts, images = [], []
            for rollout, answer in zip(group, answers, strict=True):
                seen = rollout.zoom.conversation()
                images.append(list(seen.images))
                asked = [{"type": "image"} for _ in seen.images]
                said = [{"type": "text", "text": answer}]
                messages = [
                    {"role": "user", "content": [*asked, {"type": "text", "text": seen.text}]},
                    {"role": "assistant", "content": said},
                ]
                template = judge.processor.apply_chat_template
                texts.append(template(messages, tokenize=False).rstrip())
            batch = judge.processor(text=texts, images=images, padding=True, return_tensors="pt")
            counts = judge.token_counts(answers)
            with torch.no_grad():
                logits = judge.model(**batch.to(judge.model.device)).logits.float()
            chances = torch.log_softmax(logits[:, :-1], dim=-1)
            chosen = chances.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
            scores += [
                float(line[-count:].sum()) for line, count in zip(chosen, counts, strict=True)
            ]
        return scores

    bf16 = given.device != "cpu"
    args = GRPOConfig(
        output_dir=str(given.out / "trainer"),
        loss_type="dr_grpo",
        scale_rewards="none",
        beta=0.01,
        temperature=0.8,
        num_generations=GROUP,
        per_device_train_batch_size=GROUP,
        gradient_accumulation_steps=given.prompts,
        max_completion_length=longest,
        generation_kwargs={"min_new_tokens": longest},
        learning_rate=5e-6,
        max_steps=1,
        logging_steps=1,
        use_cpu=not bf16,
        bf16=bf16,
        gradient_checkpointing=False,
        disable_dropout=True,
        shuffle_dataset=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=1,
    )
    adapted = LANGUAGE if lora == "language" else f"{LANGUAGE}|{VISION}"
    peft_config = LoraConfig(r=128, lora_alpha=256, lora_dropout=0.05, target_modules=adapted)
    if trainer_name == "shared":
        kind = type("Shared", (Written, CropGRPOTrainer), {})
        trainer = kind(
            TransformersCropper(policy), questions, [AnswerLikelihood(judge)], args,
            peft_config=peft_config,
        )  # fmt: skip
        shared.keep_once(policy.model, judge.model)  # as a run of ours does
    else:
        from datasets import Dataset

        from cropvlm_core.prompts import cropper_prompt

        content = [cropper_prompt(question.question) for question in questions]
        data = Dataset.from_dict(
            {
                "prompt": [[{"role": "user", "content": text}] for text in content],
                "image": [question.open() for question in questions],
                "row": list(range(len(questions))),
            }
        )
        kind = type("Stock", (Written, GRPOTrainer), {})
        trainer = kind(
            model=policy.model, reward_funcs=[naive], args=args, train_dataset=data,
            processing_class=policy.processor, peft_config=peft_config,
        )  # fmt: skip
    if given.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    start = clock(given.device)
    trainer.train()
    total = clock(given.device) - start
    last = trainer.state.log_history[0]
    if given.device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds["the rest (backward, optimiser, preparing pages)"] = total - sum(seconds.values())
    return {
        "trainer": trainer_name,
        "lora": lora,
        "judge": judge_name,
        "prompts": given.prompts,
        "seconds": total / given.prompts,
        "parts": {name: value / given.prompts for name, value in seconds.items()},
        "peak_mb": peak,
        "loss": last["loss"],
        "grad_norm": last["grad_norm"],
        "reward": last["reward"],
    }


def clock(device: str) -> float:
    """cpu-seconds of this process; on a GPU seconds, with the GPU's queue empty."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def table(rows: list[dict[str, Any]], given: argparse.Namespace) -> str:
    """Both trainers side by side, in Markdown."""
    import torch
    import transformers
    import trl

    unit = "cpu-s" if given.device == "cpu" else "s"
    lines = [
        f"{given.shape}, random weights, G={GROUP}, {given.input_size} px, {given.device}, "
        f"{given.threads} thread(s), {given.prompts} prompts; {platform.machine()}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}",
    ]
    for lora, judge in CASES:
        pair = [row for row in rows if (row["lora"], row["judge"]) == (lora, judge)]
        lines += ["", f"LoRA on {lora}; reward model: {judge}", ""]
        lines += ["| a prompt | TRL + plain reward | ours | ratio |", "|---|---|---|---|"]
        for name in pair[0]["parts"]:
            lines.append(_line(f"{name}, {unit}", [row["parts"].get(name, 0.0) for row in pair]))
        rest = [row["seconds"] - row["parts"]["reward"] for row in pair]
        lines.append(_line(f"all but the reward, {unit}", rest))
        lines.append(_line(f"**all, {unit}**", [row["seconds"] for row in pair]))
        lines.append(_line("peak memory, MB", [row["peak_mb"] for row in pair]))
        for name in ("grad_norm", "reward"):
            stock, shared = (f"{row[name]:.7g}" for row in pair)
            lines.append(f"| {name} | {stock} | {shared} | |")
    return "\n".join(lines)


def _line(label: str, pair: list[float]) -> str:
    stock, shared = pair
    return f"| {label} | {stock:.1f} | {shared:.1f} | {stock / max(shared, 1e-9):.2f} |"


if __name__ == "__main__":
    main()
