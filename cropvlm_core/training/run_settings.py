"""What a training run is told: from YAML and flags, checked, and kept beside what it made.

``RunSettings`` is what warm start and GRPO have in common; each adds its own and its own defaults.
A setting is a field made by :func:`setting`, which holds its range and its one line of help; so
flags, messages and the written file all come from the class.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from cropvlm_core.box import BoxNotation
from cropvlm_core.errors import BoxError, DataError, shorten

_Settings = TypeVar("_Settings", bound="RunSettings")

_TRUE, _FALSE, _NONE = ("true", "yes", "on"), ("false", "no", "off"), ("none", "null")


def setting(
    default: Any,
    told: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """Return a dataclass field with its help line and its range (``above`` is exclusive)."""
    metadata = {"help": told, "least": least, "above": above, "most": most}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What every training run of a cropper that is a VLM can be told.

    Raises:
        DataError: a value out of range, or no model or data.
    """

    model: str = setting("", "folder or Hub id of the model to start from")
    data: str = setting("", "question set to train on: a JSONL file or a folder")
    held_out: str | None = setting(None, "question set to evaluate on, never trained on")
    notation: str | None = setting(
        None, "how boxes are written, such as percent or per_mille (none: the model's, or percent)"
    )
    input_size: int | None = setting(
        None, "longest edge in pixels at which the model sees a page (none: the model's)", least=1
    )
    no_zoom: bool = setting(False, "whether the model may write that no zoom is needed")
    epochs: float = setting(1.0, "passes over the data", above=0)
    max_steps: int | None = setting(None, "end after so many steps, instead of epochs", least=1)
    learning_rate: float = setting(5e-5, "the highest learning rate", above=0)
    schedule: str = setting("cosine", "how the learning rate falls: a name of transformers")
    warmup: float = setting(0.03, "share of the steps in which it first rises", least=0, most=0.99)
    weight_decay: float = setting(0.0, "weight decay of AdamW", least=0)
    max_grad_norm: float = setting(1.0, "gradients are scaled down to this norm", above=0)
    batch_size: int = setting(2, "rows that a process takes at a time", least=1)
    gradient_accumulation: int = setting(8, "batches that make one step", least=1)
    lora_rank: int = setting(128, "rank of the LoRA adapter (0: train every weight)", least=0)
    lora_alpha: int = setting(256, "scale of the adapter", least=1)
    lora_dropout: float = setting(0.05, "dropout in front of the adapter", least=0, most=0.99)
    lora_vision: bool = setting(True, "whether the vision tower and the connector adapt too")
    activation_checkpointing: bool = setting(
        False, "compute activations twice, to need less memory"
    )
    precision: Literal["auto", "bf16", "fp32"] = setting(
        "auto", "of the computation; weights are kept in fp32 (auto: bf16 on a GPU that has it)"
    )
    device_type: Literal["auto", "cpu"] = setting("auto", "cpu: use no GPU")
    seed: int = setting(0, "source of all chance", least=0, most=2**32 - 1)
    save_steps: int = setting(200, "steps between checkpoints", least=1)
    keep_checkpoints: int = setting(2, "how many of the newest are kept", least=1)
    log_steps: int = setting(10, "steps between two lines of figures", least=1)
    eval_steps: int | None = setting(
        None, "steps between evaluations (none: as between checkpoints)", least=1
    )
    report_to: tuple[str, ...] = setting(
        (), "loggers of the Trainer, such as tensorboard, wandb, trackio"
    )

    def __post_init__(self) -> None:
        """Check what types alone do not tell."""
        for field in dataclasses.fields(self):
            _check_range(field, getattr(self, field.name))
        for name in ("model", "data"):
            if not getattr(self, name).strip():
                raise DataError(f"expected a setting {name} ({_help(type(self), name)}), got none")
        if self.notation is not None:
            try:
                BoxNotation.from_name(self.notation)
            except BoxError as error:
                raise DataError(f"{error} as setting notation") from None

    def located(self) -> Self:
        """These settings with absolute paths, so that they hold from every folder."""
        changed = {
            name: os.path.abspath(value)  # noqa: PTH100  links are not followed
            for name in ("model", "data", "held_out")
            if (value := getattr(self, name)) is not None and Path(value).exists()
        }
        return dataclasses.replace(self, **changed)


@dataclasses.dataclass(frozen=True)
class SFTSettings(RunSettings):
    """Of the warm start; the defaults are the paper's (CropVLM, arXiv 2511.19820)."""

    workers: int | None = setting(
        None, "processes that prepare pages (none: 2 on a GPU, else 0)", least=0
    )
    eval_boxes: int = setting(64, "held-out rows whose boxes are compared", least=0)


