"""``cropvlm train``: train a cropper, split question sets, render pages."""

import argparse

from cropvlm_core.cli import train_embedded, train_grpo, train_sft, train_split


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its sub-commands."""
    parser = commands.add_parser(
        "train",
        help="train a cropper",
        description="Train a cropper: the embedded one (needs the extra finetune: pip install "
        "'cropvlm[finetune]'), or one that is a vision-language model (needs the extra train).",
    )
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    train_embedded.add_parsers(kinds)
    train_split.add_parser(kinds)
    train_sft.add_parser(kinds)
    train_grpo.add_parser(kinds)
