"""Fonts that rendering tests need, and what happens where they are missing."""

import os

import pytest

from cropvlm_core.errors import DataError
from cropvlm_core.training.pages.fonts import installed_faces


def require_fonts() -> None:
    """Skip the calling module or test without fonts; fail where CROPVLM_REQUIRE_PROGRAMS is set."""
    try:
        installed_faces()
    except DataError as error:
        if os.environ.get("CROPVLM_REQUIRE_PROGRAMS"):
            pytest.fail(str(error))
        pytest.skip(str(error), allow_module_level=True)