@dataclasses.dataclass(frozen=True)
class GRPOSettings(RunSettings):
    """Of GRPO; the defaults are the paper's (CropVLM, arXiv 2511.19820)."""

    learning_rate: float = setting(5e-6, "at its highest", above=0)
    max_grad_norm: float = setting(0.1, "gradients are scaled down to this norm", above=0)
    batch_size: int = setting(
        1, "questions that a process takes at a time, each with its whole group", least=1
    )
    gradient_accumulation: int = setting(16, "batches that make one step", least=1)
    group_size: int = setting(6, "boxes drawn for each question (G)", least=2)
    temperature: float = setting(0.8, "of drawing, and of the log-probabilities", above=0)
    max_new_tokens: int = setting(32, "the most tokens of one box", least=8)
    kl: float = setting(0.01, "weight of the divergence from the model started from", least=0)
    advantage: Literal["dr_grpo", "std"] = setting(
        "dr_grpo",
        "dr_grpo: reward minus the group's mean, loss over a fixed length (the paper's code); std: "
        "also over the group's standard deviation (its text)",
    )
    reward: Literal[
        "likelihood",
        "mixed_accuracy",
        "anls",
        "vqa_accuracy",
        "exact_match",
        "relaxed_accuracy",
        "contains",
        "contains_exactly",
        "multiple_choice",
    ] = setting(
        "likelihood",
        "of the answer: its log-likelihood under the frozen model, or the score of what that model "
        "answers (mixed_accuracy: the paper's, VQA accuracy of ten, else ANLS; contains: of a "
        "tesseract@N, whether it read the answer)",
    )
    reward_model: str = setting(
        "", "the frozen model: hf:FOLDER_OR_ID, or for a score also openai:MODEL[@URL]"
    )
    reward_input_size: int | None = setting(
        None, "longest edge in pixels at which an hf: reward model sees page and crop", least=1
    )
    reward_batch_size: int = setting(8, "conversations of an hf: reward model at a time", least=1)
    per_token: bool = setting(
        False, "divide the log-likelihood by the answer's tokens, so that long ones weigh no more"
    )
    valid_box: float = setting(1.0, "reward of a well-formed box (0: none)", least=0)
    area_price: float = setting(0.0, "taken off for a crop of the page's size, in reward", least=0)
    sample_steps: int = setting(50, "steps between two pictures of samples", least=1)

    def __post_init__(self) -> None:
        """Check what belongs together."""
        super().__post_init__()
        if not self.reward_model.strip():
            raise DataError(
                f"expected a setting reward_model ({_help(type(self), 'reward_model')}), got none"
            )
        if self.activation_checkpointing:
            raise DataError(
                "expected activation_checkpointing false, as GRPO keeps what it read of a prompt, "
                "got true"
            )

    def located(self) -> Self:
        """These settings with absolute paths."""
        located = super().located()
        kind, _, name = located.reward_model.partition(":")
        if kind == "hf" and Path(name).exists():
            absolute = os.path.abspath(name)  # noqa: PTH100  links are not followed
            return dataclasses.replace(located, reward_model=f"hf:{absolute}")
        return located


def read_settings(
    cls: type[_Settings],
    file: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> _Settings:
    """Read the settings of a run.

    Args:
        cls: which settings.
        file: YAML, a mapping of settings; None: the defaults.
        overrides: stronger than the file; values may be text, as flags give them.

    Raises:
        DataError: no such file, no such setting, or a value of another type or out of range.
    """
    values: dict[str, Any] = {}
    if file is not None:
        where = f"{Path(file).name}: "
        values = {name: _value(cls, name, value, where) for name, value in _mapping(file).items()}
    for name, value in (overrides or {}).items():
        values[name] = _value(cls, name, value, "")
    return cls(**values)


def to_yaml(settings: RunSettings) -> str:
    """Return YAML that :func:`read_settings` reads, each setting under its line of help."""
    return "".join(_lines(type(settings), dataclasses.asdict(settings)))


def template(cls: type[RunSettings]) -> str:
    """Return :func:`to_yaml` of the defaults, to be filled in."""
    return "".join(_lines(cls, {field.name: field.default for field in dataclasses.fields(cls)}))


def _lines(cls: type[RunSettings], values: Mapping[str, Any]) -> Iterator[str]:
    import yaml  # type: ignore[import-untyped]

    for name, value in values.items():
        plain = list(value) if isinstance(value, tuple) else value
        told = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**6)
        yield f"# {_help(cls, name)}\n{name}: {told.removesuffix('...' + chr(10))}"


def _mapping(file: str | os.PathLike[str]) -> dict[Any, Any]:
    import yaml

    name = shorten(os.fspath(file))
    try:
        read = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"expected a file of settings, got {name}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise DataError(f"expected YAML in {name}, got {shorten(said, 160)}") from error
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise DataError(f"expected a mapping of settings in {name}, got {shorten(read)}")
    return read


def _value(cls: type[RunSettings], name: Any, value: Any, where: str) -> Any:
    """The value of one setting in the type that the class declares."""
    known = [field.name for field in dataclasses.fields(cls)]
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 3) or sorted(known)
        raise DataError(f"{where}expected a setting such as {', '.join(near)}, got {shorten(name)}")
    kind = get_type_hints(cls)[name]
    try:
        return _converted(value, kind)
    except (ValueError, TypeError):
        raise DataError(
            f"{where}expected {name} as {_kind_text(kind)}, got {shorten(value)}"
        ) from None


def _converted(value: Any, kind: Any) -> Any:
    """``value`` as ``kind``; YAML reads 5e-5 as text, and flags are text.

    Raises:
        ValueError, TypeError: it is something else.
    """
    if get_origin(kind) in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in _NONE):
            return None
        return _converted(value, next(each for each in get_args(kind) if each is not type(None)))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError
        return value
    if get_origin(kind) is tuple:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise TypeError
        return tuple(word for each in words if (word := each.strip()).lower() not in ("", *_NONE))
    if kind is bool and isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    if kind in (int, float) and isinstance(value, str):
        return kind(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def _kind_text(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        inner = next(each for each in get_args(kind) if each is not type(None))
        return f"{_kind_text(inner)} or none"
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(kind, "a list of names")


def _check_range(field: dataclasses.Field[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    least, above, most = (field.metadata[name] for name in ("least", "above", "most"))
    low = f" >= {least}" if least is not None else f" > {above}" if above is not None else ""
    bounds = low + (f" and <= {most}" if most is not None else "")
    if (
        not math.isfinite(value)
        or (least is not None and value < least)
        or (above is not None and value <= above)
        or (most is not None and value > most)
    ):
        raise DataError(f"expected {field.name}{bounds or ' to be finite'}, got {shorten(value)}")


def _help(cls: type[RunSettings], name: str) -> str:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    return str(fields[name].metadata["help"])
