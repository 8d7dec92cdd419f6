"""One deadline over all of a fetch, whatever is slow; and nothing is left behind."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.errors import DeadlineError
from cropvlm_core.fetch import addresses, fetcher
from cropvlm_core.sources import read_reference
from tests.hostile_server import (
    PUBLIC,
    Act,
    HostileServer,
    LocalFetcher,
    answers,
    hangs,
    keeps_saying,
    redirects,
)
from tests.programs import absent
from tests.test_fetch import CHUNKED, OK, PAGE, fetched

SECONDS = 0.6
"""The deadline, where one is to pass."""

SLOW: dict[str, Act] = {
    "a body that drips": keeps_saying(OK + b"Content-Length: 9999\r\n\r\n", b"x", 0.05),
    "chunks that drip": keeps_saying(CHUNKED, b"1\r\nx\r\n", 0.05),
    "a status line that drips": keeps_saying(b"HTTP/1.1 200 ", b"O", 0.05),
    "headers that drip": keeps_saying(OK, b"X: y\r\n", 0.05),
    "no word": hangs(),
    "no word after the headers": hangs(OK + b"Content-Length: 9\r\n\r\n"),
    "no last chunk": hangs(CHUNKED + b"3\r\nabc\r\n"),
    "no end of the body": hangs(OK + b"\r\nabc"),
}


def passes_deadline(call: Any, *, seconds: float = SECONDS) -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineError, match=f"expected an image within {seconds:g} s") as caught:
        call()
    assert seconds - 0.05 <= time.monotonic() - start <= seconds + 0.5
    assert PUBLIC not in str(caught.value)


@pytest.mark.parametrize("act", SLOW.values(), ids=SLOW.keys())
def test_the_deadline_holds(act: Act) -> None:
    passes_deadline(lambda: fetched(act, seconds=SECONDS))


def test_the_deadline_holds_over_redirects() -> None:
    def slow_redirect(to: Any) -> None:
        to.wait(0.4)
        redirects("/a")(to)

    passes_deadline(lambda: fetched(slow_redirect, seconds=SECONDS))


def test_the_deadline_holds_in_the_handshake() -> None:
    for greeting in (hangs(), keeps_saying(b"\x16\x03\x03\x40\x00\x02", b"x", 0.05)):
        with HostileServer({}, greeting=greeting) as server:
            passes_deadline(
                lambda at=server: LocalFetcher(at, seconds=SECONDS).fetch("https://example.com/", 9)
            )


class SlowNames(LocalFetcher):
    """Whose resolver answers when it is let go."""

    let_go = threading.Event()

    def _resolve(self, host: str, port: int) -> Sequence[str]:
        self.let_go.wait(30)
        return super()._resolve(host, port)


@pytest.fixture
def slow_names() -> Iterator[type[SlowNames]]:

    class OfThisTest(SlowNames):
        let_go = threading.Event()

    yield OfThisTest
    OfThisTest.let_go.set()


def test_the_deadline_holds_for_slow_names(slow_names: type[SlowNames]) -> None:
    passes_deadline(lambda: slow_names(None, seconds=SECONDS).fetch("http://example.com/", 9))


def test_names_that_hang_do_not_pile_up(
    slow_names: type[SlowNames], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_places", threading.BoundedSemaphore(3))
    before = set(threading.enumerate())

    def hang() -> None:
        with pytest.raises(DeadlineError):
            slow_names(None, seconds=0.2).fetch("http://example.com/", 9)

    for _ in range(6):
        hang()
    since = set(threading.enumerate()) - before
    assert sum(thread.name == "cropvlm-look-up" for thread in since) == 3
    slow_names.let_go.set()
    with HostileServer({"/a": answers(PAGE)}) as server:  # the places are free again
        assert slow_names(server).fetch("http://example.com/a", 100) == PAGE


class Unreachable(LocalFetcher):
    """Some of whose addresses do not answer."""

    dead: frozenset[str] = frozenset()

    def _connected(self, address: Any, port: int, seconds: float) -> Any:
        if str(address) in self.dead:
            self.dialled.append((str(address), port))
            time.sleep(seconds)
            raise TimeoutError
        return super()._connected(address, port, seconds)


def test_a_dead_address_leaves_time_for_the_next() -> None:
    names = {"example.com": [["2606:4700::1111", "8.8.8.8", "8.8.8.8"]]}
    with HostileServer({"/a": answers(PAGE)}) as server:
        half = Unreachable(server, names, seconds=SECONDS)
        half.dead = frozenset({"2606:4700::1111"})
        assert half.fetch("http://example.com/a", 100) == PAGE
        assert half.dialled == [("2606:4700::1111", 80), ("8.8.8.8", 80)]
        none = Unreachable(server, names, seconds=SECONDS)
        none.dead = frozenset({"2606:4700::1111", "8.8.8.8"})
        passes_deadline(lambda: none.fetch("http://example.com/a", 100))


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else absent("/proc/self/fd")


async def test_cancelling_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer({"/a": hangs()}) as server:
        local = LocalFetcher(server, seconds=SECONDS)
        monkeypatch.setattr(fetcher, "fetch", local.fetch)
        before = open_files()

        async def one() -> None:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(
                    asyncio.to_thread(read_reference, "http://example.com/a", urls=True), 60
                )

        tasks = [asyncio.create_task(one()) for _ in range(4)]
        await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await asyncio.sleep(SECONDS + 0.5)
        assert len(local.dialled) == 4
        assert open_files() - before <= 4  # what the server still holds
    assert open_files() < before
