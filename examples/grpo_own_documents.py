"""Train a cropper on your own documents with GRPO: page images, questions and answers, no boxes.

A CSV with the columns file, question, answer names images in a folder; several right answers are
separated by "|". `pip install '.[train,api]'` first::

    export OPENAI_API_KEY=...
    python examples/grpo_own_documents.py pages/ questions.csv --model runs/sft/model --out runs/own
    python examples/grpo_own_documents.py ... --reward-model hf:HuggingFaceTB/SmolVLM-256M-Instruct

--model is a cropper that writes boxes already (docs/training.md); a model behind an API judges by
the answer it gives (ANLS), one on this machine by the log-likelihood of yours. A tenth of the pages
is held out, and measured before and after. Watch OUT/run/samples while it trains.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from cropvlm_core import AnsweredQuestion
from cropvlm_core.errors import DataError
from cropvlm_core.questions import write_questions
from cropvlm_core.training.run_settings import GRPOSettings
from cropvlm_core.training.split import stratified_split


def main(argv: Sequence[str] | None = None) -> None:
    """Make a question set, train, and tell where the cropper is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="of page images")
    parser.add_argument("table", type=Path, help="CSV: file, question, answer")
    parser.add_argument("--model", required=True, help="cropper to start from: a folder or Hub id")
    parser.add_argument("--reward-model", default="openai:gpt-4.1-nano")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--max-steps", type=int, help="end after so many steps")
    given = parser.parse_args(argv)

    train, held_out = stratified_split(read_table(given.table, given.folder), share=0.9)
    given.out.mkdir(parents=True, exist_ok=True)
    write_questions(given.out / "train.jsonl", train)
    write_questions(given.out / "held_out.jsonl", held_out)
    print(f"{len(train)} questions to train on, {len(held_out)} held out")

    from cropvlm_core.training.grpo_run import train_grpo  # torch and trl: seconds to import

    settings = GRPOSettings(
        model=given.model,
        data=str(given.out / "train.jsonl"),
        held_out=str(given.out / "held_out.jsonl"),
        reward="likelihood" if given.reward_model.startswith("hf:") else "anls",
        reward_model=given.reward_model,
        epochs=given.epochs,
        max_steps=given.max_steps,
        batch_size=2,
        gradient_accumulation=4,  # 8 questions a step, with 6 boxes each
        area_price=0.1,  # the whole page costs a tenth, so that crops stay small
        save_steps=25,
        sample_steps=5,
        log_steps=1,
    )
    # rewards=[...] takes functions of your own: rollouts in, one number each out.
    outcome = train_grpo(settings, given.out / "run", resume=True)
    print(f"{outcome.steps} steps; figures in {given.out / 'run' / 'held_out.jsonl'}")
    print(f"cropvlm zoom IMAGE QUESTION --cropper hf:{given.out / 'run' / 'model'}")


def read_table(table: Path, folder: Path) -> Iterator[AnsweredQuestion]:
    """The questions of a CSV; every image must be there before hours are spent."""
    with table.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            file, question, answer = (row.get(key) for key in ("file", "question", "answer"))
            if not file or not question or not answer:
                raise DataError(f"{table.name}:{number}: expected file, question and answer")
            if not (folder / file).is_file():
                raise DataError(f"{table.name}:{number}: expected an image {file} in {folder}")
            yield AnsweredQuestion(
                folder / file,
                question,
                id=str(number),
                doc=file,
                answers=tuple(part.strip() for part in answer.split("|") if part.strip()),
            )


if __name__ == "__main__":
    main()
