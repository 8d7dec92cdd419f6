"""An app in another language: OpenAI's Node client, where node and the package are installed.

``npm install openai`` somewhere, and NODE_PATH set to its ``node_modules``, or ``npm install -g``.
"""

# ruff: noqa: E402
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import require_package

for package in ("starlette", "uvicorn", "httpx"):
    require_package(package)

from cropvlm_core.images import to_data_uri
from tests.chat_server import ChatServer
from tests.model_server import answers, pictures
from tests.openai_talk import showed
from tests.pages import middle_of, noise
from tests.proxies import RunningProxy

SCRIPT = Path(__file__).with_name("openai_node.cjs")


def _node_path() -> str | None:
    """Where ``require("openai")`` finds it, or None."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        return None
    places = [os.environ.get("NODE_PATH", "")]
    if npm is not None:
        found = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        places.append(found.stdout.strip())
    return next((place for place in places if place and (Path(place) / "openai").is_dir()), None)


def test_the_node_client_gets_crops() -> None:
    place = _node_path()
    if place is None:
        pytest.skip("not run: node, or its package openai, is not installed")
    page = noise(100, 120)  # a command line holds 128 KiB a word
    with ChatServer(answers("12.90")) as upstream, RunningProxy(upstream.url) as proxy:
        done = subprocess.run(
            ["node", str(SCRIPT), proxy.url, to_data_uri(page)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"NODE_PATH": place},
        )
    assert done.stderr == ""
    assert json.loads(done.stdout) == ["12.90", "crops=1", "12.90", "12.90", "12.90", 501]
    assert len(upstream.requests) == 4
    for request in upstream.requests:
        assert showed(pictures(request), page, middle_of(page))
