"""What is loaded and what is refused: weights, settings, processors, adapters."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.cropper_settings import SETTINGS_FILE
from cropvlm_core.errors import ModelError, WeightsError
from cropvlm_core.loading import load_cropper, load_target
from tests import small_models
from tests.programs import require_package
from tests.small_models import asked, page, torch

from safetensors.torch import load_file, save_file  # isort: skip
from cropvlm_core.transformers_vlm import (  # isort: skip
    CropperSettings,
    TransformersCropper,
    TransformersVLM,
)
from cropvlm_core.transformers_vlm.checkpoint import model_card  # isort: skip
from cropvlm_core.transformers_vlm.processors import load_processor  # isort: skip

SETTINGS = CropperSettings(
    notation=BoxNotation.per_mille,
    input_size=128,
    rules=ZoomRules(grow=(1.5, 2.0), min_height=0.1, max_aspect=4.0),
    no_zoom=True,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the small model, to be damaged."""
    return shutil.copytree(small_models.whole_vlm(), tmp_path / "model")


def rewrite(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


# ---- settings


def test_settings_come_back(tmp_path: Path) -> None:
    for number, settings in enumerate((CropperSettings(), SETTINGS)):
        assert CropperSettings.from_dict(settings.to_dict()) == settings
        place = tmp_path / str(number)
        place.mkdir()
        settings.save(place)
        assert json.loads((place / SETTINGS_FILE).read_text()) == settings.to_dict()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected JSON in cropvlm.json"),
        ("{", "expected JSON in cropvlm.json"),
        ("\xff", "expected JSON in cropvlm.json"),
        ("[]", "format 1"),
        ("null", "format 1"),
        ('{"notation": "percent"}', "format 1"),
        ('{"format": 2}', "format 1"),
        ('{"format": 1, "colour": 1}', r"got \['colour'\]"),
        ('{"format": 1, "notation": "inches"}', "expected a box notation"),
        ('{"format": 1, "notation": 5}', "notation"),
        ('{"format": 1, "notation": null}', "notation"),
        ('{"format": 1, "input_size": 0}', "input_size above 0, got 0"),
        ('{"format": 1, "input_size": "512"}', "input_size as int in cropvlm.json, got '512'"),
        ('{"format": 1, "input_size": true}', "input_size as int in cropvlm.json, got True"),
        ('{"format": 1, "no_zoom": "yes"}', "no_zoom as bool in cropvlm.json, got 'yes'"),
        ('{"format": 1, "explain": null}', "explain as bool in cropvlm.json, got None"),
        ('{"format": 1, "rules": []}', "cropvlm.json"),
        ('{"format": 1, "rules": 5}', "cropvlm.json"),
        ('{"format": 1, "rules": {"grow": 2}}', "cropvlm.json"),
        ('{"format": 1, "rules": {"grow": [0.5, 1]}}', "growth factors"),
        ('{"format": 1, "rules": {"shrink": 1}}', "zoom rules"),
        ("[" * 100_000, "expected JSON in cropvlm.json"),
    ],
)
def test_damaged_settings_are_refused(folder: Path, text: str, told: str) -> None:
    (folder / SETTINGS_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=told) as caught:
        load_cropper(f"hf:{folder}")
    assert len(str(caught.value)) < 400


def test_what_suits_a_family() -> None:
    assert CropperSettings.of_family("qwen3_vl").notation is BoxNotation.per_mille
    assert CropperSettings.of_family("paligemma").notation is BoxNotation.loc_tokens
    assert CropperSettings.of_family("qwen2_5_vl").notation.name == "pixels"
    for unknown in ("idefics3", "llava"):
        settings = CropperSettings.of_family(unknown)
        assert (settings.notation, settings.input_size) == (BoxNotation.percent, None)
        assert settings.explain


# ---- safetensors only, never foreign code


def test_a_pickle_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="in safetensors, got"):
        load_target(f"hf:{folder}")


def test_damaged_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * 100):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match="in safetensors, got"):
            load_target(f"hf:{folder}")


