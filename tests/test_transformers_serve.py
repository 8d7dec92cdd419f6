"""A checkpoint behind a real `transformers serve` says what it says in this process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cropvlm_core.box import Box
from cropvlm_core.cropper_settings import CropperSettings
from cropvlm_core.errors import ModelError
from cropvlm_core.loading import load_cropper, load_target
from cropvlm_core.openai_vlm import OpenAIVLM
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion
from cropvlm_core.vlm import Conversation
from tests import small_models
from tests.programs import absent, require_package
from tests.small_models import asked, page, torch

for package in ("fastapi", "uvicorn", "rich", "openai"):
    require_package(package)
require_package("trl")

from cropvlm_core.training.sft import SFTCollator, sft_rows  # noqa: E402
from cropvlm_core.transformers_vlm import TransformersCropper, TransformersVLM  # noqa: E402

PAGES = [
    (200, 151, 0, "What is the total?"),
    (200, 151, 0, "Who signed?"),
    (90, 131, 1, "What is the total?"),
    (90, 131, 1, "Which date?"),
    (40, 51, 2, "What is on the card?"),  # smaller than the input
    (64, 64, 3, "Who signed?"),
]
QUESTIONS = [
    AnsweredQuestion(
        page(width, height, seed),
        question,
        boxes=(Box(0.05 + 0.1 * row, 0.1 + 0.05 * row, 0.3 + 0.1 * row, 0.5 + 0.07 * row),),
    )
    for row, (width, height, seed, question) in enumerate(PAGES)
]
OTHERS = [VisualQuestion(page(170, 90, seed), "What is the name?") for seed in (4, 5)]


def learn(cropper: TransformersCropper, rows: Sequence[AnsweredQuestion]) -> None:
    """Have the model write boxes, each its own, without a grammar that makes it."""
    model = cropper.vlm.model
    batch = SFTCollator(cropper, sft_rows(rows))([{"row": row} for row in range(len(rows))])
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(200):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.1:
            return
    pytest.fail("expected the tiny model to learn its boxes in 200 steps")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models that have learned to write boxes: one sees a page as one tile, one as several."""
    place = tmp_path_factory.mktemp("checkpoints")
    for name, base, size in (
        ("whole", small_models.whole_vlm(), 64),
        ("splitting", small_models.splitting_vlm(), 128),
    ):
        vlm = TransformersVLM.from_pretrained(base, device="cpu", input_size=size)
        cropper = TransformersCropper(vlm, CropperSettings(input_size=size))
        learn(cropper, QUESTIONS if name == "whole" else QUESTIONS[::2])
        cropper.save_pretrained(place / name)
    return {name: place / name for name in ("whole", "splitting")}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server, which loads a model when it is first asked for it."""
    place = tmp_path_factory.mktemp("server")
    (place / "hf" / "hub").mkdir(parents=True)
    program = Path(sys.executable).with_name("transformers")
    if not program.exists():
        absent("the program transformers")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--device", "cpu", "--dtype", "float32"]
    environment = os.environ | {"HF_HOME": str(place / "hf"), "HF_HUB_OFFLINE": "1"}
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(
            words, env=environment | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", place / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"expected transformers serve to answer, got {log.read_text()[-2000:]}")


def test_the_same_boxes(checkpoints: dict[str, Path], url: str) -> None:
    served = load_cropper(f"openai:{checkpoints['whole']}@{url}").propose_batch(QUESTIONS)
    here = load_cropper(f"hf:{checkpoints['whole']}").propose_batch(QUESTIONS)
    assert [proposal.boxes for proposal in served] == [proposal.boxes for proposal in here]
    assert [(proposal.text or "").strip() for proposal in served] == [
        (proposal.text or "").strip() for proposal in here
    ]
    assert len({proposal.boxes for proposal in served}) == len(QUESTIONS)


@pytest.mark.parametrize("name", ["whole", "splitting"])
def test_the_same_texts(name: str, checkpoints: dict[str, Path], url: str) -> None:
    here = load_cropper(f"hf:{checkpoints[name]}")
    assert isinstance(here, TransformersCropper)
    questions = [*QUESTIONS, *OTHERS]
    conversations = [here.conversation(question) for question in questions]
    samples = here.vlm.sample(conversations, temperature=0.0, max_new_tokens=40)
    served = load_cropper(f"openai:{checkpoints[name]}@{url}").propose_batch(questions)
    texts = [(proposal.text or "").lstrip() for proposal in served]
    assert texts == [row[0].text.lstrip() for row in samples]  # the server keeps the first space
    assert len(set(texts)) > 2


def test_the_same_answers_to_page_and_crop(checkpoints: dict[str, Path], url: str) -> None:
    conversations: list[Conversation] = [
        asked(page(64, 64, seed), page(40, 22, seed + 1), question="Who signed?") for seed in (0, 1)
    ]
    folder = checkpoints["splitting"]
    here = load_target(f"hf:{folder}", device="cpu", max_new_tokens=24)
    served = OpenAIVLM(str(folder), url, max_tokens=24)
    texts = [reply.lstrip() for reply in served.reply(conversations)]
    assert texts == [reply.lstrip() for reply in here.reply(conversations)]


def test_it_refuses_what_it_does_not_know_and_we_say_which_option(
    checkpoints: dict[str, Path], url: str
) -> None:
    cropper = load_cropper(f"openai:{checkpoints['whole']}@{url}", constrain="vllm")
    with pytest.raises(ModelError, match=r"HTTP 422: .*structured_outputs.*constrain='vllm'"):
        cropper.propose_batch(QUESTIONS[:1])
