"""The whole corpus, and the part of it that the tests of every day use."""

from collections.abc import Iterator

from tests.hostile import damaged, headers, metadata, odd, pdfs, work
from tests.hostile.files import HostileFile


def corpus(seed: int = 0) -> Iterator[HostileFile]:
    """About 1,200 files, some of which are large or slow to make."""
    yield from damaged.damaged(seed, flips=12)
    yield from odd.odd(seed)
    yield from headers.declared_sizes()
    yield from headers.bombs()
    yield from headers.chains()
    yield from pdfs.pdfs()
    yield from metadata.metadata()
    yield from metadata.polyglots()
    yield from work.work()
    yield from work.large()


def everyday(seed: int = 0) -> Iterator[HostileFile]:
    """Some 700 files that are made and read in seconds; no PDF needs a worker's limits."""
    yield from damaged.damaged(seed, flips=2)
    yield from odd.odd(seed, share=0.3)
    yield from headers.declared_sizes()
    yield from headers.chains()
    yield from metadata.metadata()
    yield from metadata.polyglots()
    yield from (file for file in work.work() if file.verdict == "refused")
