"""What the embedded cropper runs on: shared encodings, both file formats, whole files, threads."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cropvlm_core.cropper import ZoomRules
from cropvlm_core.embedded import EmbeddedCropper, weights
from cropvlm_core.embedded.cropper import CELLS_A_RUN
from cropvlm_core.embedded.page_input import input_shapes, prepare_page, prepare_readable
from cropvlm_core.embedded.question_input import question_input
from cropvlm_core.embedded.remembered import EncodedPage, RememberedPages
from cropvlm_core.embedded.session import MOST_THREADS, PolicySession, usual_threads
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import SpecError, WeightsError
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import VisualQuestion
from tests.programs import require_package

torch = require_package("torch")
require_package("onnx")

from cropvlm_core.training.export import export_policy, read_network  # noqa: E402
from cropvlm_core.training.network import PolicyNetwork, PolicySize  # noqa: E402

TINY = PolicySize(stem=8, middle=8, grid=16, context=16, blocks=1, word=16, probes=3, head=8)
BUDGET = 32_768
SETTINGS = PolicySettings(BUDGET, 0.7, ZoomRules())
QUESTIONS = ("What is the total?", "Date?", "Which word stands to the right of the invoice number?")

Runs = list[tuple[int, int, int]]
"""New pages, earlier pages and questions of each run of the network."""


@pytest.fixture(scope="module")
def network() -> PolicyNetwork:
    torch.manual_seed(0)
    network = PolicyNetwork(TINY)
    for parameter in network.parameters():  # blocks start as the identity; here they shall matter
        parameter.data += 0.05 * torch.randn_like(parameter)
        parameter.data = parameter.data.half().float()
    return network.eval()


@pytest.fixture(scope="module")
def file(network: PolicyNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "tiny.onnx"
    about = {"trained": json.dumps({"plan": {"size": TINY.to_dict()}})}
    export_policy(network, file, SETTINGS, about)
    return file


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """What goes through the network from here on."""
    seen: Runs = []
    look = PolicySession.look

    def watched(self, shape, pixels, features, grams, page):  # type: ignore[no-untyped-def]
        seen.append((len(pixels), len(features), len(page)))
        return look(self, shape, pixels, features, grams, page)

    monkeypatch.setattr(PolicySession, "look", watched)
    return seen


def page(seed: int, size: tuple[int, int] = (300, 420)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for row in range(20, size[1] - 20, 16):
        pen.text((20 + seed * 7 % 50, row), f"line {row * (seed + 3)} of page {seed}", fill="black")
    return picture


def asked(image: Image.Image, texts: tuple[str, ...] = QUESTIONS) -> list[VisualQuestion]:
    return [VisualQuestion(image, text).opened(image) for text in texts]


@pytest.mark.parametrize("shape", [(64, 96), (304, 864), (1024, 256)])
def test_the_file_computes_what_the_network_computes(
    network: PolicyNetwork, file: Path, shape: tuple[int, int]
) -> None:
    session = PolicySession(file.read_bytes(), threads=1)
    rng = np.random.default_rng(1)
    pixels = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    grams = np.stack([question_input(text) for text in QUESTIONS])
    with torch.no_grad():
        cells, peaks, sides, answerable = (
            value.flatten(0, 1).numpy()
            for value in network(
                torch.from_numpy(pixels[:, None]), torch.from_numpy(np.stack([grams] * 2))
            )
        )
    flat, number = np.concatenate([grams] * 2), [0, 0, 0, 1, 1, 1]
    new = session.look(shape, list(pixels), [], flat, number)
    assert new.encoded is not None
    earlier = session.look(shape, [], list(new.encoded), flat, number)
    # The second page is new, the first comes back; new pages are counted first.
    mixed = session.look(shape, [pixels[1]], [new.encoded[0]], flat, [1, 1, 1, 0, 0, 0])
    for found in (new, earlier, mixed):
        np.testing.assert_allclose(np.exp(found.cells), np.exp(cells), atol=1e-5)
        same = found.peaks == peaks
        assert same[:, 0].all()
        assert same.mean() > 0.5
        np.testing.assert_allclose(found.sides[same], sides[same], atol=1e-5)
        np.testing.assert_allclose(
            found.answerable[same.all(1)], answerable[same.all(1)], atol=1e-4
        )
    assert np.ptp(answerable) > 0.01


def test_training_can_go_on_from_the_file(network: PolicyNetwork, file: Path) -> None:
    again = read_network(file).state_dict()
    assert again.keys() == network.state_dict().keys()
    for name, values in network.state_dict().items():
        torch.testing.assert_close(again[name], values, msg=name)


def test_training_can_go_on_from_a_file_that_does_not_tell_what_is_answerable(
    network: PolicyNetwork, file: Path, tmp_path: Path
) -> None:
    import onnx

    older = tmp_path / "older.onnx"
    onnx.utils.extract_model(
        str(file), str(older), ["pixels", "features", "grams", "page"],
        ["encoded", "cells", "peaks", "sides"],
    )  # fmt: skip
    model = onnx.load(str(older))
    there = {weights.name for weights in model.graph.initializer}
    for unused in onnx.load(str(file)).graph.initializer:  # what is for training alone
        if unused.name not in there and "answerable" not in unused.name:
            model.graph.initializer.append(unused)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, EmbeddedCropper(file).about)
    older.write_bytes(model.SerializeToString())
    again = read_network(older).state_dict()
    torch.testing.assert_close(again["sides.0.weight"], network.state_dict()["sides.0.weight"])
    assert not again["answerable.sum.weight"].any()
    batch = asked(page(1))
    found = EmbeddedCropper(older, threads=1).look(batch)
    assert [seen.answerable for seen in found] == [0.0] * len(batch)


def test_questions_about_a_page_encode_it_once(file: Path, runs: Runs) -> None:
    cropper = EmbeddedCropper(file, threads=1, remembered=0)
    first, second = page(1), page(2)
    many = asked(first, QUESTIONS * 100)
    seen = cropper.look([*many, *asked(second)])
    assert sum(new for new, _, _ in runs) == 2
    assert sum(count for _, _, count in runs) == len(many) + len(QUESTIONS)
    assert all(count * seen[0].cells.size <= CELLS_A_RUN for _, _, count in runs)
    assert len(runs) > 2


def test_a_later_call_does_not_encode_the_page_again(file: Path, runs: Runs) -> None:
    cropper = EmbeddedCropper(file, threads=1)
    forgetful = EmbeddedCropper(file, threads=1, remembered=0)
    picture = page(3)
    right = forgetful.propose_batch(asked(picture))
    found = [cropper.propose_batch([question])[0] for question in asked(picture)]
    found.append(cropper.propose_batch(asked(picture.copy())[:1])[0])  # equal, but another object
    assert runs == [(1, 0, 3), (1, 0, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1)]
    for one, two in zip(found, [*right, right[0]], strict=True):
        assert one.boxes[0].iou(two.boxes[0]) > 0.999
        assert one.confidences[0] == pytest.approx(two.confidences[0], abs=1e-4)
    ImageDraw.Draw(picture).rectangle((0, 0, 150, 200), fill="black")
    cropper.propose_batch(asked(picture)[:1])
    assert runs[-1] == (1, 0, 1)


def test_the_pages_unused_for_longest_are_forgotten(file: Path, runs: Runs) -> None:
    cells = EmbeddedCropper(file, remembered=0).look(asked(page(1))[:1])[0].cells.size
    kept = 4 * cells * (TINY.word + TINY.head + TINY.grid)  # bytes of a page
    runs.clear()
    cropper = EmbeddedCropper(file, threads=1, remembered=5 * kept // 2)
    one, two, three = (asked(page(seed))[:1] for seed in (1, 2, 3))
    for batch in (one, two, one, three, one, two):
        cropper.propose_batch(batch)
    assert [new for new, _, _ in runs] == [1, 1, 0, 1, 0, 1]


def test_remembered_pages_stay_within_their_bytes() -> None:
    pages = RememberedPages(10_000)
    prepared = prepare_page(page(1), BUDGET)
    for number in range(50):
        features = np.zeros((1, 10, 25), dtype=np.float32)
        pages.keep(EncodedPage(bytes([number]), prepared.lean(), features))
    assert len(pages) == 10
    assert pages.find(bytes([49])) is not None
    assert pages.find(bytes([39])) is None
    pages.keep(EncodedPage(b"huge", prepared, np.zeros((1, 100, 100), dtype=np.float32)))
    assert pages.find(b"huge") is None
    assert RememberedPages(0).key(page(1)) == b""


def test_pages_are_told_apart_by_size_and_every_pixel() -> None:
    pages = RememberedPages(1)
    tall = Image.new("L", (3000, 4000), 200)  # more than is copied at once
    keys = {pages.key(tall), pages.key(tall.transpose(Image.Transpose.ROTATE_90))}
    for spot in ((0, 0), (2999, 3999), (1500, 2000)):
        other = tall.copy()
        other.putpixel(spot, 201)
        keys.add(pages.key(other))
    assert len(keys) == 5
    assert pages.key(tall.copy()) in keys


def test_threads_share_a_session_and_its_memory(file: Path) -> None:
    cropper = EmbeddedCropper(file)
    batches = [asked(page(seed)) for seed in range(4)]
    right = [EmbeddedCropper(file, remembered=0).propose_batch(batch) for batch in batches]
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(3):
            for batch, expected in zip(batches, right, strict=True):
                for one, two in zip(cropper.propose_batch(batch), expected, strict=True):
                    if one.boxes[0].iou(two.boxes[0]) < 0.99:
                        wrong.append(one)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def first_format(network: PolicyNetwork, file: Path) -> None:
    """Write a file of the first format, as its exporter did: a table of questions a page."""
    import onnx

    height, width = input_shapes(BUDGET)[3]
    pixels = torch.randn(2, 1, height, width)
    grams = torch.from_numpy(np.stack([[question_input(text) for text in QUESTIONS]] * 2))
    names = {"pixels": {0: "p", 2: "h", 3: "w"}, "grams": {0: "p", 1: "q"}}
    names |= {"cells": {0: "p", 1: "q", 2: "r", 3: "c"}}
    names |= {name: {0: "p", 1: "q"} for name in ("peaks", "sides")}
    torch.onnx.export(
        network, (pixels, grams), str(file), input_names=["pixels", "grams"],
        output_names=["cells", "peaks", "sides", "answerable"], dynamic_axes=names,
        opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(file))
    del model.graph.output[3]  # it is younger
    about = SETTINGS.to_metadata() | {"format": "cropvlm-embedded-1"}
    onnx.helper.set_model_props(model, about)
    file.write_bytes(model.SerializeToString())


def test_files_of_the_first_format_find_the_same(
    network: PolicyNetwork, file: Path, tmp_path: Path
) -> None:
    old_file = tmp_path / "old.onnx"
    first_format(network, old_file)
    old, new = EmbeddedCropper(old_file, threads=1), EmbeddedCropper(file, threads=1)
    assert old.about["format"] == "cropvlm-embedded-1"
    assert old.settings == new.settings
    batch = [
        question
        for seed, texts in ((1, QUESTIONS), (2, QUESTIONS[:1]), (3, QUESTIONS * 20))
        for question in asked(page(seed), texts)
    ]
    for one, two in zip(old.propose_batch(batch), new.propose_batch(batch), strict=True):
        assert one.boxes[0].iou(two.boxes[0]) > 0.999
        assert one.confidences[0] == pytest.approx(two.confidences[0], abs=1e-4)


def test_other_graphs_are_refused(file: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(file))
    del model.graph.output[0]
    (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="expected a graph with"):
        EmbeddedCropper(tmp_path / "odd.onnx")


def test_a_damaged_or_swapped_file_in_the_wheel_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    content = bytearray((weights._FOLDER / weights.WEIGHTS).read_bytes())
    digest = weights.shipped_digest()
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match=weights.DIGEST):
        EmbeddedCropper()
    (tmp_path / weights.DIGEST).write_text(f"{digest}  {weights.WEIGHTS}\n")
    with pytest.raises(WeightsError, match="no such file"):
        EmbeddedCropper()
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), file.read_bytes(), b""):
        (tmp_path / weights.WEIGHTS).write_bytes(damaged)
        with pytest.raises(WeightsError, match="reinstall cropvlm") as caught:
            EmbeddedCropper()
        assert "\n" not in str(caught.value)
        assert digest[:16] in str(caught.value)


def test_threads_are_bounded() -> None:
    assert 1 <= usual_threads() <= MOST_THREADS
    assert isinstance(load_cropper("embedded", threads=1), EmbeddedCropper)
    for spec in ("whole", "ocr", "random:1"):
        with pytest.raises(SpecError, match="expected embedded for a number of threads"):
            load_cropper(spec, threads=1)
    with pytest.raises(SpecError):
        load_cropper("embedded", threads=0)


def test_a_page_is_prepared_the_same_whoever_makes_it_grey() -> None:
    picture = page(5, (1200, 1700))
    coloured, grey = (
        prepare_readable(one, BUDGET, 6.0, 2.5) for one in (picture, picture.convert("L"))
    )
    assert coloured.shape != prepare_page(picture, BUDGET).shape  # print is small here
    np.testing.assert_array_equal(coloured.pixels, grey.pixels)
    lean = coloured.lean()
    assert lean.shape == coloured.shape
    assert (lean.scale, lean.left, lean.top, lean.used) == (
        coloured.scale, coloured.left, coloured.top, coloured.used,
    )  # fmt: skip


def test_tiles_are_interpolated_as_pictures_are() -> None:
    from cropvlm_core.embedded.evening import _quarters

    coarse: NDArray[np.float32] = np.random.default_rng(0).normal(0, 9, (7, 5)).astype(np.float32)
    right = Image.fromarray(coarse).resize((20, 28), Image.Resampling.BILINEAR)
    found = np.empty((27, 18), dtype=np.float32)
    for rows, _, (fine,) in _quarters(found, np.zeros((28, 20), np.float32), coarse[None]):
        rows[:] = fine
    np.testing.assert_allclose(found, np.asarray(right)[:27, :18], atol=1e-4)
