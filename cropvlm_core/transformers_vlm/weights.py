"""From a folder or a Hub id to a model: safetensors only, no foreign code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText
from transformers.utils import cached_file, logging

from cropvlm_core.errors import CropVLMError, MissingExtraError, ModelError, WeightsError, shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_FILE = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_REFUSALS = (
    # what transformers raises, file by file, where a folder is not as it should be
    *(OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, RuntimeError),
    *(SafetensorError, StrictDataclassError),
)


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return ``device``, or the best that this machine has: CUDA, then MPS, then the CPU.

    Raises:
        ValueError: no name of a device, or one that this machine does not have.
    """
    if device is not None:
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            why = shorten(next(iter(str(error).splitlines()), ""), 100)
            raise ValueError(
                f"expected a device of this machine, such as cuda, cuda:1, mps or cpu, "
                f"got {shorten(str(device))}: {why}"
            ) from error
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return ``dtype``, or bfloat16 on a GPU that computes in it, else float32.

    Raises:
        ValueError: a name that is no dtype of floating point.
    """
    if dtype is None:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    chosen = {"bf16": "bfloat16", "fp32": "float32", "fp16": "float16"}.get(str(dtype), dtype)
    found = getattr(torch, chosen, None) if isinstance(chosen, str) else chosen
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"expected a dtype such as bfloat16 or float32, got {shorten(dtype)}")
    return found


def is_folder(name: str | os.PathLike[str]) -> bool:
    """Whether ``name`` is a folder here; whatever cannot be one is none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long for a path, or of letters that none has
        return False


def check_folder(name: str | os.PathLike[str]) -> None:
    """Refuse at once a folder that is not there, which the Hub would be asked for, or holds none.

    Raises:
        WeightsError: ``name`` is a path below a folder that exists, but no folder itself; or a
            folder without a model.
    """
    path = Path(name)
    asked = "expected a Hugging Face folder or id of an image-text-to-text model"
    if not is_folder(name):
        above = path.parent
        if path.is_absolute() or (above != Path() and is_folder(above)):
            raise WeightsError(f"{asked}, got {shorten(os.fspath(name))}: no such folder")
    elif not any((path / file).is_file() for file in ("config.json", ADAPTER_FILE)):
        inner = path / "model"
        hint = f"; {inner} holds one" if (inner / "config.json").is_file() else ""
        raise WeightsError(f"{asked}, got {shorten(os.fspath(name))} without config.json{hint}")


def base_of_adapter(name: str | os.PathLike[str]) -> str | None:
    """Return the base model of a folder that holds a PEFT adapter; None for any other name.

    Raises:
        WeightsError: the adapter does not say which model it belongs to.
    """
    file = Path(name, ADAPTER_FILE)
    if not is_folder(name) or not file.is_file():
        return None
    try:
        base = json.loads(file.read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    if not isinstance(base, str) or not base:
        raise WeightsError(f"expected {ADAPTER_FILE} to name a base model in {shorten(str(name))}")
    return base


def load_model(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: torch.device,
    dtype: torch.dtype,
    attention: str = "sdpa",
) -> PreTrainedModel:
    """Load the model of a folder or Hub id, in evaluation mode.

    A folder that holds a PEFT adapter is loaded as its base model with the adapter merged in.

    Raises:
        WeightsError: there is no such model, or its weights are not in safetensors.
        MissingExtraError: an adapter, and PEFT (extra ``train``) is not installed.
        ModelError: the device has not the memory for it.
    """
    check_folder(name)
    base = base_of_adapter(name)
    if base is not None:
        return _merged(name, base, device=device, dtype=dtype, attention=attention)
    with told_plainly(name), _no_progress_bar():
        _check_weight_files(name, revision)
        loaded, told = AutoModelForImageTextToText.from_pretrained(
            name,
            revision=revision,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    if missing := sorted(told["missing_keys"]):  # transformers would go on with random weights
        raise WeightsError(
            f"expected weights for all of {shorten(os.fspath(name))}, got none for "
            f"{len(missing)} of its tensors, such as {shorten(missing[0])}"
        )
    try:
        return loaded.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"expected {shorten(os.fspath(name))} to fit the memory of {device}, it ran out"
        ) from error


def _check_weight_files(name: str | os.PathLike[str], revision: str | None) -> None:
    """Refuse weights in files that are no safetensors of the model's own.

    transformers reads what an index of shards names: a pickle, or a path elsewhere, too.

    Raises:
        WeightsError: there is such a file.
    """
    index = _json(name, "model.safetensors.index.json", revision)
    named = _json(name, "config.json", revision).get("transformers_weights")
    files = [*dict(index.get("weight_map") or {}).values(), *([] if named is None else [named])]
    for file in sorted(set(files), key=str):
        own = isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors")
        if not own or (is_folder(name) and not Path(name, file).is_file()):
            raise WeightsError(
                f"expected weights in safetensors files of {shorten(os.fspath(name))}, "
                f"got {shorten(file)}"
            )


def _json(name: str | os.PathLike[str], file: str, revision: str | None) -> dict[str, Any]:
    """A JSON file of a folder or Hub id; empty where there is none."""
    found = cached_file(
        os.fspath(name),
        file,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
    )
    return {} if found is None else dict(json.loads(Path(found).read_bytes()))


def _merged(
    name: str | os.PathLike[str],
    base: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
) -> PreTrainedModel:
    if base_of_adapter(base) is not None:
        raise WeightsError(
            f"expected {shorten(str(name))} to be an adapter of a whole model, got another "
            f"adapter: {shorten(base)}"
        )
    if not Path(name, ADAPTER_WEIGHTS).is_file():  # PEFT would take a pickle
        raise WeightsError(f"expected {ADAPTER_WEIGHTS} in {shorten(str(name))}, got none")
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtraError("a folder that holds an adapter", "train") from None
    model = load_model(base, device=device, dtype=dtype, attention=attention)
    with told_plainly(name):
        adapted = PeftModel.from_pretrained(model, name)
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged.eval()


def fingerprint(model: Any) -> str:
    """Return a short text that changes with the weights: a hash of a few values of each tensor."""
    digest = hashlib.blake2b(digest_size=8)
    for weight in model.parameters():
        digest.update(weight.detach().flatten()[:16].float().cpu().numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Loading a small model is over before its bar is drawn."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def told_plainly(name: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one sentence what transformers says in many, in several ways."""
    try:
        yield
    except CropVLMError:
        raise
    except _REFUSALS as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        raise WeightsError(
            f"expected a Hugging Face folder or id of an image-text-to-text model in safetensors, "
            f"got {shorten(os.fspath(name))}: {type(error).__name__}: {shorten(said, 160)}"
        ) from error
