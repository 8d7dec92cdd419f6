"""What every test gets."""

import os
from pathlib import Path

import pytest

from tests import bad_input

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported


@pytest.fixture(autouse=True)
def no_server_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's own key and server away: no test may reach them."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page of 200 x 300 pixels."""
    return bad_input.page(tmp_path)
