"""From a folder or a Hub id to a processor: on the Pillow back end, and for pictures alone."""

from __future__ import annotations

import os
from typing import Any

from transformers import AutoConfig, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.processing_utils import ProcessorMixin

from cropvlm_core.transformers_vlm.weights import base_of_adapter, told_plainly

TILED = ("idefics3", "smolvlm")
"""Model types that cut a picture into tiles: SmolVLM is ``idefics3``, SmolVLM2 ``smolvlm``."""

PALIGEMMA_TEMPLATE = (
    "{% for message in messages %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}"
)
"""PaliGemma has none: its processor wants the pictures first, and ends the prompt itself."""


def load_processor(
    name: str | os.PathLike[str], *, revision: str | None = None, input_size: int | None = None
) -> ProcessorMixin:
    """Load the processor of a folder or Hub id, on the Pillow back end.

    Other back ends resize differently, and boxes would move with what happens to be installed.

    Args:
        name: folder or Hub id; of a folder with an adapter, the base model's processor is taken.
        revision: branch, tag or commit on the Hub.
        input_size: longest edge in pixels that the model shall see. For models that cut pictures
            into tiles: one tile up to the size of a tile, else the tiles plus the whole.

    Raises:
        WeightsError: there is no processor.
    """
    name = base_of_adapter(name) or name
    with told_plainly(name):
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        if config.model_type in TILED:
            processor: Any = _tiled_processor(name, revision, config)
        else:
            kind = _kind(name, revision, config)
            processor = kind.from_pretrained(
                name, revision=revision, backend="pil", trust_remote_code=False
            )
            if config.model_type == "paligemma" and not processor.chat_template:
                processor.chat_template = PALIGEMMA_TEMPLATE
        processor.tokenizer.padding_side = "left"
    if input_size is not None:
        set_input_size(processor, input_size)
    return processor


def set_input_size(processor: Any, input_size: int) -> None:
    """Make a processor show pictures of ``input_size`` pixels, longest edge, without a change.

    One that cuts pictures into tiles scales them itself. For any other they are scaled before
    they reach it, and where it has a cap on pixels (Qwen-VL) that is raised: a box in pixels would
    be of another picture.
    """
    images = processor.image_processor
    if isinstance(images, Idefics3ImageProcessorPil):
        tile = images.max_image_size["longest_edge"]
        images.size = {"longest_edge": max(input_size, tile)}
        images.do_image_splitting = input_size > tile
    elif "shortest_edge" in (size := dict(getattr(images, "size", None) or {})):
        size["longest_edge"] = max(size.get("longest_edge") or 0, input_size**2)
        images.size = size


def _tiled_processor(name: str | os.PathLike[str], revision: str | None, config: Any) -> Any:
    """Built by hand: AutoProcessor asks for torchvision (SmolVLM2), or for what is installed."""
    vision = config.vision_config
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    template = getattr(tokenizer, "chat_template", None)
    if template is None:  # the older layout keeps it beside the processor
        found, _ = Idefics3Processor.get_processor_dict(name, revision=revision)
        template = found.get("chat_template")
    return Idefics3Processor(
        Idefics3ImageProcessorPil.from_pretrained(name, revision=revision),
        tokenizer,
        image_seq_len=(vision.image_size // vision.patch_size) ** 2 // config.scale_factor**2,
        chat_template=template,
    )


def _kind(name: str | os.PathLike[str], revision: str | None, config: Any) -> Any:
    """The class of a checkpoint's processor, without its part for videos.

    That part has no back end but torchvision, and would be loaded with the rest.
    """
    told, _ = ProcessorMixin.get_processor_dict(name, revision=revision)
    kind = processor_class_from_name(str(told.get("processor_class")))
    if kind is None and type(config) in PROCESSOR_MAPPING:
        kind = PROCESSOR_MAPPING[type(config)]
    if kind is None:
        return AutoProcessor
    parts = kind.get_attributes()
    if "video_processor" not in parts:
        return kind
    pictures = [part for part in parts if part != "video_processor"]
    own = {"get_attributes": classmethod(lambda _: pictures), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), own)
