"""Image tokens: the providers' worked examples, the real processors, sizes of equal cost."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.token_counts import idefics_tiles, idefics_tiles_of
from cropvlm_core.evaluation.tokens import (
    RULES,
    TokenRule,
    image_tokens,
    rule_for,
    size_of_equal_cost,
)
from tests.programs import require_package

SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
A4 = (1240, 1754)

EXAMPLES = [
    # OpenAI, Images and vision, "Calculating costs", tiles (an earlier version of the page)
    ("gpt-4o", (1024, 1024), 765),
    ("gpt-4o", (2048, 4096), 1105),
    ("gpt-4o, low", (4096, 8192), 85),
    # ... patches with a budget of 1,536 (the same page: 1024 and 1452 before the factor)
    ("gpt-4.1-nano", (1024, 1024), math.ceil(1024 * 2.46)),
    ("gpt-4.1-nano", (1800, 2400), math.ceil(1452 * 2.46)),
    ("o4-mini", (1800, 2400), math.ceil(1452 * 1.72)),
    ("gpt-5-mini", (1800, 2400), math.ceil(1452 * 1.2)),
    ("gpt-5-nano", (1800, 2400), 1452 * 3 // 2),
    # ... patches (the page of 2026-09)
    ("gpt-5.4", (1024, 1024), 1229),
    ("gpt-5.4", (2048, 2048), 3000),
    ("gpt-6-astra, high", (1024, 1024), 1229),
    ("gpt-6-astra, high", (2048, 2048), 3000),
    ("gpt-6-astra, high", (4096, 512), 2458),
    # Anthropic, Vision, "Resolution and token cost", and the A4 page of "How Claude resizes":
    # 924 x 1307 pixels
    ("claude", (200, 200), 64),
    ("claude", (1000, 1000), 1296),
    ("claude", (1092, 1092), 1521),
    ("claude", (1920, 1080), 1560),
    ("claude", (2000, 1500), 1564),
    ("claude", (3840, 2160), 1560),
    ("claude", (1075, 1520), 33 * 47),
    ("claude 4.7 and later", (200, 200), 64),
    ("claude 4.7 and later", (1092, 1092), 1521),
    ("claude 4.7 and later", (1920, 1080), 2691),
    ("claude 4.7 and later", (2000, 1500), 3888),
    ("claude 4.7 and later", (3840, 2160), 4784),
    # Google, Image understanding: "3 * 2 = 6" tiles; Media resolution
    ("gemini 2", (384, 384), 258),
    ("gemini 2", (960, 540), 6 * 258),
    ("gemini 3", (64, 64), 1120),
    ("gemini 3, low", (4000, 3000), 280),
    ("gemini 3, medium", (4000, 3000), 560),
    ("gemini 3, ultra high", (4000, 3000), 2240),
    # The base and tile tokens and the limits of the page's other models, by hand
    ("gpt-4o-mini", (1024, 1024), 2833 + 4 * 5667),
    ("gpt-5.1", (512, 513), 70 + 2 * 140),
    ("o3", (1536, 700), 75 + 6 * 150),
    ("computer-use-preview", (10, 10), 65 + 129),
    ("gpt-4.1-mini", (1800, 2400), math.ceil(48 * 64 * 1.62)),
    ("gpt-5.4, low", (4096, 4096), math.ceil(4096 * 1.2)),
    ("gpt-5.4, original", (3200, 3200), 12_000),
    ("gpt-5.5", (6400, 3200), 140 * 70 * 12 // 10),
    ("gpt-5.5, low", (2000, 1000), math.ceil(16 * 8 * 1.2)),
    ("gpt-5.6-sol", (4032, 3024), math.ceil(126 * 95 * 1.2)),
]


@pytest.mark.parametrize(("name", "size", "tokens"), EXAMPLES)
def test_worked_examples(name: str, size: tuple[int, int], tokens: int) -> None:
    assert RULES[name].tokens(size) == tokens


def test_a_request_costs_the_sum_of_its_pictures() -> None:
    assert image_tokens(RULES["gpt-4o"], [(1024, 1024), (2048, 4096)]) == 765 + 1105
    assert image_tokens(RULES["gpt-4o"], []) == 0


def test_every_rule_says_where_it_is_from() -> None:
    assert all(rule.name == name and len(rule.source) > 20 for name, rule in RULES.items())
    with pytest.raises(DataError, match=r"at least 1 x 1 pixels, got \(0, 5\)"):
        RULES["claude"].tokens((0, 5))


@settings(deadline=None)
@given(SIZES, st.sampled_from(list(RULES)))
def test_a_picture_and_its_transpose_cost_the_same(size: tuple[int, int], name: str) -> None:
    rule = RULES[name]
    tokens = rule.tokens(size)
    assert 1 <= tokens < 50_000
    if "vlm" not in name and name != "idefics3":  # there floating point decides
        assert tokens == rule.tokens(size[::-1])


@settings(deadline=None)
@given(SIZES)
def test_budgets_hold(size: tuple[int, int]) -> None:
    for name, most in {
        "claude": 1568,
        "claude 4.7 and later": 4784,
        "gpt-5.4": 3000,
        "gpt-4.1-nano": math.ceil(1536 * 2.46),
        "qwen2-vl": 16_384,
        "qwen3-vl": 16_384,
        "smolvlm": 17 * 64,
    }.items():
        assert RULES[name].tokens(size) <= most


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("openai:gpt-4o", "gpt-4o"),
        ("openai:gpt-4o-2024-11-20@https://proxy.example/v1", "gpt-4o"),
        ("openai:openai/gpt-4o-mini@http://localhost:1/v1", "gpt-4o-mini"),
        ("openai:gpt-4.1-nano-2025-04-14", "gpt-4.1-nano"),
        ("openai:gpt-5-chat-latest", "gpt-5"),
        ("openai:gpt-5.6", "gpt-5.6-sol"),
        ("openai:o1-pro", "o1"),
        ("openai:gpt-5.1-codex-mini", None),
        ("openai:gpt-4o-transcribe", None),
        ("openai:gpt-6-sol", None),
        ("openai:claude-3-5-sonnet-20241022@https://api.anthropic.com/v1/", "claude"),
        ("openai:claude-sonnet-4-20250514", "claude"),
        ("openai:claude-haiku-4-5-20251001", "claude"),
        ("openai:claude-opus-4-7", "claude 4.7 and later"),
        ("openai:anthropic/claude-opus-4.8", "claude 4.7 and later"),
        ("openai:us.anthropic.claude-sonnet-5-v1:0", "claude 4.7 and later"),
        ("openai:claude-opus-5-5", "claude 4.7 and later"),
        ("openai:models/gemini-2.5-flash", "gemini 2"),
        ("openai:gemini-3.1-pro-preview", "gemini 3"),
        ("openai:gemini-4-argon", None),
        ("openai:Qwen/Qwen2.5-VL-7B-Instruct@http://127.0.0.1:8000/v1", "qwen2-vl"),
        ("openai:qwen2.5vl:7b", "qwen2-vl"),
        ("hf:Qwen/Qwen2-VL-2B-Instruct", "qwen2-vl"),
        ("hf:Qwen/Qwen3-VL-8B-Instruct@main", "qwen3-vl"),
        ("hf:HuggingFaceTB/SmolVLM-256M-Instruct", "smolvlm"),
        ("hf:HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "smolvlm"),
        ("hf:HuggingFaceTB/SmolVLM-Instruct", "smolvlm-2b"),
        ("hf:HuggingFaceTB/SmolVLM2-2.2B-Instruct", "smolvlm-2b"),
        ("hf:HuggingFaceM4/Idefics3-8B-Llama3", "idefics3"),
        ("hf:runs/smolvlm-256m-grpo/model", "smolvlm"),
        ("hf:runs/o3/model", None),
        ("hf:google/paligemma2-3b", None),
        ("openai:my-model@https://gpt-4o/v1", None),
        ("tesseract@512", None),
        ("constant:gpt-4o", None),
        ("", None),
    ],
)
def test_targets_are_known_by_name(spec: str, name: str | None) -> None:
    rule = rule_for(spec)
    assert (rule and rule.name) == name


def test_input_size_changes_the_tiles_of_smolvlm_alone() -> None:
    spec = "hf:HuggingFaceTB/SmolVLM-256M-Instruct"
    one_tile, four = rule_for(spec, 512), rule_for(spec, 1024)
    assert one_tile is not None
    assert four is not None
    seen = (362, 512)  # A4 at 512 pixels
    assert (one_tile.name, one_tile.tokens(seen)) == ("smolvlm at 512", 64)
    assert one_tile.tokens((90, 30)) == 64
    assert one_tile.tokens((724, 1024)) == 5 * 64  # a larger page for the same target
    assert four.tokens((724, 1024)) == 5 * 64
    assert four.tokens((90, 30)) == 3 * 64  # a small crop is enlarged to 1024 x 341
    assert RULES["smolvlm"].tokens(seen) == RULES["smolvlm"].tokens(A4) == (3 * 4 + 1) * 64
    assert rule_for("hf:Qwen/Qwen3-VL-8B-Instruct", 512) is RULES["qwen3-vl"]
    assert rule_for("openai:HuggingFaceTB/SmolVLM-256M-Instruct", 512) is RULES["smolvlm"]


def test_smolvlm_sees_a_page_of_equal_cost_no_larger_than_a_tile_allows() -> None:
    rule = rule_for("hf:HuggingFaceTB/SmolVLM-256M-Instruct", 512)
    # a tile for the crop does not pay for the next larger page, of four tiles and the whole
    assert size_of_equal_cost((1240, 1754), [(300, 200)], 512, rule) == (362, 512)
    assert size_of_equal_cost((1240, 1754), [(300, 200)] * 4, 512, rule) == (724, 1024)


@pytest.fixture(scope="module")
def small_tiles() -> Any:
    """A real SmolVLM processor with tiles of 64 pixels, at most 4 x 4 of them, and the whole."""
    require_package("torch")
    require_package("transformers")
    from cropvlm_core.training.small_vlm import SmallVLM, build_small_vlm
    from tests.small_models import transformers

    def build(folder: Path, **shape: Any) -> Any:
        made = build_small_vlm(folder, SmallVLM(splitting=True, tiles=4, **shape))
        return transformers.Idefics3Processor.from_pretrained(made)

    return build


def placeholders(processor: Any, size: tuple[int, int]) -> int:
    """Image tokens that a processor writes for one picture."""
    text = processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}])
    ids = processor(text=text, images=[Image.new("L", size)])["input_ids"]
    return sum(token == processor.image_token_id for token in ids[0])


def test_tiles_are_those_of_the_real_processor(small_tiles: Any, tmp_path: Path) -> None:
    processor = small_tiles(tmp_path)
    sizes = [(256, 256), (1, 500), (500, 1), (64, 64), (65, 256), (256, 65), (193, 256), (7, 5)]
    sizes += [(width, 96 + 7 * width % 101) for width in range(20, 400, 17)]
    sizes += [(256, side) for side in range(62, 70)] + [(side, 256) for side in range(126, 132)]
    for size in sizes:
        counted = idefics_tiles(*size, edge=256, tile=64, tokens=16)
        assert counted == placeholders(processor, size), size


@pytest.mark.parametrize("input_size", [64, 100, 130, 200, 256])
def test_tiles_at_an_input_size_are_those_of_the_real_processor(
    small_tiles: Any, tmp_path: Path, input_size: int
) -> None:
    processor = small_tiles(tmp_path)
    from cropvlm_core.transformers_vlm.processors import set_input_size

    set_input_size(processor, input_size)
    for size in [(300, 420), (700, 200), (90, 90), (40, 30), (1000, 120)]:
        seen = max(size) if max(size) < input_size else input_size
        small = tuple(round(side * seen / max(size)) for side in size)
        counted = idefics_tiles_of(*small, least=input_size, tile=64, tokens=16)
        assert counted == placeholders(processor, size), size


@pytest.mark.parametrize("size", [A4, (300, 100), (2048, 513)])
def test_smolvlm_costs_what_its_processor_writes(
    small_tiles: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    processor = small_tiles(tmp_path, image_size=512, patch=16, scale_factor=4)
    assert placeholders(processor, size) == RULES["smolvlm"].tokens(size)


def qwen_processor(unit: int, least: int, most: int) -> Any:
    require_package("torch")
    require_package("transformers")
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=unit // 2, merge_size=2, size={"shortest_edge": least, "longest_edge": most}
    )


@pytest.mark.parametrize(
    ("name", "unit", "least", "most"),
    [("qwen2-vl", 28, 3136, 12_845_056), ("qwen3-vl", 32, 65_536, 16_777_216)],
)
def test_qwen_costs_what_its_processor_makes(name: str, unit: int, least: int, most: int) -> None:
    processor, rule = qwen_processor(unit, least, most), RULES[name]
    for size in [A4, (5000, 4000), (9000, 300), (20, 30), (14, 1400), (42, 42), (1000, 1001)]:
        patches = processor.get_number_of_image_patches(size[1], size[0])
        assert rule.tokens(size) == patches // 4, size
    pixels = processor([Image.new("RGB", (300, 200))], return_tensors="np")["image_grid_thw"]
    assert rule.tokens((300, 200)) == math.prod(map(int, pixels[0])) // 4


def pixels_of(size: tuple[int, int]) -> int:
    return size[0] * size[1]


@settings(deadline=None)
@given(
    page=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    crops=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=3),
    target_size=st.integers(1, 1000),
    name=st.sampled_from([None, "gpt-4o", "gpt-5.4", "claude", "gemini 2", "qwen2-vl", "smolvlm"]),
    scales_up=st.booleans(),
)
def test_no_larger_page_costs_as_little(
    page: tuple[int, int],
    crops: list[tuple[int, int]],
    target_size: int,
    name: str | None,
    scales_up: bool,
) -> None:
    rule = None if name is None else RULES[name]
    size = size_of_equal_cost(page, crops, target_size, rule, scales_up=scales_up)

    def at(edge: int) -> tuple[int, int]:
        scale = edge / max(page)
        return max(1, round(page[0] * scale)), max(1, round(page[1] * scale))

    def cost(*sizes: tuple[int, int]) -> int:
        return sum(map(pixels_of, sizes)) if rule is None else image_tokens(rule, sizes)

    seen = at(target_size if scales_up else min(target_size, max(page)))
    budget = cost(seen, *crops)
    assert size == at(max(size))
    assert cost(size) <= budget
    assert max(seen) <= max(size) <= max(*page, *seen)
    assert all(cost(at(edge)) > budget for edge in range(max(size) + 1, max(*page, *seen) + 1))


def test_pages_of_equal_cost() -> None:
    # 366 x 512 and 512 x 512 are one tile each; for what two pictures cost (510) there is a page
    # of two tiles (425)
    assert size_of_equal_cost((3500, 4900), [(512, 512)], 512, RULES["gpt-4o"]) == (512, 717)
    # twice the pixels
    assert size_of_equal_cost((1000, 1000), [(500, 500)], 500, None) == (707, 707)
    assert size_of_equal_cost((600, 300), [(500, 500)], 500, None) == (600, 300)
    # the target enlarges small pages, and more would show nothing new
    assert size_of_equal_cost((300, 200), [(512, 512)], 512, None) == (300, 200)
    assert size_of_equal_cost((300, 200), [(512, 512)], 512, None, scales_up=True) == (512, 341)
    # nothing costs more than anything else
    assert size_of_equal_cost((3000, 2000), [(9, 9)], 512, RULES["gemini 3"]) == (3000, 2000)


def test_a_rule_that_charges_a_larger_page_less() -> None:
    dip = TokenRule("dip", "made up", lambda width, _: 1 if width == 777 else width)
    assert size_of_equal_cost((1000, 500), [(10, 10)], 100, dip) == (777, 388)


@pytest.mark.parametrize(("page", "target_size"), [((0, 5), 9), ((5, 5), 0)])
def test_sizes_below_a_pixel_are_refused(page: tuple[int, int], target_size: int) -> None:
    with pytest.raises(DataError, match="at least 1 pixel, got"):
        size_of_equal_cost(page, [], target_size, None)
