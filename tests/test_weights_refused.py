"""Weight files that somebody else made: refused before use, in one line, and never run."""

import contextlib
import json
import os
import pickle
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.errors import DataError, WeightsError
from cropvlm_core.loading import load_cropper, load_target
from tests import small_models
from tests.programs import require_package

torch = require_package("torch")
onnx = require_package("onnx")

from safetensors.torch import load_file, save_file  # noqa: E402

from cropvlm_core.training.supervised import load_checkpoint, save_checkpoint  # noqa: E402

SECONDS = 120  # of waiting for a refusal: a FIFO that is opened waits for ever


class Payload:
    """Touches a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """The file that no refusal may have made."""
    place = tmp_path / "was-run"
    yield place
    assert not place.exists()


@contextlib.contextmanager
def refused(kind: type[Exception], place: Path) -> Iterator[None]:
    """What is loaded inside is refused in time, in one short line without a path of the machine."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no refusal within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    started = time.monotonic()
    try:
        with pytest.raises(kind) as caught:
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < SECONDS
    said = str(caught.value)
    assert said.startswith("expected ")
    assert "\n" not in said
    assert len(said) < 500
    if kind is WeightsError and place.is_file():
        assert str(place.parent) not in said


def fifo(file: Path) -> None:
    os.mkfifo(file)


def link_to_fifo(file: Path) -> None:
    pipe = file.with_name(f"{file.name}.pipe")
    os.mkfifo(pipe)
    file.symlink_to(pipe)


def loop(file: Path) -> None:
    file.symlink_to(file)


ODD_FILES: dict[str, Callable[[Path], None]] = {
    "directory": Path.mkdir,
    "FIFO": fifo,
    "link to a FIFO": link_to_fifo,
    "link to a device": lambda file: file.symlink_to("/dev/zero"),
    "link to itself": loop,
    "link to nothing": lambda file: file.symlink_to("nowhere"),
}


# ---- the embedded cropper: one ONNX file

SHIPPED = resources.files("cropvlm_core.embedded").joinpath("policy.onnx").read_bytes()


def elsewhere(file: Path) -> bytes:
    """The shipped network with its first large tensor in another file, which is there."""
    model = onnx.load_model_from_string(SHIPPED)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    (file.parent / "tensor.bin").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "tensor.bin")
    tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


def other_graph(_: Path) -> bytes:
    """A whole network of another make."""
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    made = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [given], [made]))
    return bytes(model.SerializeToString())


def foreign_operator(_: Path) -> bytes:
    """The shipped network with an operator that a library of its own would bring."""
    model = onnx.load_model_from_string(SHIPPED)
    model.graph.node[0].domain, model.graph.node[0].op_type = "foreign", "Run"
    return bytes(model.SerializeToString())


def other_outputs(_: Path) -> bytes:
    """The shipped network, with one of its outputs left out."""
    model = onnx.load_model_from_string(SHIPPED)
    del model.graph.output[2]
    return bytes(model.SerializeToString())


