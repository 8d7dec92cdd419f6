"""The warm start: what is learned is the box's text, and a run can be stopped and gone on with."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.errors import DataError, ModelError, SourceError
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import AnsweredQuestion, read_questions, write_questions
from tests.cli_calls import one_line_error, run
from tests.programs import require_package

torch = require_package("torch")
for _package in ("transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from safetensors.torch import load_file  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from cropvlm_core.training.run_settings import SFTSettings, read_settings, to_yaml  # noqa: E402
from cropvlm_core.training.sft import (  # noqa: E402
    IGNORED,
    CropSFTTrainer,
    SFTCollator,
    sft_rows,
    train_sft,
)
from cropvlm_core.training.small_vlm import SmallVLM, build_small_vlm  # noqa: E402
from cropvlm_core.training.stopping import checkpoints  # noqa: E402
from cropvlm_core.transformers_vlm import (  # noqa: E402
    CropperSettings,
    TransformersCropper,
    TransformersVLM,
)

pytestmark = [
    # PEFT asks transformers under a name that transformers is giving up
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # Python from 3.12 on, of the forks of torch's DataLoader
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

SIZES = [(120, 90), (64, 128), (200, 60), (90, 90)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_vlm(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_vlm(tmp_path_factory.mktemp("tiled"), SmallVLM(splitting=True))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled question set: where is the red thing?"""
    folder = tmp_path_factory.mktemp("pages")
    dice = random.Random(0)
    rows = []
    for number in range(10):
        size = SIZES[number % len(SIZES)]
        page = Image.new("RGB", size, "white")
        left, top = dice.randrange(size[0] - 30), dice.randrange(size[1] - 20)
        ImageDraw.Draw(page).rectangle((left, top, left + 29, top + 19), fill="red")
        page.save(folder / f"{number}.png")
        box = Box.from_pixels((left, top, left + 30, top + 20), size)
        asked = "Where is it?" if number % 2 else "On which part of the page is the red thing?"
        rows.append(AnsweredQuestion(folder / f"{number}.png", asked, boxes=(box,)))
    write_questions(folder / "questions.jsonl", rows)
    return folder


def told(base: Path, data: Path, **overrides: Any) -> SFTSettings:
    """A short run on the CPU."""
    given = {
        "model": str(base),
        "data": str(data),
        "device_type": "cpu",
        "batch_size": 2,
        "gradient_accumulation": 2,
        "learning_rate": 1e-2,
        "lora_rank": 8,
        "lora_alpha": 16,
        "max_steps": 4,
        "log_steps": 1,
    }
    return read_settings(SFTSettings, None, given | overrides)


def cropper_of(folder: Path, settings: CropperSettings | None = None) -> TransformersCropper:
    size = settings.input_size if settings else None
    vlm = TransformersVLM.from_pretrained(folder, device="cpu", input_size=size)
    return TransformersCropper(vlm, settings or CropperSettings())


def batch_of(cropper: TransformersCropper, rows: Sequence[Any], count: int | None = None) -> Any:
    collator = SFTCollator(cropper, rows)
    return collator([{"row": number} for number in range(count or len(rows))])


# ---- what is learned


