"""A missing program skips a test on a person's machine, and fails it where none may be missing."""

import pytest

from tests.programs import require_program


def test_a_program_that_is_there() -> None:
    assert require_program("sh").endswith("/sh")


def test_a_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROPVLM_REQUIRE_PROGRAMS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require_program("no-such-program")


def test_a_missing_program_fails_where_programs_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CROPVLM_REQUIRE_PROGRAMS", "1")
    with pytest.raises(pytest.fail.Exception, match="install-system"):
        require_program("no-such-program")
