"""Train the frozen reader of the learning demonstration, and say what it can read.

    python scripts/train_reader.py --out scripts/demonstration_reader

About 20 minutes on one CPU core; the result is 2.1 MB and is kept in the repository.
"""

import argparse
import time
from pathlib import Path


def main() -> None:
    """Train, and print the mean log-likelihood of the true answer by what is shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the reader's folder")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pages", type=int, default=256, help="new pages to measure on")
    given = parser.parse_args()

    from cropvlm_core.training.demonstration.reader import landscape, train_reader
    from cropvlm_core.training.demonstration.teaching import Course
    from cropvlm_core.transformers_vlm import TransformersVLM

    start = time.monotonic()
    losses: list[float] = []

    def told(step: int, loss: float) -> None:
        losses.append(loss)
        if step % 100 == 0:
            mean = sum(losses[-100:]) / 100
            print(f"step {step}  loss {mean:.3f}  {time.monotonic() - start:.0f} s", flush=True)

    train_reader(given.out, Course(given.steps), told=told)
    reader = TransformersVLM.from_pretrained(
        given.out, device="cpu", dtype="float32", batch_size=64
    )
    for view, value in landscape(reader, given.pages).items():
        print(f"{value:8.3f}  {view}")


if __name__ == "__main__":
    main()