@pytest.mark.parametrize(
    ("notation", "input_size", "expected"),
    [
        ("percent", None, "[12, 25, 50, 100]."),
        ("per_mille", None, "[120, 250, 500, 1000]"),
        ("per_mille_yx", None, "[250, 120, 1000, 500]"),
        ("loc_tokens", None, "<loc0255><loc0122><loc1023><loc0512>"),
        ("pixels", None, "[48, 50, 200, 200]"),
        ("pixels", 112, "[13, 14, 56, 56]"),  # the page is sent at 112 x 56
    ],
)
def test_the_labels_are_the_boxs_text_and_the_end(
    base: Path, notation: str, input_size: int | None, expected: str
) -> None:
    settings = CropperSettings(BoxNotation.from_name(notation), input_size)
    cropper = cropper_of(base, settings)
    page = Image.new("RGB", (400, 200))
    asked = [
        AnsweredQuestion(page, "Short?", boxes=(Box(0.12, 0.25, 0.5, 1),)),
        AnsweredQuestion(page, "And a question that is longer?", boxes=(Box(0, 0, 0.5, 0.5),)),
    ]
    batch = batch_of(cropper, sft_rows(asked))
    tokenizer = cropper.vlm.processor.tokenizer
    labels, ids, mask = (batch[name] for name in ("labels", "input_ids", "attention_mask"))
    assert tokenizer.decode(labels[0][labels[0] != IGNORED]) == f" {expected}<end_of_utterance>"
    for row, question in enumerate(asked):
        (prompt,) = cropper.vlm.prompts([cropper.conversation(question)])
        start = len(prompt.ids)
        end = start + int((labels[row] != IGNORED).sum())
        assert tuple(ids[row, :start].tolist()) == prompt.ids
        assert (labels[row, :start] == IGNORED).all()
        assert labels[row, start:end].equal(ids[row, start:end])
        assert ids[row, end - 1] == tokenizer.convert_tokens_to_ids("<end_of_utterance>")
        assert (labels[row, end:] == IGNORED).all()
        assert mask[row].tolist() == [1] * end + [0] * (len(mask[row]) - end)
    assert 0 in mask  # the two differ in length


def test_no_zoom_is_learned_where_the_model_may_say_so(base: Path) -> None:
    page = Image.new("RGB", (64, 64))
    asked = [
        AnsweredQuestion(page, "What is this?", extra={"reason": "no_zoom_needed"}),
        AnsweredQuestion(page, "Which?", extra={"reason": "unreadable"}),
        AnsweredQuestion(page, "Who?"),
        AnsweredQuestion(page, "Where?", boxes=(Box(0, 0, 1, 0.5), Box(0, 0, 0.1, 0.1))),
        AnsweredQuestion(
            page, "Where?", boxes=(Box(0, 0, 1, 0.5), Box(0, 0, 0.2, 1)), primary=(1,)
        ),
    ]
    boxes = [Box(0, 0, 1, 0.5), Box(0, 0, 0.2, 1)]
    assert [row.box for row in sft_rows(asked)] == boxes
    rows = sft_rows(asked, no_zoom=True)
    assert [row.box for row in rows] == [None, *boxes]
    cropper = cropper_of(base, CropperSettings(no_zoom=True))
    labels = batch_of(cropper, rows)["labels"][0]
    tokenizer = cropper.vlm.processor.tokenizer
    text = tokenizer.decode(labels[labels != IGNORED])
    assert text == " No zoom needed.<end_of_utterance>"


def test_the_loss_is_inferences_log_likelihood(tiled: Path, pages: Path) -> None:
    """Padding, positions and pages of different numbers of tiles change nothing."""
    cropper = cropper_of(tiled)
    asked = list(read_questions(pages))[:4]
    batch = batch_of(cropper, sft_rows(asked))
    tiles = batch["pixel_attention_mask"].flatten(2).any(-1).sum(-1).tolist()
    assert len(set(tiles)) > 1
    assert batch["pixel_values"].shape == (4, max(tiles), 3, 64, 64)
    texts = [cropper.notation.write(question.boxes[0]) for question in asked]
    conversations = [cropper.conversation(question) for question in asked]
    expected = -sum(cropper.vlm.log_likelihood(conversations, texts))
    with torch.no_grad():
        loss = float(cropper.vlm.model(**batch).loss)
    count = int((batch["labels"] != IGNORED).sum())
    assert count == sum(cropper.vlm.token_counts(texts))
    assert loss * count == pytest.approx(expected, rel=1e-5)


# ---- a whole run


