"""Programs that some tests need, and what happens where one is missing."""

import os
import shutil

import pytest


def require_program(name: str) -> str:
    """Return the path of the program `name`, or end the test that asked for it.

    The test is skipped where the program is missing, and fails where the environment variable
    CROPVLM_REQUIRE_PROGRAMS is set, as the continuous integration does.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    missing = f"the program {name!r} is not installed; scripts/install-system.sh installs it"
    if os.environ.get("CROPVLM_REQUIRE_PROGRAMS"):
        pytest.fail(missing)
    pytest.skip(missing)
