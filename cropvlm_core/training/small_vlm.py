"""A Hugging Face checkpoint of SmolVLM's architecture with random weights, made without network.

The architecture is Idefics3 (SmolVLM-256M and -500M are Idefics3 checkpoints): a SigLIP vision
tower, a connector that folds ``scale_factor`` x ``scale_factor`` patches into one image token, a
Llama language model. Tests build it tiny; the learning demonstration trains it from scratch; a
benchmark builds the real shape, :data:`SMOLVLM_256M`, because cost does not depend on weights.

The tokenizer is a byte-level BPE trained here on a few sentences. It splits digits singly and
names its special tokens as SmolVLM's does, so that box text has the same tokens; otherwise its
vocabulary is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.prompts import answer_prompt, cropper_prompt

CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'] is string %}{{ ': ' + message['content'] }}{% else %}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""Writes conversations as SmolVLM's template does; plain text content is allowed as well."""

_UNKNOWN, _BEGIN, _PAD, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>"
_IMAGE = "<image>"
_PLACES = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
_SPECIAL = ["<fake_token_around_image>", _IMAGE, "<global-img>", *_PLACES, _END]
_MOST_TILES = 6  # a side: the processor has no names for more

_TEXTS = (
    "<row> User: Assistant: What is the total amount on this receipt? No zoom needed.",
    "What number is on the red card? Which word stands on the sign in the background?",
    cropper_prompt("Who signed the form, and when was it signed?"),
    answer_prompt("What is the name of the person in the table?"),
    "[0, 1, 2, 3]. (4, 5), 67.89 [100, 20, 34, 56]. left top right bottom \n\n",
)


@dataclass(frozen=True)
class SmallVLM:
    """The shape of a model; lengths in pixels, widths in features.

    ``image_size``: side of the square that each image, or tile of one, is resized to. ``patch``:
    side of a patch. ``scale_factor``: patches a side that become one image token. ``splitting``:
    whether a larger image is cut into tiles, at most ``tiles`` a side, seen beside the whole
    image. ``vocabulary``: rows of the embedding, at least what the tokenizer needs; None: exactly.
    ``spread``: standard deviation of the weights; a narrow model trained from nothing learns much
    sooner with 0.06.

    Raises:
        DataError: the parts do not fit each other.
    """

    image_size: int = 64
    patch: int = 8
    scale_factor: int = 2
    splitting: bool = False
    tiles: int = 2
    vision_hidden: int = 48
    vision_layers: int = 2
    vision_heads: int = 2
    vision_intermediate: int = 96
    hidden: int = 48
    layers: int = 2
    heads: int = 2
    key_value_heads: int = 2
    intermediate: int = 96
    positions: int = 2048
    rope_theta: float = 10_000.0
    tied: bool = True
    vocabulary: int | None = None
    spread: float = 0.02

    def __post_init__(self) -> None:
        """Check what no library would say plainly."""
        if self.image_size % (self.patch * self.scale_factor):
            raise DataError(
                f"expected image_size as a multiple of patch * scale_factor = "
                f"{self.patch * self.scale_factor}, got {shorten(self.image_size)}"
            )
        if not 1 <= self.tiles <= _MOST_TILES:
            raise DataError(f"expected 1..{_MOST_TILES} tiles a side, got {shorten(self.tiles)}")

    @property
    def image_tokens(self) -> int:
        """Image tokens of one tile."""
        return (self.image_size // self.patch // self.scale_factor) ** 2


SMOLVLM_256M = SmallVLM(
    image_size=512,
    patch=16,
    scale_factor=4,
    splitting=False,
    tiles=4,
    vision_hidden=768,
    vision_layers=12,
    vision_heads=12,
    vision_intermediate=3072,
    hidden=576,
    layers=30,
    heads=9,
    key_value_heads=3,
    intermediate=1536,
    positions=8192,
    rope_theta=100_000.0,
    tied=False,
    vocabulary=49_280,
)
"""The shape of SmolVLM-256M-Instruct: 256,484,928 parameters; one tile of 512 pixels."""


def build_small_vlm(
    folder: Path, shape: SmallVLM | None = None, *, seed: int = 0, texts: Iterable[str] = ()
) -> Path:
    """Write a complete checkpoint with random weights: the same bytes for the same arguments.

    ``AutoModelForImageTextToText`` and ``Idefics3Processor`` load it. torch's random state is left
    as it was.

    Args:
        folder: where to; made if missing.
        shape: the model's shape; None: the defaults of :class:`SmallVLM`, about 0.1 M parameters.
        seed: of the weights.
        texts: more texts from which the tokenizer learns its words.

    Returns:
        ``folder``.

    Raises:
        DataError: ``shape.vocabulary`` is smaller than what the tokenizer needs.
    """
    shape = shape or SmallVLM()
    tokenizer = _tokenizer([*_TEXTS, *texts])
    processor = _processor(shape, tokenizer)
    vocabulary = shape.vocabulary or len(tokenizer)
    if vocabulary < len(tokenizer):
        raise DataError(
            f"expected a vocabulary of at least {len(tokenizer)} rows, got {shorten(vocabulary)}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Idefics3ForConditionalGeneration(model_config(shape, tokenizer, vocabulary))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,  # never reached: every merge of so few texts is kept
        special_tokens=[_UNKNOWN, _BEGIN, _PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token=_UNKNOWN,
        bos_token=_BEGIN,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=_SPECIAL,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _processor(shape: SmallVLM, tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    edge = shape.image_size
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": edge * (shape.tiles if shape.splitting else 1)},
        max_image_size={"longest_edge": edge},
        do_image_splitting=shape.splitting,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return Idefics3Processor(
        pictures, tokenizer, image_seq_len=shape.image_tokens, chat_template=CHAT_TEMPLATE
    )


def model_config(
    shape: SmallVLM, tokenizer: PreTrainedTokenizerFast, vocabulary: int
) -> Idefics3Config:
    """The configuration of a model of ``shape`` whose embedding has ``vocabulary`` rows."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return Idefics3Config(
        vision_config={
            "image_size": shape.image_size,
            "patch_size": shape.patch,
            "hidden_size": shape.vision_hidden,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": shape.vision_heads,
            "intermediate_size": shape.vision_intermediate,
            "initializer_range": shape.spread,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "intermediate_size": shape.intermediate,
            "initializer_range": shape.spread,
            "max_position_embeddings": shape.positions,
            "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": shape.tied,
            **special,
        },
        scale_factor=shape.scale_factor,
        image_token_id=tokenizer.get_vocab()[_IMAGE],
        tie_word_embeddings=shape.tied,
        **special,
    )
