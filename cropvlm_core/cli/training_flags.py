"""Flags of training runs: made from their settings, which a YAML file gives too."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from cropvlm_core.errors import DataError, MissingExtraError, shorten
from cropvlm_core.training.run_settings import RunSettings, read_settings, template

if TYPE_CHECKING:
    from cropvlm_core.training.runs import RunOutcome

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "yaml")
_METAVARS = {
    "model": "FOLDER_OR_ID",
    "data": "DATA",
    "held_out": "DATA",
    "report_to": "NAME[,NAME]",
}

_Settings = TypeVar("_Settings", bound=RunSettings)


def add_flags(
    parser: argparse.ArgumentParser, cls: type[RunSettings], names: Sequence[str]
) -> None:
    """Add --out, --config, --set, --resume, --print-settings, and a flag for each of ``names``."""
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--config", metavar="FILE.yaml", type=Path, help="settings; flags are stronger"
    )
    known = {field.name: field for field in fields(cls)}
    for name in names:
        _add_flag(parser, name, known[name].metadata["help"], known[name].default, cls)
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="pairs",
        action="append",
        default=[],
        help="any other setting; may be given several times",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from DIR's newest checkpoint, with DIR/settings.yaml unless --config is given",
    )
    parser.add_argument(
        "--print-settings",
        action=_PrintSettings,
        settings=cls,
        help="print a YAML file with every setting, its default and what it means, and exit",
    )


def read_flags(given: argparse.Namespace, cls: type[_Settings]) -> _Settings:
    """Return the settings of a run, from flags and file.

    Raises:
        DataError: a setting that does not exist or does not fit.
    """
    file = given.config
    if file is None and given.resume and (given.out / "settings.yaml").is_file():
        file = given.out / "settings.yaml"
    overrides: dict[str, Any] = {}
    for pair in given.pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise DataError(f"expected --set KEY=VALUE, got {shorten(pair)}")
        overrides[name.strip()] = value.strip()
    for field in fields(cls):
        value = getattr(given, field.name, None)
        if value is not None:
            overrides[field.name] = value
    return read_settings(cls, file, overrides)


def need_train(feature: str) -> None:
    """Refuse to go on without the extra ``train``.

    Raises:
        MissingExtraError: one of its packages is not installed.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in _PACKAGES):
        raise MissingExtraError(feature, "train")


def carry_out(
    given: argparse.Namespace,
    cls: type[_Settings],
    feature: str,
    trainer: Callable[[], Callable[..., "RunOutcome"]],
    figures: Mapping[str, str],
) -> int:
    """Run a training, and tell how it goes on stderr and what came out on stdout.

    Args:
        given: the command's arguments.
        cls: the settings of this kind of run.
        feature: what it is called where an extra is missing.
        trainer: imports and returns what trains.
        figures: those told in the end: their names, and how each is worded.
    """
    need_train(feature)
    settings = read_flags(given, cls)
    with _speaking():
        from cropvlm_core.training.stopping import leave_group

        outcome = trainer()(settings, given.out, resume=given.resume)
        leave_group()
    if os.environ.get("RANK", "0") != "0":  # the first of those that a launcher started tells
        return 128 + outcome.signal if outcome.stopped else 0
    if outcome.stopped:
        name = signal.Signals(outcome.signal).name
        print(
            f"cropvlm: stopped by {name} after step {outcome.steps}; --resume goes on",
            file=sys.stderr,
        )
        return 128 + outcome.signal  # as shells count
    model = given.out / "model"
    told = [
        text.format(outcome.figures[name])
        for name, text in figures.items()
        if name in outcome.figures
    ]
    print(f"{model}: {', '.join([f'{outcome.steps} steps', *told])}")
    print(f"look at it: cropvlm zoom IMAGE QUESTION --cropper hf:{model}")
    return 0


@contextlib.contextmanager
def _speaking() -> Iterator[None]:
    """Show on stderr what the training modules log; no bars where nobody watches them."""
    from cropvlm_core.training.runs import draw_no_bars

    # PEFT asks transformers under a name that transformers is giving up.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is dep", FutureWarning)
    if not sys.stderr.isatty():
        draw_no_bars()
    logger = logging.getLogger("cropvlm_core.training")
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _add_flag(
    parser: argparse.ArgumentParser, name: str, told: str, default: Any, cls: type[RunSettings]
) -> None:
    flag = f"--{name.replace('_', '-')}"
    kind = get_type_hints(cls)[name]
    if kind is bool and name.startswith("no_"):
        parser.add_argument(flag, action="store_const", const=True, help=told)
        return
    if kind is bool:
        said = f"{told} (default: {'yes' if default else 'no'})"
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=said)
        return
    end = "" if default in (None, "", ()) else f" (default: {default})"
    parser.add_argument(flag, metavar=_METAVARS.get(name, "VALUE"), help=f"{told}{end}")


class _PrintSettings(argparse.Action):
    """Prints a template of the settings and exits, as --help does."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, settings: type[RunSettings], **kwargs: Any
    ) -> None:
        super().__init__(option_strings, dest, nargs=0, **kwargs)
        self.settings = settings

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        try:
            need_train("printing settings")
        except MissingExtraError as error:
            parser.exit(2, f"cropvlm: error: {error}\n")
        print(template(self.settings), end="")
        parser.exit(0)
