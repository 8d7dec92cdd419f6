"""Image tokens: what pictures cost a target, by the rules that providers publish.

Each rule counts the tokens of one picture from its size in pixels, as it is sent: the provider's
own resizing is part of the rule. Where a provider's pages disagree, the current one counts:

- OpenAI: the current page gives ``gpt-4.1-mini`` 6,144 patches and ``gpt-5-mini`` and
  ``gpt-5-nano`` the factors 1.2 and 1.5; an earlier version gave 1,536 patches, 1.62 and
  2.46. The models that are to be shut down are still in the current table of factors, but not in
  the one of sizes: for those the 1,536 patches of the earlier page stand, and so do the tiles of
  ``gpt-4.5`` and ``computer-use-preview``. GPT-6 Sol, GPT-6 Luna and later ones have no published
  rule yet. Bills may differ by one token; more than 30,000 patches are refused.
- Anthropic: until 2026 the pages said width * height / 750 after a resize to 1568 pixels and about
  1,600 tokens. The current one counts patches of 28 pixels, and two tiers of models.
- Google: the page on images has the "rough formula" used here for Gemini 2.x. An earlier one kept
  a tile between 256 and 768 pixels (the lower bound is kept here: without it a narrow strip costs
  without end), the page on media resolution says 256 plus at most about 2,048, and users have been
  billed 258 whatever the size (googleapis/python-genai#1349). For Gemini 3 the numbers are upper
  bounds of what a picture costs; Gemini 4 is left out.
- Qwen-VL, SmolVLM, Idefics3: no bills, but what the processors of the checkpoints write: the image
  tokens alone, without the few marks of rows and columns around them. Whoever serves such a model
  may have set other limits.
"""

import functools
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.evaluation.token_counts import (
    Size,
    anthropic_patches,
    fixed,
    gemini_tiles,
    idefics_tiles,
    idefics_tiles_of,
    openai_patches,
    openai_tiles,
    qwen_patches,
    scaled,
)

_OPENAI = "OpenAI, Images and vision: developers.openai.com/api/docs/guides/images-vision (2026-09)"
_ANTHROPIC = "Anthropic, Vision: platform.claude.com/docs/en/build-with-claude/vision (2026-09)"
_GEMINI_2 = (
    "Google, Image understanding: ai.google.dev/gemini-api/docs/image-understanding (2026-09)"
)
_GEMINI_3 = "Google, Media resolution: ai.google.dev/gemini-api/docs/media-resolution (2026-09)"
_QWEN = "Qwen2VLImageProcessor of transformers with preprocessor_config.json of {}"
_IDEFICS = "Idefics3Processor of transformers with preprocessor_config.json of {}"


@dataclass(frozen=True)
class TokenRule:
    """What one picture costs a family of models.

    ``name``: as in :data:`RULES`. ``source``: the provider's page and when it was read.
    ``count``: tokens from width and height.
    """

    name: str
    source: str
    count: Callable[[int, int], int] = field(repr=False)

    def tokens(self, size: Size) -> int:
        """Return the image tokens of a picture of ``size``, width and height in pixels.

        Raises:
            DataError: a side is below 1.
        """
        if min(size) < 1:
            raise DataError(f"expected a size of at least 1 x 1 pixels, got {shorten(size)}")
        return self.count(*size)


def image_tokens(rule: TokenRule, sizes: Iterable[Size]) -> int:
    """Return the image tokens of a request with pictures of ``sizes`` (width, height in pixels)."""
    return sum(rule.tokens(size) for size in sizes)


def size_of_equal_cost(
    page: Size,
    crops: Sequence[Size],
    target_size: int,
    rule: TokenRule | None,
    *,
    scales_up: bool = False,
) -> Size:
    """Return the size at which the page alone costs what page and crops cost together.

    That is the page at the largest longest edge, aspect kept, whose cost is at most that of the
    page at ``target_size`` plus that of the crops. A few rules charge a larger picture less, so
    every edge counts, not only those below the first that is too dear. The page never gets larger
    than it is, for there is nothing more to see, or than the target would have made it; then it
    may cost less than page and crops.

    Args:
        page: width and height of the page in pixels.
        crops: of each crop, as the target sees it.
        target_size: longest edge in pixels at which the target sees the page.
        rule: None: a picture costs its pixels.
        scales_up: whether the target also enlarges smaller pages to ``target_size``.

    Raises:
        DataError: a side is below 1.
    """
    if min(page) < 1 or target_size < 1:
        raise DataError(
            f"expected a page and a target size of at least 1 pixel, got {shorten(page)} and "
            f"{shorten(target_size)}"
        )
    least = target_size if scales_up else min(target_size, max(page))
    most = max(least, *page)
    if rule is None:
        pixels = math.prod(scaled(page, least)) + sum(map(math.prod, crops))
        edges = range(least, most + 1)
        return scaled(page, edges[bisect_left(edges, True, key=_dearer(page, pixels)) - 1])
    budget = image_tokens(rule, (scaled(page, least), *crops))
    return scaled(page, _largest_edge(rule, page, budget, least, most))


