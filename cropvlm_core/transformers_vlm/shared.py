"""Work shared over a batch: each picture encoded once, each common beginning read once.

A group of rollouts asks the same question about the same page, and differs in a few tokens at the
end. So the common beginning goes through the model once (:func:`read_prefixes`), and every
continuation is read against its keys and values (:func:`log_probabilities`). This is the same
mathematics as reading each row from the start, gradients included; a reward, a reference and a
policy all use it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cropvlm_core.transformers_vlm.inputs import Picture
from cropvlm_core.transformers_vlm.processors import TILED

TILES_AT_ONCE = 32
"""How many tiles the vision tower of a GPU sees at a time; a CPU, whose caches are small, one."""


@dataclass(frozen=True)
class Prefixes:
    """What the model made of several beginnings of different length, padded on the left.

    ``cache``: keys and values, batch U. ``mask``: (U, P), 1 where there is a token. ``last``:
    hidden state of the last token, (U, hidden).
    """

    cache: DynamicCache
    mask: torch.Tensor
    last: torch.Tensor


def can_share(model: Any) -> bool:
    """Whether ``model`` is of the SmolVLM family, whose pictures can be encoded beforehand."""
    return model.config.model_type in TILED and hasattr(getattr(model, "model", None), "text_model")


def encode(model: Any, pictures: Sequence[Picture]) -> list[torch.Tensor]:
    """Encode each distinct picture once; one (tokens, hidden) a picture, in order."""
    distinct = list({id(picture): picture for picture in pictures}.values())
    if not distinct:
        return []
    # A tile is an image of its own here, so that pictures of any number of tiles go together.
    pixels = torch.cat([picture.pixels for picture in distinct]).unsqueeze(1)
    masks = torch.cat([picture.mask for picture in distinct]).unsqueeze(1)
    at_once = 1 if model.device.type == "cpu" else TILES_AT_ONCE
    tiles: list[torch.Tensor] = []
    for start in range(0, len(pixels), at_once):
        part = slice(start, start + at_once)
        seen = model.get_image_features(
            pixels[part].to(model.device), masks[part].to(model.device), return_dict=True
        )
        tiles += seen.pooler_output
    found: dict[int, torch.Tensor] = {}
    for picture in distinct:
        count = len(picture.pixels)
        found[id(picture)] = torch.cat(tiles[:count])
        del tiles[:count]
    return [found[id(picture)] for picture in pictures]


def content(picture: Picture) -> bytes:
    """Return what tells pictures apart by their pixels, whichever object holds them."""
    pixels = picture.pixels.contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(pixels.data, digest_size=16).digest()


def same_vision(one: Any, other: Any) -> bool:
    """Whether two models make the same features of a picture: equal vision towers, bit by bit."""
    towers = [
        {
            name: value
            for part in ("vision_model", "connector")
            for name, value in getattr(model.model, part).state_dict(prefix=part).items()
        }
        for model in (one, other)
    ]
    return towers[0].keys() == towers[1].keys() and all(
        _equal(value, towers[1][name]) for name, value in towers[0].items()
    )


def keep_once(model: Any, other: Any) -> int:
    """Have ``other`` use the frozen weights of ``model`` where they are equal; return the bytes.

    Both must be frozen there for good: a later change of one would change the other.
    """
    known = {
        name.replace(".base_layer.", "."): weight  # what LoRA calls the weight it adapts
        for name, weight in model.named_parameters()
        if not weight.requires_grad
    }
    saved = 0
    for name, weight in other.named_parameters():
        same = known.get(name)
        if same is None or same.device != weight.device or same.data_ptr() == weight.data_ptr():
            continue
        if _equal(same, weight):
            weight.data = same.data
            saved += weight.numel() * weight.element_size()
    return saved


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other.to(one.device))


def read_prefixes(
    model: Any, beginnings: Sequence[Sequence[int]], features: Sequence[torch.Tensor]
) -> Prefixes:
    """Read beginnings, and keep what their continuations need.

    Args:
        model: of the SmolVLM family.
        beginnings: token ids, of any lengths.
        features: of their pictures, in order, as :func:`encode` gives them.
    """
    length = max(map(len, beginnings))
    ids = torch.zeros(len(beginnings), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, beginning in enumerate(beginnings):
        ids[row, length - len(beginning) :] = torch.tensor(beginning)
        mask[row, length - len(beginning) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    cache = DynamicCache(config=model.config)
    hidden = _read(model, ids, mask, features, cache)
    return Prefixes(cache, mask, hidden[:, -1])


def log_probabilities(
    model: Any,
    prefixes: Prefixes,
    index: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    scored: torch.Tensor | None = None,
    features: Sequence[torch.Tensor] = (),
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the tokens of continuations, and the entropy where each was chosen.

    Args:
        model: of the SmolVLM family.
        prefixes: U beginnings.
        index: (B,), which beginning each continuation follows.
        ids: (B, S) tokens, padded on the right.
        mask: (B, S), 1 where there is a token.
        scored: (B, S), which tokens are wanted (all that ``mask`` has): logits over the vocabulary
            are computed for these alone.
        features: of the pictures in the continuations, in order.
        temperature: of the distribution that the tokens were drawn from.

    Returns:
        two (B, S) tensors in float32, zero where ``scored`` is.
    """
    scored = (mask if scored is None else scored).bool()
    cache = DynamicCache(config=model.config)
    for number, layer in enumerate(prefixes.cache.layers):
        cache.update(layer.keys[index], layer.values[index], number)
    whole = torch.cat([prefixes.mask[index], mask], dim=1)
    hidden = _read(model, ids[:, :-1], whole[:, :-1], features, cache)
    before = torch.cat([prefixes.last[index].unsqueeze(1), hidden], dim=1)
    logits = model.lm_head(before[scored]).float() / temperature
    each = torch.log_softmax(logits, dim=-1)
    chosen = each.gather(-1, ids[scored].unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        doubt = -(each.exp() * each).sum(-1)
    zeros = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
    return zeros.masked_scatter(scored, chosen), zeros.masked_scatter(scored, doubt)


def _read(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    features: Sequence[torch.Tensor],
    cache: DynamicCache,
) -> torch.Tensor:
    """Hidden states (rows, tokens, hidden) of ``ids``, which follow what ``cache`` holds.

    ``mask`` covers both. The vocabulary is not touched here.
    """
    if ids.shape[1] == 0:
        return model.get_input_embeddings()(ids)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    pictures = {}
    if features:
        # (tiles, tokens, hidden), which every version takes; lists of pictures only newer ones do
        tokens = torch.cat(list(features))
        tiles = tokens.view(-1, model.model.image_seq_len, tokens.shape[-1])
        pictures = {"image": BaseModelOutputWithPooling(pooler_output=tiles)}
    held = {cache_argument(model): cache}
    read = model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        mm_encoder_outputs=pictures,
        use_cache=True,
        **held,
    )
    return read.last_hidden_state


def cache_argument(model: Any) -> str:
    """What this version of transformers calls the keys and values that it is handed."""
    known = inspect.signature(type(model).forward).parameters
    return "cache" if "cache" in known else "past_key_values"