def test_missing_weights_are_not_replaced_by_random_ones(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.connector.modality_projection.proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"got none for 1 of its tensors, such as 'model\.conn"):
        load_target(f"hf:{folder}")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["intermediate_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="in safetensors, got"):
        load_target(f"hf:{folder}")


FOREIGN = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import Idefics3Config as Config, Idefics3ForConditionalGeneration as Model
from transformers import Idefics3Processor as Processor, PreTrainedTokenizerFast as Words
from transformers import BaseImageProcessor as Pictures
"""


@pytest.mark.parametrize("model_type", ["foreign", "idefics3", "qwen2_5_vl"])
def test_code_that_comes_with_weights_is_never_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_type: str
) -> None:
    if model_type == "qwen2_5_vl":
        shutil.rmtree(folder)
        shutil.copytree(small_models.qwen(), folder)
    marker = tmp_path / "was-run"
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers may ask a person
    (folder / "foreign.py").write_text(FOREIGN.format(marker=str(marker)))
    auto = {
        "AutoConfig": "foreign.Config",
        "AutoModel": "foreign.Model",
        "AutoModelForImageTextToText": "foreign.Model",
        "AutoProcessor": "foreign.Processor",
        "AutoImageProcessor": "foreign.Pictures",
        "AutoTokenizer": ["foreign.Words", "foreign.Words"],
    }
    rewrite(folder / "config.json", auto_map=auto, model_type=model_type)
    for name in ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        if not (folder / name).exists():
            (folder / name).write_text("{}")
        rewrite(folder / name, auto_map=auto)
    if model_type == "foreign":
        with pytest.raises(WeightsError, match="in safetensors, got"):
            load_target(f"hf:{folder}")
    else:  # transformers has this family itself
        assert load_target(f"hf:{folder}").reply([asked(page(30, 30))]) != []
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["nobody/nothing", "nobody/nothing@v1", "a b", "../../etc", "x" * 5000, "x@" * 3000, "\0", "@"],
)
def test_what_is_no_model(name: str) -> None:
    for load in (load_target, load_cropper):
        with pytest.raises(WeightsError, match="expected a Hugging Face folder or id") as caught:
            load(f"hf:{name}")
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{}"),
        ("config.json", "[]"),
        ("config.json", "{"),
        ("config.json", '{"model_type": "llama"}'),
        ("config.json", '{"model_type": "idefics3", "vision_config": 5}'),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", ""),
        ("processor_config.json", "[]"),
        ("processor_config.json", '{"image_processor": 5}'),
    ],
)
def test_a_damaged_folder_is_refused(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(WeightsError, match="expected a Hugging Face folder or id"):
        load_target(f"hf:{folder}")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    for load in (load_target, load_cropper):
        with pytest.raises(WeightsError, match="expected a Hugging Face folder or id"):
            load(f"hf:{tmp_path}")


def test_a_model_without_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="expected a processor with a chat template"):
        load_target(f"hf:{folder}")


def test_attention_that_is_not_there(folder: Path) -> None:
    for name in ("flash_attention_2", "quick"):
        with pytest.raises(WeightsError, match="expected a Hugging Face folder"):
            TransformersVLM.from_pretrained(folder, attention=name)
    assert TransformersVLM.from_pretrained(folder).model.config._attn_implementation == "sdpa"


# ---- processors


def old_layout(folder: Path, **pictures: Any) -> None:
    """What the Hub holds of older models: each part in a file of its own."""
    told = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    parts = told["image_processor"] | {"processor_class": "Idefics3Processor"} | pictures
    (folder / "preprocessor_config.json").write_text(json.dumps(parts))
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()


def smolvlm2(folder: Path) -> None:
    """Another model type over the same weights, with an entry for videos."""
    old_layout(
        folder,
        image_processor_type="SmolVLMImageProcessor",
        video_processor_type="SmolVLMVideoProcessor",
        processor_class="SmolVLMProcessor",
        video_sampling={"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 64}},
    )
    rewrite(folder / "config.json", model_type="smolvlm", architectures=["SmolVLM"])
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["model_type"] = "smolvlm_vision"
    (folder / "config.json").write_text(json.dumps(config))


def fast(folder: Path) -> None:
    old_layout(folder, image_processor_type="Idefics3ImageProcessorFast", use_fast=True)


@pytest.mark.parametrize("layout", [old_layout, fast, smolvlm2])
def test_layouts_of_the_hub(folder: Path, layout: Callable[[Path], None]) -> None:
    expected = load_target(f"hf:{folder}")
    assert isinstance(expected, TransformersVLM)
    layout(folder)
    found = load_target(f"hf:{folder}")
    assert isinstance(found, TransformersVLM)
    assert found.shares
    assert type(found.processor.image_processor).__name__ == "Idefics3ImageProcessorPil"
    talks = [asked(page(120, 80, seed)) for seed in range(3)]
    assert found.prompts(talks)[0].ids == expected.prompts(talks)[0].ids
    said = ["1", "2", "3"]
    assert found.log_likelihood(talks, said) == pytest.approx(expected.log_likelihood(talks, said))
    if layout is smolvlm2:  # and what we save of it is as good
        TransformersCropper(found).save_pretrained(folder / "again")
        again = TransformersVLM.from_pretrained(folder / "again")
        assert again.model.config.model_type == "smolvlm"
        assert again.reply(talks) == found.reply(talks)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("qwen", "Qwen2VLImageProcessorPil"),
        ("paligemma", "SiglipImageProcessorPil"),
        ("whole_vlm", "Idefics3ImageProcessorPil"),
    ],
)
def test_pictures_go_through_pillow(model: str, kind: str, tmp_path: Path) -> None:
    processor: Any = load_processor(getattr(small_models, model)())
    assert type(processor.image_processor).__name__ == kind
    assert processor.tokenizer.padding_side == "left"
    assert not hasattr(processor, "video_processor")
    again = shutil.copytree(getattr(small_models, model)(), tmp_path / "again")
    processor.save_pretrained(again)
    loaded: Any = load_processor(again)
    assert type(loaded).__name__ == type(processor).__name__
    assert type(loaded.image_processor).__name__ == kind


@pytest.mark.parametrize(
    ("input_size", "tiles"), [(None, 10), (32, 1), (64, 1), (65, 5), (128, 5), (192, 10)]
)
def test_input_size_decides_the_tiles(input_size: int | None, tiles: int, tmp_path: Path) -> None:
    vlm = TransformersVLM.from_pretrained(small_models.splitting_vlm(), input_size=input_size)
    (prompt,) = vlm.prompts([asked(page(300, 290))])
    assert prompt.pictures[0].pixels.shape == (tiles, 3, 64, 64)
    TransformersCropper(vlm, CropperSettings(input_size=input_size)).save_pretrained(tmp_path)
    loaded = load_cropper(f"hf:{tmp_path}")
    assert isinstance(loaded, TransformersCropper)
    (again,) = loaded.vlm.prompts([asked(page(300, 290))])
    assert again.ids == prompt.ids
    assert torch.equal(again.pictures[0].pixels, prompt.pictures[0].pixels)


# ---- the model card


def front_matter(card: str) -> Any:
    yaml = require_package("yaml")
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("HuggingFaceTB/SmolVLM-256M-Instruct", "HuggingFaceTB/SmolVLM-256M-Instruct"),
        ("HuggingFaceTB/SmolVLM-256M-Instruct@v1.0", "HuggingFaceTB/SmolVLM-256M-Instruct"),
        (None, None),
        ("model", None),
        ("/home/ann/runs/sft", None),
        ("C:\\runs\\sft", None),
        ("a/b: c\nlicense: mit", None),
    ],
)
def test_the_model_card_can_be_read(base: str | None, told: str | None) -> None:
    card = model_card(SETTINGS, base=base, trained="On 5 pages: `x`.")
    head = front_matter(card)
    assert head.get("base_model") == told
    assert head["library_name"] == "transformers"
    assert head["pipeline_tag"] == "image-text-to-text"
    assert "cropvlm" in head["tags"]
    assert "/home/ann" not in card
    assert "per_mille" in card
    assert "128 pixels" in card
    assert card.endswith("## Training\n\nOn 5 pages: `x`.\n")


def test_a_folder_of_this_machine_is_no_base_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "sft").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "base_model" not in model_card(SETTINGS, base="runs/sft", trained=None)


# ---- adapters

# PEFT asks transformers for it by its old name.
old_name = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A LoRA adapter, away from zero, beside nothing but its own files."""
    peft = require_package("peft")
    base = TransformersVLM.from_pretrained(small_models.whole_vlm())
    config = peft.LoraConfig(r=2, target_modules=r".*text_model.*\.(q_proj|v_proj)")
    adapted = peft.get_peft_model(base.model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@old_name
def test_an_adapter_is_merged(adapter: Path) -> None:
    from peft import PeftModel

    base = TransformersVLM.from_pretrained(small_models.whole_vlm())
    talks, said = [asked(page(90, 60, seed)) for seed in range(2)], ["12", "no"]
    before = base.log_likelihood(talks, said)
    merged = TransformersVLM.from_pretrained(adapter)
    after = merged.log_likelihood(talks, said)
    unmerged = TransformersVLM(
        PeftModel.from_pretrained(base.model, adapter).eval().get_base_model(), base.processor
    )
    assert unmerged.log_likelihood(talks, said) == pytest.approx(after, abs=1e-3)
    assert abs(before[0] - after[0]) > 1e-2
    assert not any("lora" in name for name, _ in merged.model.named_parameters())


@old_name
def test_settings_of_an_adapter_are_its_own_or_its_base_s(adapter: Path, tmp_path: Path) -> None:
    cropper = TransformersCropper.from_pretrained(adapter)
    assert cropper.settings == CropperSettings(explain=True)
    base = tmp_path / "base"
    vlm = TransformersVLM.from_pretrained(small_models.whole_vlm(), input_size=128)
    TransformersCropper(vlm, SETTINGS).save_pretrained(base)
    rewrite(adapter / "adapter_config.json", base_model_name_or_path=str(base))
    assert TransformersCropper.from_pretrained(adapter).settings == SETTINGS
    CropperSettings(no_zoom=True).save(adapter)
    assert TransformersCropper.from_pretrained(adapter).settings == CropperSettings(no_zoom=True)


@old_name
def test_adapters_that_are_refused(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    config = adapter / "adapter_config.json"
    told = config.read_text()
    rewrite(config, base_model_name_or_path=str(adapter))
    with pytest.raises(WeightsError, match="got another adapter"):
        load_target(f"hf:{adapter}")
    rewrite(config, base_model_name_or_path=None)
    with pytest.raises(WeightsError, match="to name a base model"):
        load_target(f"hf:{adapter}")
    config.write_text("[")
    with pytest.raises(WeightsError, match="to name a base model"):
        load_target(f"hf:{adapter}")
    config.write_text(told)
    torch.save(load_file(weights), adapter / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(WeightsError, match=r"expected adapter_model.safetensors in .*, got none"):
        load_target(f"hf:{adapter}")


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothere': no such folder"):
        TransformersVLM.from_pretrained(tmp_path / "nothere", device="cpu")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"without config\.json; .*model holds one"):
        TransformersCropper.from_pretrained(tmp_path, device="cpu")
