"""Corrupt, odd and hostile files by seed: a verdict, quickly, in few words, for each."""

import time
import tracemalloc
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cropvlm_core.errors import CropVLMError, ImageError
from cropvlm_core.images import open_image, page_count
from tests.hostile.corpus import everyday
from tests.hostile.damaged import honest
from tests.hostile.files import HostileFile
from tests.hostile.headers import declared_sizes
from tests.programs import require_package

HONEST = honest()


def verdict(file: HostileFile, *, isolate: bool = False) -> tuple[str, object]:
    """What became of a file, and its pixels or the message that refused it."""
    try:
        page = open_image(file.data, isolate=isolate)
    except ImageError as error:
        return "refused", str(error)
    return "opens", (page.size, page.tobytes())


@pytest.fixture(scope="module")
def files() -> list[HostileFile]:
    require_package("pypdfium2")
    return list(everyday())


def test_every_file_gets_the_right_verdict_in_one_short_line(files: list[HostileFile]) -> None:
    seen: Counter[str] = Counter()
    for file in files:
        start = time.process_time()
        became, told = verdict(file)
        assert time.process_time() - start < 5, file.name
        assert file.verdict in ("either", became), (file.name, told)
        seen[became] += 1
        if became == "refused":
            message = str(told)
            assert message.startswith("expected "), file.name
            assert len(message) <= 120, file.name
            assert message.isprintable(), file.name
            assert "0x" not in message, file.name
    assert len(files) > 600
    assert min(seen.values()) > 200


def test_a_worker_says_the_same(files: list[HostileFile]) -> None:
    for file in files[::9]:
        assert verdict(file, isolate=True) == verdict(file), file.name


def test_declared_sizes_are_refused_before_they_cost_anything() -> None:
    bombs = list(declared_sizes())
    assert len(bombs) > 40
    for file in bombs:
        tracemalloc.start()
        start = time.process_time()
        became, told = verdict(file)
        seconds = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (became, file.bomb) == ("refused", True), file.name
        assert "pixels" in str(told) or "tiles" in str(told), (file.name, told)
        assert seconds < 0.1, file.name
        assert peak < 2**20, file.name


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from([name for name in HONEST if not name.endswith(".pdf")]),
    edits=st.lists(
        st.tuples(st.integers(0, 2**14), st.integers(0, 4), st.binary(max_size=6)), max_size=4
    ),
    page=st.integers(1, 5),
)
def test_whatever_is_changed_in_a_file_the_error_is_ours(
    name: str, edits: list[tuple[int, int, bytes]], page: int
) -> None:
    data = HONEST[name]
    for at, gone, put in edits:
        place = at % len(data) if data else 0
        data = data[:place] + put + data[place + gone :]
    told = ""
    try:
        pages = page_count(data)
        opened = open_image(data, page=page)
    except CropVLMError as error:
        told = str(error)
    else:
        assert page <= pages
        assert (opened.mode, opened.info) == ("RGB", {})
    assert len(told) <= 120
