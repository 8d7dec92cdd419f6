"""Estimate hours and memory of the paper's runs on one GPU: SmolVLM-256M at 512, 1024, 2048 pixels.

    python scripts/estimate_run.py
    python scripts/estimate_run.py --peak 989 --utilisation 0.2 --questions 5000

Nothing here was timed on a GPU. Counted: the work of each pass of our trainers. Measured, on one
CPU core: preparing a page. Assumed: --utilisation and --launch. Hours are

    questions x (work / (peak x utilisation) + passes x launch / batch + page) / 3600

where the warm start, whose pages other processes prepare, takes the longer of GPU and pages.
"""

import argparse
from dataclasses import dataclass

# Forward passes of SmolVLM-256M, TFLOP. Matrix products and convolutions by torch's FlopCounterMode
# on cropvlm_core.training.small_vlm.SMOLVLM_256M, attention by 4 x layers x length^2 x width.
TILE = 0.176 + 0.039
TILE_LORA = 0.024  # rank 128 on the vision tower's MLPs
TOKEN, TOKEN_LORA = 0.212e-3, 0.078e-3
TOKEN_ATTENTION = 35e-9  # times the length read so far, on average half the prompt's
HEAD = 0.057e-3  # logits of one token

# Kept for the backward pass under bf16, GB; by hooks on saved tensors, on the CPU.
TILE_KEPT, TOKEN_KEPT = 0.485, 1.4e-3
# Weights in fp32 with the adapter, gradient and AdamW's two moments of the adapter, bf16 copies,
# the CUDA context; then the reward model in fp32.
FIXED, REWARD_MODEL = 1.25 + 0.65 + 0.5 + 1.0, 1.05
LOGIT_ROW = 49280 * 10e-9  # GB a token: bf16, fp32 and their gradient
MARGIN = 1.2

GROUP, BOX_TOKENS, ASKED_TOKENS, CROP_TOKENS = 6, 20, 35, 67
GRPO_PASSES = 5  # sampling, reference, and 3 for forward and backward
GRPO_LAUNCHES = BOX_TOKENS + 12  # sequential runs through all layers for one batch
SFT_LAUNCHES = 6
OPENING = 0.03  # s of one CPU core: decoding a page of 1700 x 2200
JUDGED = 0.18  # s of one CPU core: a page and six crops for the reward model at 512 pixels


@dataclass(frozen=True)
class Size:
    """An input size: tiles and image tokens at most, s to prepare a page, questions at a time."""

    edge: int
    tiles: int
    tokens: int
    page: float
    sft_batch: int
    grpo_batch: int


SIZES = (
    Size(512, 1, 67, 0.06, 8, 8),
    Size(1024, 5, 333, 0.13, 4, 4),
    Size(2048, 17, 1127, 0.35, 2, 2),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=62_000, help="of a half (default 62000)")
    parser.add_argument("--peak", type=float, default=312, help="TFLOP/s, bf16 (default 312: A100)")
    parser.add_argument("--utilisation", type=float, default=0.25, help="of it (default 0.25)")
    parser.add_argument("--launch", type=float, default=0.025, help="s a pass (default 0.025)")
    parser.add_argument("--workers", type=int, default=2, help="prepare pages for SFT (default 2)")
    given = parser.parse_args()
    speed = given.peak * given.utilisation
    print("| run | TFLOP a question | GPU at work, h | launches, h | pages, h | **hours** | GB |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        for name, work, launches, page, memory in (
            (
                "SFT",
                sft_work(size),
                SFT_LAUNCHES / size.sft_batch,
                (OPENING + size.page) / given.workers,
                sft_memory(size),
            ),
            (
                "GRPO",
                grpo_work(size),
                GRPO_LAUNCHES / size.grpo_batch,
                OPENING + size.page + JUDGED,
                grpo_memory(size),
            ),
        ):
            hours = [
                given.questions * seconds / 3600
                for seconds in (work / speed, launches * given.launch, page)
            ]
            total = sum(hours) if name == "GRPO" else max(hours[0] + hours[1], hours[2])
            parts = " | ".join(f"{part:.1f}" for part in hours)
            print(f"| {name} {size.edge} | {work:.1f} | {parts} | **{total:.1f}** | {memory:.0f} |")


def reading(tokens: int, *, adapted: bool = True) -> float:
    """TFLOP of one forward pass of the language model over so many tokens."""
    each = TOKEN + TOKEN_LORA * adapted + TOKEN_ATTENTION * tokens / 2
    return tokens * each


def sft_work(size: Size) -> float:
    """TFLOP of one row: forward and backward, logits of every token."""
    tokens = size.tokens + ASKED_TOKENS + BOX_TOKENS
    return 3 * (size.tiles * (TILE + TILE_LORA) + reading(tokens) + tokens * HEAD)


def grpo_work(size: Size) -> float:
    """TFLOP of one question: the page once a pass, six boxes, and the reward model's reading."""
    prompt = size.tiles * (TILE + TILE_LORA) + reading(size.tokens + ASKED_TOKENS)
    boxes = GROUP * reading(BOX_TOKENS)
    judged = (1 + GROUP) * TILE + reading(CROP_TOKENS, adapted=False)
    judged += GROUP * reading(CROP_TOKENS + ASKED_TOKENS, adapted=False)
    return GRPO_PASSES * (prompt + boxes) + judged


def sft_memory(size: Size) -> float:
    """GB at the peak of a step."""
    tokens = size.tokens + ASKED_TOKENS + BOX_TOKENS
    row = size.tiles * TILE_KEPT + tokens * (TOKEN_KEPT + LOGIT_ROW)
    return FIXED + MARGIN * size.sft_batch * row


def grpo_memory(size: Size) -> float:
    """GB at the peak of a step."""
    read = size.tokens + ASKED_TOKENS
    question = size.tiles * TILE_KEPT + read * TOKEN_KEPT
    question += GROUP * BOX_TOKENS * (TOKEN_KEPT + LOGIT_ROW)
    return FIXED + REWARD_MODEL + MARGIN * size.grpo_batch * question


if __name__ == "__main__":
    main()
