"""The checkpoint with random weights: complete, the same each time, and of SmolVLM's ways."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.errors import DataError
from cropvlm_core.prompts import cropper_prompt
from tests.programs import require_package

torch = require_package("torch")
transformers = require_package("transformers")
require_package("jinja2")

from cropvlm_core.training.small_vlm import (  # noqa: E402
    SMOLVLM_256M,
    SmallVLM,
    build_small_vlm,
    model_config,
)

QUESTION = cropper_prompt("What is the total?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_vlm(tmp_path_factory.mktemp("small"))


def processor_of(folder: Path) -> Any:
    return transformers.Idefics3Processor.from_pretrained(folder)


def model_of(folder: Path) -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(folder)


def rendered(processor: Any, *images: Image.Image) -> Any:
    parts = [{"type": "image", "image": image} for image in images]
    talk = [{"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}]
    return processor.apply_chat_template(
        talk, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def test_it_loads_and_generates(folder: Path) -> None:
    model, processor = model_of(folder), processor_of(folder)
    batch = rendered(processor, Image.new("RGB", (200, 100), "red"))
    written = model.generate(**batch, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert written.shape == (1, batch["input_ids"].shape[1] + 5)
    assert model.config.model_type == "idefics3"
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    assert processor.tokenizer.padding_side == "left"


def test_the_answer_depends_on_the_image(folder: Path) -> None:
    model, processor = model_of(folder), processor_of(folder)
    red, blue = (
        model(**rendered(processor, Image.new("RGB", (64, 64), colour))).logits
        for colour in ("red", "blue")
    )
    assert not torch.allclose(red, blue)


def test_a_conversation_is_written_as_smolvlm_writes_it(folder: Path) -> None:
    processor = processor_of(folder)
    talk = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Ann"}]},
    ]
    assert processor.apply_chat_template(talk) == (
        "<|im_start|>User:<image>Who?<end_of_utterance>\nAssistant: Ann<end_of_utterance>\n"
    )
    assert processor.apply_chat_template(
        [{"role": "user", "content": "Who?"}], add_generation_prompt=True
    ) == ("<|im_start|>User: Who?<end_of_utterance>\nAssistant:")


def test_box_text_has_one_token_a_digit(folder: Path) -> None:
    tokenizer = processor_of(folder).tokenizer
    text = BoxNotation.percent.write(Box(0.12, 0.3, 0.45, 1))
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    assert [token for token in tokens if token.isdigit()] == list("123045100")
    assert len(tokens) <= 20  # with the end, fits the paper's 32 new tokens


@pytest.mark.parametrize("text", ["naïve café 12 €", "\t漢字 😀\n\n two  spaces", "\x00\x7f"])
def test_every_text_comes_back(folder: Path, text: str) -> None:
    tokenizer = processor_of(folder).tokenizer
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_two_images_are_two_tiles(folder: Path) -> None:
    page = Image.new("RGB", (300, 200))
    batch = rendered(processor_of(folder), page, page.crop((0, 0, 50, 40)))
    assert batch["pixel_values"].shape == (1, 2, 3, 64, 64)
    image = model_of(folder).config.image_token_id
    assert int((batch["input_ids"] == image).sum()) == 2 * SmallVLM().image_tokens


def test_splitting_shows_tiles_beside_the_whole(tmp_path: Path) -> None:
    folder = build_small_vlm(tmp_path / "made" / "here", SmallVLM(splitting=True))
    model, processor = model_of(folder), processor_of(folder)
    batch = rendered(processor, Image.new("RGB", (300, 300)))
    assert batch["pixel_values"].shape == (1, 5, 3, 64, 64)
    image = int((batch["input_ids"] == model.config.image_token_id).sum())
    assert image == 5 * SmallVLM().image_tokens
    assert model(**batch).logits.isfinite().all()


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = build_small_vlm(tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)
    other = build_small_vlm(tmp_path / "other", seed=1)
    files = {file.name for file in folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "processor_config.json"} <= files
    for name in sorted(files):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    weights = [(each / "model.safetensors").read_bytes() for each in (folder, other)]
    assert weights[0] != weights[1]


def test_own_texts_become_words(tmp_path: Path, folder: Path) -> None:
    own = build_small_vlm(tmp_path, texts=["turquoise hexagon"] * 2)
    lengths = [len(processor_of(each).tokenizer(" hexagon")["input_ids"]) for each in (own, folder)]
    assert lengths[0] == 1 < lengths[1]


def test_the_real_shape_has_the_real_number_of_parameters(folder: Path) -> None:
    tokenizer = processor_of(folder).tokenizer
    with torch.device("meta"):
        model = transformers.Idefics3ForConditionalGeneration(
            model_config(SMOLVLM_256M, tokenizer, 49_280)
        )
    assert sum(weight.numel() for weight in model.parameters()) == 256_484_928
    assert SMOLVLM_256M.image_tokens == 64


def test_a_larger_vocabulary_leaves_the_tokenizer_small(tmp_path: Path) -> None:
    folder = build_small_vlm(tmp_path, SmallVLM(vocabulary=1000))
    assert model_of(folder).get_input_embeddings().num_embeddings == 1000
    assert len(processor_of(folder).tokenizer) < 600


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"multiple of patch \* scale_factor = 16, got 72"):
        SmallVLM(image_size=72)
    with pytest.raises(DataError, match=r"expected 1\.\.6 tiles a side, got 7"):
        SmallVLM(tiles=7)
    with pytest.raises(DataError, match=r"expected a vocabulary of at least 4.. rows, got 100"):
        build_small_vlm(tmp_path, SmallVLM(vocabulary=100))