def test_the_command_trains_a_cropper_that_writes_the_teachers_boxes(
    base: Path, pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list(read_questions(pages))[:3]
    write_questions(tmp_path / "three.jsonl", asked)
    out = tmp_path / "out"
    words = ["--model", base, "--data", tmp_path / "three.jsonl", "--held-out", pages, "--out", out]
    words += ["--lora-rank", "0", "--learning-rate", "0.01", "--device-type", "cpu"]
    words += ["--max-steps", "120", "--batch-size", "3", "--gradient-accumulation", "1"]
    words += ["--set", "save_steps=60", "--set", "eval_boxes=3"]
    assert run("train", "sft", *words) == 0
    said = capsys.readouterr().out
    assert f"{out / 'model'}: 120 steps, loss " in said
    assert "IoU with the teacher's boxes" in said
    log = json.loads((out / "checkpoints" / "checkpoint-120" / "trainer_state.json").read_text())
    losses = [figures["loss"] for figures in log["log_history"] if "loss" in figures]
    assert losses[-1] < 0.1 < 2 < losses[0]
    last = [figures for figures in log["log_history"] if "eval_iou" in figures][-1]
    assert last["eval_iou"] > 0.8  # of the first three, which it has learned by heart
    assert last["eval_hit_rate"] == 1
    assert not (out / "adapter").exists()
    cropper = load_cropper(f"hf:{out / 'model'}")
    proposals = cropper.propose_batch(asked)
    assert [proposal.text for proposal in proposals] == [
        BoxNotation.percent.write(question.boxes[0]) for question in asked
    ]
    card = (out / "model" / "README.md").read_text()
    assert "on 3 questions with a teacher's boxes: 120 steps of 3 rows, all weights trained" in card
    assert run("train", "sft", *words) == 2
    assert "expected a folder without a run, or resume" in one_line_error(capsys)


def test_adapter_and_whole_model_are_the_same_cropper(
    base: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    before = {name: value.clone() for name, value in load_file(base / "model.safetensors").items()}
    settings = told(Path(base.name), pages, notation="per_mille", input_size=64, no_zoom=True)
    outcome = train_sft(settings, tmp_path / "out")
    assert (outcome.steps, outcome.stopped) == (4, False)
    monkeypatch.chdir("/")  # the adapter finds its model from everywhere
    whole, adapted = (
        load_cropper(f"hf:{tmp_path / 'out' / name}") for name in ("model", "adapter")
    )
    assert isinstance(whole, TransformersCropper)
    assert isinstance(adapted, TransformersCropper)
    expected = CropperSettings(BoxNotation.per_mille, 64, no_zoom=True)
    assert whole.settings == adapted.settings == expected
    asked = list(read_questions(pages))[:4]
    conversations = [whole.conversation(question) for question in asked]
    replies = ["[1, 2, 3, 4]"] * 4
    assert whole.vlm.log_likelihood(conversations, replies) == pytest.approx(
        adapted.vlm.log_likelihood(conversations, replies), abs=1e-4
    )
    after = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not value.equal(before[name])}
    for part in ("text_model", "vision_model", "connector"):
        assert any(part in name for name in changed), part
    adapts = ("_proj.weight", ".fc1.weight", ".fc2.weight", ".proj.weight")
    assert all(name.endswith(adapts) for name in changed)
    assert not any("vision_model" in name and "self_attn" in name for name in changed)


def test_the_vision_side_can_be_left_alone(base: Path, pages: Path, tmp_path: Path) -> None:
    train_sft(told(base, pages, lora_vision=False, max_steps=1), tmp_path / "out")
    names = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors").keys()
    assert names
    assert all("text_model" in name for name in names)


def test_pages_can_be_prepared_by_other_processes(base: Path, pages: Path, tmp_path: Path) -> None:
    alone, helped = (
        train_sft(told(base, pages, workers=workers, max_steps=2), tmp_path / str(workers))
        for workers in (0, 2)
    )
    assert helped.figures["loss"] == alone.figures["loss"]


# ---- stopping and going on


class Sends(TrainerCallback):  # type: ignore[misc]
    """Sends this process SIGTERM in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def losses_of(out: Path, step: int) -> list[tuple[int, Mapping[str, float]]]:
    state = json.loads(
        (out / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").read_text()
    )
    kept = ("loss", "grad_norm", "learning_rate", "eval_loss", "eval_iou")
    return [
        (figures["step"], {name: figures[name] for name in kept if name in figures})
        for figures in state["log_history"]
        if figures["step"] > 2 and not {"loss", "eval_loss", "eval_iou"}.isdisjoint(figures)
    ]


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    base: Path, pages: Path, tmp_path: Path
) -> None:
    """Bit for bit, with dropout, with evaluations that the stopped run left out."""
    settings = told(base, pages, held_out=str(pages), eval_steps=2, eval_boxes=4, save_steps=3)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert not train_sft(settings, straight).stopped
    before = signal.getsignal(signal.SIGTERM)
    first = train_sft(settings, stopped, callbacks=[Sends(2)])
    assert (first.steps, first.stopped) == (2, True)
    assert signal.getsignal(signal.SIGTERM) == before
    assert [each.name for each in checkpoints(stopped / "checkpoints")] == ["checkpoint-2"]
    assert not (stopped / "model").exists()
    second = train_sft(settings, stopped, resume=True)
    assert (second.steps, second.stopped) == (4, False)
    assert len(losses_of(straight, 4)) == 4
    assert losses_of(stopped, 4) == losses_of(straight, 4)
    for file in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (stopped / file).read_bytes() == (straight / file).read_bytes()


def test_old_checkpoints_go_and_a_finished_run_can_be_gone_on_with(
    base: Path, pages: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train_sft(told(base, pages, save_steps=1, keep_checkpoints=2), out)
    folder = out / "checkpoints"
    assert sorted(each.name for each in folder.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    shutil.rmtree(out / "model")  # as if it had been stopped while writing
    assert train_sft(told(base, pages), out, resume=True).steps == 4
    assert (out / "model" / "model.safetensors").is_file()
    assert train_sft(told(base, pages, max_steps=5), out, resume=True).steps == 5


def test_a_run_that_dies_while_saving_leaves_the_checkpoint_before(
    base: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    save = CropSFTTrainer._save_rng_state

    def full_disk(self: Any, folder: str) -> None:
        if self.state.global_step == 2:
            raise OSError(28, "No space left on device")
        save(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(CropSFTTrainer, "_save_rng_state", full_disk)
        with pytest.raises(SourceError, match=r"checkpoint 2, got .No space left"):
            train_sft(told(base, pages, save_steps=1), out)
    assert [each.name for each in checkpoints(out / "checkpoints")] == ["checkpoint-1"]
    assert (out / "checkpoints" / ".part" / "checkpoint-2").is_dir()
    assert train_sft(told(base, pages), out, resume=True).steps == 4
    names = sorted(each.name for each in (out / "checkpoints").iterdir())
    assert names == ["checkpoint-3", "checkpoint-4"]  # saved at every step, as before


PROGRAM = "import sys; from cropvlm_core.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_143(
    base: Path, pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["train", "sft", "--model", base, "--data", pages, "--out", out, "--device-type", "cpu"]
    words += ["--max-steps", "100000", "--set", "log_steps=1", "--set", "workers=1"]
    words += ["--gradient-accumulation", "1", "--batch-size", "1"]
    command = [sys.executable, "-u", "-c", PROGRAM, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("step ") for line in process.stderr)
        os.killpg(process.pid, signal.SIGTERM)  # its worker too, as schedulers do
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 143
    (checkpoint,) = checkpoints(out / "checkpoints")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert f"cropvlm: stopped by SIGTERM after step {step}; --resume goes on" in complaint
    assert run("train", "sft", "--out", out, "--resume", "--max-steps", step + 1) == 0
    assert f"{out / 'model'}: {step + 1} steps" in capsys.readouterr().out


TWO_PROCESSES = """
import hashlib, os, signal, sys
from pathlib import Path
import torch
from transformers import TrainerCallback
from cropvlm_core.training.run_settings import SFTSettings, read_settings
from cropvlm_core.cli import main
from cropvlm_core.training.sft import train_sft

rank, out = os.environ["RANK"], Path(sys.argv[2])
torch.set_num_threads(1)

class Watches(TrainerCallback):
    def on_step_begin(self, args, state, control, **_):
        if rank == "1" and state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # this process alone is told, in the second step

    def on_train_end(self, args, state, control, model, **_):
        digest = hashlib.sha256()
        for value in model.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        with (out.parent / f"rank-{rank}").open("a") as told:
            print(args.world_size, state.global_step, digest.hexdigest(), file=told)

settings = read_settings(SFTSettings, sys.argv[1])
assert train_sft(settings, out, callbacks=[Watches()]).stopped
sys.exit(main(["train", "sft", "--out", str(out), "--resume"]))
"""


@pytest.mark.slow
def test_two_machines_of_accelerate_train_what_one_process_does(
    base: Path, pages: Path, tmp_path: Path
) -> None:
    """Both stop when one is told to, go on, and come to the weights of one with twice the batches.

    Two launchers that meet by an address are all that accelerate knows of two machines.
    """
    out = tmp_path / "out"
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    # What is dropped differs by process, and so does an epoch's end with pages left over.
    changed = {"held_out": str(pages), "lora_dropout": 0.0, "batch_size": 1}
    settings = told(base, pages, gradient_accumulation=1, **changed)
    (tmp_path / "run.yaml").write_text(to_yaml(settings))
    # of several processes, accelerate starts those of --multi_gpu only; the settings say CPU
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "2", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_ip", "127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        command += ["--main_process_port", str(free.getsockname()[1])]
    words = [str(tmp_path / "two.py"), str(tmp_path / "run.yaml"), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    machines = [
        subprocess.Popen(
            [*command, "--machine_rank", rank, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in ("0", "1")
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:  # meanwhile
        train_sft(told(base, pages, **changed), tmp_path / "one")
    finally:
        torch.set_num_threads(threads)
        printed = [machine.communicate(timeout=120) for machine in machines]
    for machine, (_, complaint) in zip(machines, printed, strict=True):
        assert machine.returncode == 0, complaint
    assert f"{out / 'model'}: 4 steps" in printed[0][0]
    assert printed[1][0] == ""  # the first alone tells, and writes
    first, second = ((tmp_path / f"rank-{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert first.split()[:2] == ["2", "2"]
    alone, together = (
        load_file(folder / "adapter" / "adapter_model.safetensors")
        for folder in (tmp_path / "one", out)
    )
    assert any(weight.abs().max() > 1e-3 for weight in alone.values())
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, rtol=1e-4, atol=1e-6)
    saved = [each.name for each in checkpoints(out / "checkpoints")]
    assert saved == ["checkpoint-2", "checkpoint-4"]
    files = {each.name for each in (out / "checkpoints" / "checkpoint-2").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= files
    assert (out / "model" / "model.safetensors").is_file()


# ---- what is refused


def test_what_cannot_be_trained_is_refused(base: Path, pages: Path, tmp_path: Path) -> None:
    bare = [replace(question, boxes=()) for question in read_questions(pages)]
    write_questions(tmp_path / "bare.jsonl", bare)
    out = tmp_path / "out"
    with pytest.raises(DataError, match="expected questions with boxes, got 10 without"):
        train_sft(told(base, tmp_path / "bare.jsonl"), out)
    with pytest.raises(DataError, match="expected held-out questions with boxes, got 10 without"):
        train_sft(told(base, pages, held_out=str(tmp_path / "bare.jsonl")), out)
    with pytest.raises(DataError, match="expected installed loggers in report_to, got no_logger"):
        train_sft(told(base, pages, report_to="no_logger"), out)
    with pytest.raises(DataError, match=r"expected a schedule of \[.*'cosine'.*\], got 'downhill'"):
        train_sft(told(base, pages, schedule="downhill"), out)
    assert not out.exists()
    cropper = cropper_of(base)
    cropper.vlm.shares = False  # as of a model that is no SmolVLM
    with pytest.raises(ModelError, match="expected a policy of the SmolVLM family, got 'idefics3'"):
        CropSFTTrainer(cropper, [], None)


def test_an_adapter_is_no_model_to_start_from(base: Path, pages: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(base)})
    )
    with pytest.raises(DataError, match="expected a whole model to start from, got an adapter"):
        train_sft(told(tmp_path, pages), tmp_path / "out")
