"""What is missing skips a test on a person's machine, and fails it where nothing may be missing."""

from pathlib import Path

import pytest

from cropvlm_core.training.pages.fonts import installed_faces
from tests.programs import require_fonts, require_package


def test_a_package_that_is_there() -> None:
    assert require_package("json").dumps([]) == "[]"


def test_a_missing_package_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROPVLM_REQUIRE_PROGRAMS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_package"):
        require_package("no_such_package")


def test_missing_fonts_fail_where_nothing_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROPVLM_REQUIRE_PROGRAMS", "1")
    monkeypatch.setenv("CROPVLM_FONTS", str(tmp_path))
    installed_faces.cache_clear()
    try:
        with pytest.raises(pytest.fail.Exception, match="install-system"):
            require_fonts()
    finally:
        installed_faces.cache_clear()