@functools.lru_cache(maxsize=4096)  # several croppers and questions ask for the same page
def _largest_edge(rule: TokenRule, page: Size, budget: int, least: int, most: int) -> int:
    edges = range(most, least, -1)
    return next((edge for edge in edges if rule.tokens(scaled(page, edge)) <= budget), least)


def _dearer(page: Size, pixels: int) -> Callable[[int], bool]:
    return lambda edge: math.prod(scaled(page, edge)) > pixels


_TILES = {
    "gpt-4o": (85, 170),
    "gpt-4o-mini": (2833, 5667),
    "gpt-4.1": (85, 170),
    "gpt-4.5": (85, 170),
    "gpt-5": (70, 140),
    "gpt-5.1": (70, 140),
    "o1": (75, 150),
    "o3": (75, 150),
    "computer-use-preview": (65, 129),
}
"""Tokens at any size, and more for each tile."""

_LOW, _HIGH, _EARLIER, _WIDE = (512, None), (2048, 2500), (2048, 1536), (2048, 6144)
_LARGE, _ANY = (6000, 10_000), (65_535, None)
_5_4 = {"auto": _HIGH, "original": _LARGE, "low": _WIDE}
_5_6 = {"auto": _ANY, "high": _HIGH, "low": _LOW}
_PATCHES: Mapping[str, tuple[int, Mapping[str, tuple[int, int | None]]]] = {
    "gpt-4.1-mini": (162, {"auto": _WIDE}),
    "gpt-4.1-nano": (246, {"auto": _EARLIER}),
    "o4-mini": (172, {"auto": _EARLIER}),
    "gpt-5-mini": (120, {"auto": _EARLIER}),
    "gpt-5-nano": (150, {"auto": _EARLIER}),
    "gpt-5.2": (120, {"auto": _WIDE}),
    "gpt-5.4": (120, _5_4),
    "gpt-5.4-mini": (120, _5_4),
    "gpt-5.4-nano": (120, _5_4),
    "gpt-5.5": (120, {"auto": _LARGE, "high": _HIGH, "low": _LOW}),
    "gpt-5.6-sol": (120, _5_6),
    "gpt-5.6-terra": (120, _5_6),
    "gpt-5.6-luna": (120, _5_6),
    "gpt-6-astra": (120, {"auto": _ANY, "high": (65_535, 2500), "low": _LOW}),
}
"""Percent of a token for a patch; by detail, the longest edge in pixels and the most patches."""

_LATER = "claude 4.7 and later"
_CLAUDE = {"claude": (1568, 1568), _LATER: (2576, 4784)}
"""Longest edge in pixels and most patches."""

_GEMINI = {"auto": 1120, "low": 280, "medium": 560, "high": 1120, "ultra high": 2240}
_QWENS = {
    "qwen2-vl": (28, 3136, 12_845_056, "Qwen/Qwen2-VL-7B-Instruct and Qwen/Qwen2.5-VL-7B-Instruct"),
    "qwen3-vl": (32, 65_536, 16_777_216, "Qwen/Qwen3-VL-8B-Instruct"),
}
"""Side of a token in pixels, least and most pixels of a picture."""

_IDEFICS3 = {
    "smolvlm": (2048, 512, 64, "HuggingFaceTB/SmolVLM-256M-Instruct"),
    "smolvlm-2b": (1536, 384, 81, "HuggingFaceTB/SmolVLM-Instruct"),
    "idefics3": (1456, 364, 169, "HuggingFaceM4/Idefics3-8B-Llama3"),
}
"""Longest edge and side of a tile in pixels, tokens of a tile; SmolVLM2 as SmolVLM."""


def _named(model: str, detail: str) -> str:
    return model if detail == "auto" else f"{model}, {detail}"


