"""Fonts and packages that some tests need, and what happens where they are missing."""

import importlib
import os
from typing import Any, NoReturn

import pytest

from cropvlm_core.errors import DataError


def absent(what: str) -> NoReturn:
    """Skip the calling test or module for want of ``what``.

    It fails instead where the environment variable CROPVLM_REQUIRE_PROGRAMS is set, as the
    continuous integration does.
    """
    if os.environ.get("CROPVLM_REQUIRE_PROGRAMS"):
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}", allow_module_level=True)


def require_fonts() -> None:
    """Go on only where there are fonts to render pages with."""
    from cropvlm_core.training.pages.fonts import installed_faces

    try:
        installed_faces()
    except DataError as error:
        absent(str(error))


def require_package(name: str) -> Any:
    """The package ``name``, of an extra that the tests' machine should have."""
    try:
        return importlib.import_module(name)
    except ImportError:
        absent(f"the package {name}")