CONTENTS: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"not a model",
    "pickle": lambda file: pickle.dumps(Payload(file.with_name("was-run"))),
    "safetensors": lambda _: struct.pack("<Q", 2) + b"{}",
    "first half": lambda _: SHIPPED[: len(SHIPPED) // 2],
    "last byte lacking": lambda _: SHIPPED[:-1],
    "no beginning": lambda _: SHIPPED[64:],
    "first bytes flipped": lambda _: bytes(each ^ 255 for each in SHIPPED[:64]) + SHIPPED[64:],
    "tensor in another file": elsewhere,
    "another network": other_graph,
    "operator of a library": foreign_operator,
    "an output lacking": other_outputs,
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_that_is_no_embedded_policy(kind: str, tmp_path: Path, marker: Path) -> None:
    assert marker.parent == tmp_path
    file = tmp_path / "policy.onnx"
    file.write_bytes(CONTENTS[kind](file))
    with refused(WeightsError, file):
        EmbeddedCropper(file)


def test_a_saved_torch_model_is_no_embedded_policy(tmp_path: Path, marker: Path) -> None:
    file = tmp_path / "policy.pt"
    torch.save(Payload(marker), file)
    with refused(WeightsError, file):
        load_cropper(f"embedded:{file}")


@pytest.mark.parametrize("kind", ODD_FILES)
def test_no_regular_file_is_no_embedded_policy(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.onnx"
    ODD_FILES[kind](file)
    with refused(WeightsError, file):
        load_cropper(f"embedded:{file}")


# ---- croppers and targets of Hugging Face: safetensors of the folder itself


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a small model, to be damaged."""
    return shutil.copytree(small_models.whole_vlm(), tmp_path / "model")


def header(told: Any, length: int | None = None, after: bytes = b"") -> bytes:
    """A safetensors file with this header, which says that it is ``length`` long."""
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + after


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}


HEADERS = {
    "longest header": header({}, 2**64 - 1),
    "header of a terabyte": header({}, 2**40),
    "header past the end": header({}, 3),
    "no JSON": header(b"[" * 5000),
    "no text": header(b"\xff\xfe\x00"),
    "a list": header([]),
    "data past the end": header(tensor([4], 0, 16), after=b"\0" * 8),
    "data before the beginning": header(tensor([4], -16, 0), after=b"\0" * 16),
    "more values than bytes": header(tensor([10**9, 10**9], 0, 16), after=b"\0" * 16),
    "a size that overflows": header(tensor([2**40, 2**40], 0, 16), after=b"\0" * 16),
    "a type that is none": header(tensor([4], 0, 16, "RUN"), after=b"\0" * 16),
    "bytes that no tensor owns": header(tensor([4], 0, 16), after=b"\0" * 999),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_safetensors_with_a_false_header(kind: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(HEADERS[kind])
    with refused(WeightsError, folder):
        load_target(f"hf:{folder}")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", ODD_FILES)
def test_a_part_of_a_folder_that_is_no_regular_file(kind: str, file: str, folder: Path) -> None:
    (folder / file).unlink()
    ODD_FILES[kind](folder / file)
    with refused(WeightsError, folder):
        load_cropper(f"hf:{folder}")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.pt"])
def test_a_pickle_under_any_name(name: str, folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(Payload(marker), folder / name)
    with refused(WeightsError, folder):
        load_target(f"hf:{folder}")


def shards(folder: Path, file: str) -> None:
    """Have an index name ``file`` for all weights, as transformers splits large models."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    told = {"metadata": {}, "weight_map": dict.fromkeys(weights, file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(told))


def test_a_model_in_shards_is_read(folder: Path) -> None:
    weights = folder / "model.safetensors"
    save_file(load_file(weights), folder / "of-one.safetensors", metadata={"format": "pt"})
    shards(folder, "of-one.safetensors")
    said = load_target(f"hf:{folder}").reply([small_models.asked(small_models.page(30, 30))])
    assert len(said) == 1


@pytest.mark.parametrize(
    "file", ["shard.bin", "../shard.safetensors", "shard.safetensors", "/dev/zero", "pipe"]
)
def test_an_index_that_names_something_else(file: str, folder: Path) -> None:
    """transformers would read the pickle, the file next door, and wait for the FIFO."""
    weights = load_file(folder / "model.safetensors")
    shards(folder, file)
    save_file(weights, folder.parent / "shard.safetensors", metadata={"format": "pt"})
    torch.save(weights, folder / "shard.bin")
    fifo(folder / "shard.safetensors")
    fifo(folder / "pipe")
    with refused(WeightsError, folder):
        load_target(f"hf:{folder}")


def test_settings_that_name_a_pickle(folder: Path) -> None:
    """The one name of a pickle that transformers lets a config.json give."""
    torch.save(load_file(folder / "model.safetensors"), folder / "adapter_model.bin")
    (folder / "model.safetensors").unlink()
    told = json.loads((folder / "config.json").read_text())
    told["transformers_weights"] = "adapter_model.bin"
    (folder / "config.json").write_text(json.dumps(told))
    with refused(WeightsError, folder):
        load_target(f"hf:{folder}")


@pytest.mark.parametrize("kind", [None, *ODD_FILES])
def test_an_adapter_whose_weights_are_something_else(
    kind: str | None, tmp_path: Path, marker: Path
) -> None:
    require_package("peft")
    told = {"base_model_name_or_path": str(small_models.whole_vlm()), "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(told))
    file = tmp_path / "adapter_model.safetensors"
    if kind is None:
        torch.save(Payload(marker), file)
        torch.save(Payload(marker), tmp_path / "adapter_model.bin")
    else:
        ODD_FILES[kind](file)
    with refused(WeightsError, tmp_path):
        load_target(f"hf:{tmp_path}")


# ---- checkpoints of training


def test_a_checkpoint_that_would_run_code(tmp_path: Path, marker: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1, "network": Payload(marker)})
    with refused(DataError, file):
        load_checkpoint(file)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_a_checkpoint_that_is_no_regular_file(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    ODD_FILES[kind](file)
    with refused(DataError, file):
        load_checkpoint(file)
