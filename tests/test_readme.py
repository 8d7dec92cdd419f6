"""What the README shows can be done as it stands there."""

import argparse
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.cli import build_parser, main
from tests.chat_server import ChatServer
from tests.model_server import answers, pictures
from tests.openai_talk import chat_message, showed
from tests.pages import noise
from tests.programs import require_package

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, to run commands in."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_first_command_zooms(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = blocks("bash")[0].splitlines()
    *install, zoom = line.split(" && ")
    assert install == ["python3 -m venv .venv", ". .venv/bin/activate", "pip install ."]
    program, *words = shlex.split(zoom)
    assert program == "cropvlm"
    assert main(words) == 0
    assert "of the page" in capsys.readouterr().out
    assert (checkout / "overlay.png").stat().st_size > 1000


def test_the_second_command_is_what_the_continuous_integration_runs() -> None:
    assert blocks("bash")[1].strip() == "bash scripts/check.sh"
    assert "bash scripts/check.sh" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.usefixtures("checkout")
def test_the_quickstart_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (block for block in blocks("python") if "default_pipeline().zoom(" in block)
    exec(code, {})  # noqa: S102 - our own README
    assert re.fullmatch(r"\(\d+, \d+, \d+, \d+\) None\n", capsys.readouterr().out)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("word", "packages"),
    [
        ("langchain_cropvlm", ["langchain", "langchain_openai"]),
        ("llamaindex_cropvlm", ["llama_index.core", "llama_index.llms.openai"]),
    ],
)
def test_what_is_shown_for_a_framework_runs(
    word: str,
    packages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in packages:
        require_package(package)
    (code,) = (block for block in blocks("python") if word in block)
    assert len(code.strip().splitlines()) <= 12
    with ChatServer(answers("12.90")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        exec(code, {})  # noqa: S102 - our own README
    assert capsys.readouterr().out == "12.90\n"
    whole, crop = pictures(server.requests[0])
    assert crop.picture.width < whole.picture.width


def test_what_is_shown_for_the_openai_client_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    require_package("openai")
    (code,) = (block for block in blocks("python") if "zoomed(OpenAI())" in block)
    known: dict[str, Any] = {}
    page = noise()
    with ChatServer(answers("12.90")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        exec(code, known)  # noqa: S102 - our own README
        asks = {"model": "m", "messages": [chat_message("Total?", page)]}
        known["client"].chat.completions.create(**asks)
        known["client"].chat.completions.create(**asks, zoom=False)
        known["client"].close()
    assert len(pictures(server.requests[0])) == 2
    assert showed(pictures(server.requests[1]), page)


def test_the_proxy_is_shown_with_a_command_that_is_understood() -> None:
    (line,) = re.findall(r"^```\n(cropvlm proxy .*)\n```", README, re.MULTILINE)
    given = build_parser().parse_args(shlex.split(line)[1:])
    assert f"http://{given.host}:{given.port}/v1" in README


def all_commands(parser: argparse.ArgumentParser, words: str) -> dict[str, set[str]]:
    """Every command in full, such as "cropvlm train pages", with its own options."""
    known: dict[str, set[str]] = {}
    options: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                known |= all_commands(inner, f"{words} {name}")
        options |= set(action.option_strings)
    return known or {words: options - {"-h", "--help", "--output"}}  # --output is -o


def test_the_synopsis_names_every_option() -> None:
    found = re.search(r"^```\n(cropvlm zoom .*?)^```", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    shown = {
        " ".join(re.findall(r"^cropvlm [a-z]+(?: [a-z]+)?(?=\s)", line)): set(
            re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line)
        )
        for line in found[1].splitlines()
    }
    known = all_commands(build_parser(), "cropvlm")
    assert shown.keys() == known.keys()
    for line in found[1].splitlines():
        name = next(each for each in shown if line.startswith(f"{each} "))
        if line.endswith(" ..."):  # a training run: --print-settings tells the rest
            assert shown[name] < known[name]
            assert {"--set", "--config"} <= shown[name]
        else:
            assert shown[name] == known[name]


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/which-one.md",
        "docs/mcp.md",
        "docs/proxy.md",
        "docs/ray.md",
        "docs/serving.md",
        "docs/training.md",
    ],
)
def test_links_inside_the_project_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    folder = (ROOT / document).parent
    assert [link for link in links if not (folder / link).exists()] == []
