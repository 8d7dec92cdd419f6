"""``cropvlm doctor``: what is installed here, what can run, and what will bite."""

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from typing import Any

from cropvlm_core import __version__
from cropvlm_core.cli import arguments

_CROPPERS = ("embedded", "whole", "centre", "random", "ocr", "hf:MODEL", "openai:MODEL")
_TARGETS = ("openai:MODEL", "hf:MODEL", "tesseract@512", "constant:TEXT")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?", re.DOTALL)
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_SECONDS = 120  # for importing torchvision, and torch with it, in a process of its own


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "doctor",
        help="show versions, extras, what can run here, and warnings",
        description="Show versions, extras, the croppers and targets that can run here, and "
        "warnings. Opens no connection.",
    )
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Diagnose and tell."""
    found = diagnose()
    print(json.dumps(found) if given.json else _to_text(found))
    return 0


def diagnose() -> dict[str, Any]:
    """Return what ``cropvlm doctor --json`` prints.

    ``versions``: of this package, Python, the base packages and Tesseract. ``extras``: for each,
    whether it is ``installed`` and the versions of its ``packages`` (None: absent). ``weights``:
    ``name``, ``version``, ``licence``, ``format`` and ``sha256`` of the embedded cropper's, None
    where they cannot be loaded. ``croppers``, ``targets``: for each, None where it runs, else why
    not. ``warnings``: a list of texts.
    """
    return {
        "versions": {
            "cropvlm": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{name: _version(name) for name in ("pillow", "numpy", "onnxruntime")},
            "tesseract": _tesseract(),
        },
        "extras": {
            extra: {"installed": all(packages.values()), "packages": packages}
            for extra, packages in _extras().items()
        },
        "weights": _weights(),
        "croppers": {spec: _why_no_cropper(spec) for spec in _CROPPERS},
        "targets": {spec: _why_no_target(spec) for spec in _TARGETS},
        "warnings": _warnings(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tesseract() -> str | None:
    """The release that reads, and by which way; None: there is none, or it does not start."""
    from cropvlm_core.errors import CropVLMError
    from cropvlm_core.tesseract.engine import find_engine

    try:
        return find_engine().version.removeprefix("tesseract ")
    except CropVLMError:
        return None


def _weights() -> dict[str, str | None] | None:
    """What the shipped weights say of themselves; ``croppers`` says why they cannot be loaded."""
    try:
        from cropvlm_core.embedded import EmbeddedCropper

        cropper = EmbeddedCropper(threads=1)
    except Exception:  # noqa: BLE001 - told where the cropper is tried
        return None
    told = {key: cropper.about.get(key) for key in ("name", "version", "licence", "format")}
    return told | {"sha256": cropper.digest}


def _extras() -> dict[str, dict[str, str | None]]:
    """The packages of every extra, as the installed metadata of cropvlm names them."""
    try:
        about = metadata.metadata("cropvlm")
        lines = metadata.requires("cropvlm") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return {}
    needs: dict[str, list[tuple[str, str]]] = {
        extra: [] for extra in about.get_all("Provides-Extra") or ()
    }
    for line in lines:
        match = _REQUIREMENT.match(line)
        extra = _EXTRA.search((match and match[3]) or "")
        if match and extra and extra[1] in needs:
            needs[extra[1]].append((match[1], match[2] or ""))
    return {extra: dict(sorted(_packages(extra, needs).items())) for extra in needs}


def _packages(extra: str, needs: dict[str, list[tuple[str, str]]]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package, inner in needs.get(extra, ()):
        if package.lower() != "cropvlm":
            found[package] = _version(package)
            continue
        for name in inner.split(","):
            found |= _packages(name.strip(), needs)
    return found


def _why_no_cropper(spec: str) -> str | None:
    from PIL import Image

    from cropvlm_core.loading import load_cropper
    from cropvlm_core.zoom import ZoomPipeline

    if spec.startswith("hf:"):
        return _why_no_local()
    try:
        pipeline = ZoomPipeline(load_cropper(spec))
        if spec.startswith("openai:"):
            return _why_no_server()
        pipeline.zoom(Image.new("RGB", (320, 480), "white"), "What is the total?")
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what we are asked for
        return _in_words(error)
    return None


def _why_no_target(spec: str) -> str | None:
    from cropvlm_core.loading import load_target

    if spec.startswith("hf:"):
        return _why_no_local()
    try:
        load_target(spec)
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what we are asked for
        return _in_words(error)
    return _why_no_server() if spec.startswith("openai:") else None


def _why_no_local() -> str | None:
    """Why no model of the Hub runs here; none is loaded, let alone downloaded."""
    from cropvlm_core.loading import check_local

    try:
        check_local()
        from cropvlm_core.transformers_vlm import TransformersCropper  # noqa: F401 - the trial
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what we are asked for
        return _in_words(error)
    return None


def _in_words(error: Exception) -> str:
    from cropvlm_core.errors import CropVLMError, SpecError

    if isinstance(error, SpecError):
        return "not part of this version"
    text = " ".join(str(error).split())
    return text if isinstance(error, CropVLMError) else f"{type(error).__name__}: {text}"


def _why_no_server() -> str | None:
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return None
    return "set OPENAI_API_KEY or OPENAI_BASE_URL, or name a server: openai:MODEL@URL"


def _warnings() -> list[str]:
    found = []
    pillow = _version("pillow")
    if pillow is not None and int(pillow.split(".")[0]) < 13:
        found.append(
            f"Pillow {pillow} is older than 13.0, which closes critical holes in its decoders: "
            "pip install --upgrade pillow"
        )
    if not _extras():
        found.append("cropvlm runs without being installed, so its extras are unknown")
    trouble = _torchvision_trouble()
    if trouble is not None:
        found.append(
            f"torchvision is installed but broken ({trouble}), and transformers fails with it; "
            "cropvlm does not need it: pip uninstall torchvision"
        )
    return found


def _torchvision_trouble() -> str | None:
    """Why torchvision cannot be imported, tried in another process; None: it can, or is absent."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    command = [sys.executable, "-c", "import torchvision"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"importing it took more than {_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else f"exit code {done.returncode}"


def _to_text(found: dict[str, Any]) -> str:
    lines = [f"{name:12} {version or 'absent'}" for name, version in found["versions"].items()]
    weights = found["weights"] or {}
    told = [weights.get("version") or "unversioned", f"sha256 {weights.get('sha256', '')[:16]}"]
    lines.append(f"{'weights':12} {', '.join(told) if weights else 'cannot be loaded'}")
    lines.append("\nextras")
    for extra, state in found["extras"].items():
        missing = [name for name, version in state["packages"].items() if version is None]
        lines.append(f"  {extra:12} {'no: ' + ', '.join(missing) if missing else 'installed'}")
    for kind in ("croppers", "targets"):
        lines.append(f"\n{kind}")
        for spec, why in found[kind].items():
            lines.append(f"  {spec:14} {'runs' if why is None else f'no: {why}'}")
    lines.append("\nwarnings")
    lines += [f"  {warning}" for warning in found["warnings"]] or ["  none"]
    return "\n".join(lines)
