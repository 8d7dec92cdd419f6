"""Tiny models with random weights, each built once a session, and what the tests ask them."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any

from PIL import Image

from cropvlm_core.prompts import answer_prompt
from cropvlm_core.vlm import Conversation
from tests.programs import require_package

torch = require_package("torch")
transformers = require_package("transformers")
require_package("jinja2")

import tokenizers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from cropvlm_core.training.small_vlm import SmallVLM, build_small_vlm  # noqa: E402

WHOLE = SmallVLM()
SPLITTING = SmallVLM(splitting=True, tiles=3)


def built(build: Callable[[Path], None]) -> Callable[[], Path]:
    """Have ``build`` fill a folder at the first call, and return that folder at each."""

    @cache
    @wraps(build)
    def folder() -> Path:
        place = Path(tempfile.mkdtemp(prefix="cropvlm-test-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        build(place)
        return place

    return folder


@built
def whole_vlm(folder: Path) -> None:
    """A model of the SmolVLM family that sees each picture as one tile of 64 pixels."""
    build_small_vlm(folder, WHOLE)
    _sharpen(folder)


@built
def splitting_vlm(folder: Path) -> None:
    """One that sees a larger picture as up to 3 x 3 tiles and the whole."""
    build_small_vlm(folder, SPLITTING)
    _sharpen(folder)


@built
def qwen(folder: Path) -> None:
    """A Qwen2.5-VL, in the layout of the Hub: no processor_config.json, a video entry."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    tokenizer = _tokenizer(
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        end="<|im_end|>",
    )
    ids = tokenizer.get_vocab()
    config = transformers.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 48,
            "out_hidden_size": 32,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "vocab_size": len(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 1e6,
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    _save(transformers.Qwen2_5_VLForConditionalGeneration, config, folder)
    tokenizer.chat_template = QWEN_TEMPLATE
    tokenizer.save_pretrained(folder)
    pictures = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
    pictures.save_pretrained(folder)


@built
def paligemma(folder: Path) -> None:
    """A PaliGemma: location tokens, no chat template, a prompt that is read in both directions."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = _tokenizer("<bos>", "<eos>", end="<eos>")
    tokenizer.bos_token = "<bos>"
    pictures = SiglipImageProcessorPil(size={"height": 56, "width": 56}, image_seq_length=16)
    processor = transformers.PaliGemmaProcessor(pictures, tokenizer)
    config = transformers.PaliGemmaConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "image_size": 56,
            "patch_size": 14,
            "projection_dim": 32,
        },
        text_config={
            "model_type": "gemma",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
        },
        projection_dim=32,
        image_token_index=processor.image_token_id,
        image_token_id=processor.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    _save(transformers.PaliGemmaForConditionalGeneration, config, folder)
    processor.save_pretrained(folder)


QWEN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer(*special: str, end: str) -> Any:
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(
        ["What is the total of this receipt? Give a very brief answer."], trainer
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token=end,
        additional_special_tokens=list(special),
        clean_up_tokenization_spaces=False,
    )


def _save(kind: Any, config: Any, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    _sharpen(folder)


def _sharpen(folder: Path) -> None:
    """Random weights of the usual size make every distribution nearly flat; enlarge them."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file(
        {name: weight * 4 if weight.dim() > 1 else weight for name, weight in weights.items()},
        file,
        metadata={"format": "pt"},
    )


def page(width: int, height: int, seed: int = 0) -> Image.Image:
    """A page of coloured noise, in blocks that survive scaling."""
    dice = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (4, 4, 3), generator=dice, dtype=torch.uint8)
    return Image.fromarray(blocks.numpy(), "RGB").resize((width, height), Image.Resampling.NEAREST)


def asked(*images: Image.Image, question: str = "What is the total?") -> Conversation:
    """What a target is asked about pictures."""
    return Conversation((*images, answer_prompt(question)))


@contextmanager
def tiles_seen(module: Any) -> Iterator[list[int]]:
    """How many pictures (or tiles) went through ``module``, call by call."""
    seen: list[int] = []

    def hook(_: Any, arguments: Sequence[Any], named: dict[str, Any]) -> None:
        seen.append(len(named["pixel_values"] if "pixel_values" in named else arguments[0]))

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()