def _rules() -> Iterable[TokenRule]:
    part = functools.partial
    for model, (base, tile) in _TILES.items():
        yield TokenRule(model, _OPENAI, part(openai_tiles, base=base, tile=tile))
        yield TokenRule(_named(model, "low"), _OPENAI, part(fixed, tokens=base))
    for model, (percent, details) in _PATCHES.items():
        for detail, (edge, most) in details.items():
            count = part(openai_patches, percent=percent, edge=edge, budget=most)
            yield TokenRule(_named(model, detail), _OPENAI, count)
    for name, (edge, budget) in _CLAUDE.items():
        yield TokenRule(name, _ANTHROPIC, part(anthropic_patches, edge=edge, budget=budget))
    yield TokenRule("gemini 2", _GEMINI_2, gemini_tiles)
    for detail, tokens in _GEMINI.items():
        yield TokenRule(_named("gemini 3", detail), _GEMINI_3, part(fixed, tokens=tokens))
    for name, (unit, least, most, checkpoint) in _QWENS.items():
        count = part(qwen_patches, unit=unit, least=least, most=most)
        yield TokenRule(name, _QWEN.format(checkpoint), count)
    for name, (edge, side, tokens, checkpoint) in _IDEFICS3.items():
        count = part(idefics_tiles, edge=edge, tile=side, tokens=tokens)
        yield TokenRule(name, _IDEFICS.format(checkpoint), count)


RULES: Mapping[str, TokenRule] = MappingProxyType({rule.name: rule for rule in _rules()})
"""All rules by name. OpenAI's are named by model, for ``detail: auto`` unless the name says."""

_SNAPSHOT = r"(?:-latest|-preview)?(?:-20\d\d-\d\d-\d\d)?(?::\w+)?$"
_SERVED = (
    (re.compile(rf"({'|'.join(map(re.escape, (*_TILES, *_PATCHES)))}){_SNAPSHOT}"), None),
    (re.compile(rf"gpt-5-chat{_SNAPSHOT}"), "gpt-5"),
    (re.compile(rf"gpt-5\.6{_SNAPSHOT}"), "gpt-5.6-sol"),
    (re.compile(rf"o1-pro{_SNAPSHOT}"), "o1"),
    (re.compile(r"(?:\w+\.)*claude-(?:[a-z]+-)?(?:[5-9]|\d\d|4[-.](?:[7-9]|\d\d))(?!\d)"), _LATER),
    (re.compile(r"(?:\w+\.)*claude-(?:[a-z]+-)?\d"), "claude"),
    (re.compile(r"gemini-2\.\d"), "gemini 2"),
    (re.compile(r"gemini-3(?:\.\d)?-"), "gemini 3"),
)
_OPEN = (
    (re.compile(r"qwen2(?:\.5)?-?vl(?:[-:]|$)"), "qwen2-vl"),
    (re.compile(r"qwen3-?vl(?:[-:]|$)"), "qwen3-vl"),
    (re.compile(r"smolvlm2?-(?:256|500)m-"), "smolvlm"),
    (re.compile(r"smolvlm(?:2-2\.2b)?-(?:instruct|base|synthetic)"), "smolvlm-2b"),
    (re.compile(r"idefics3-"), "idefics3"),
)
"""Names of models, the first that fits; without a rule's name, the model's own is that."""


def rule_for(target_spec: str, input_size: int | None = None) -> TokenRule | None:
    """Return the rule for the target that ``target_spec`` names, None where none is known.

    Models are known by their public names (``openai:gpt-4o@URL``, ``hf:Qwen/Qwen2.5-VL-3B-...``),
    also as a folder in a path. A variant whose rule is not published, ``tesseract@N`` and
    ``constant:TEXT`` have none. For OpenAI it is the rule of ``detail: auto``, as this package
    never says another.

    Args:
        target_spec: as :func:`cropvlm_core.loading.load_target` takes it.
        input_size: longest edge in pixels, where an ``hf:`` target was loaded with one. SmolVLM
            and Idefics3 then cut into tiles what they see at that size, and the rule takes the
            sizes at which pictures are seen; without it they enlarge each picture first. To other
            models it makes no difference.
    """
    kind, _, rest = target_spec.partition(":")
    known = {"openai": (*_SERVED, *_OPEN), "hf": _OPEN}.get(kind, ())
    for name in re.split(r"@https?://", rest.lower())[0].split("/"):
        for pattern, rule in known:
            if match := pattern.match(name):
                found = RULES[rule or match[1]]
                return found if kind == "openai" else at_input_size(found, input_size)
    return None


def at_input_size(rule: TokenRule, input_size: int | None) -> TokenRule:
    """Return ``rule`` for a model on this machine that was loaded with ``input_size``, if it was.

    SmolVLM and Idefics3 cut pictures of that size into tiles; to others it is the size sent.
    """
    if input_size is None or rule.name not in _IDEFICS3:
        return rule
    _, tile, tokens, _ = _IDEFICS3[rule.name]
    count = functools.partial(idefics_tiles_of, least=input_size, tile=tile, tokens=tokens)
    return replace(rule, name=f"{rule.name} at {input_size}", count=count)
