"""Measure what a bad server costs: how long a fetch lasts, how it ends, how much memory it takes.

    PYTHONPATH=. python scripts/fetch_faults.py [--seconds 2]

Each fault is played by a real server on the loopback address to a fetch in a process of its own.
It must end with a typed error within the deadline and half a second, and its peak of memory must
stay within the cap of 20 MiB and 40 MB.
"""

import argparse
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core.errors import CropVLMError
from cropvlm_core.sources import MAX_BYTES
from tests.hostile_server import (
    Act,
    HostileServer,
    LocalFetcher,
    answers,
    hangs,
    keeps_saying,
    redirects,
    resets,
    says,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SLACK = 0.5  # seconds
MOST = MAX_BYTES + 40_000_000  # bytes

SLOW_NAMES = "slow names"


class SlowNames(LocalFetcher):
    """Whose resolver does not answer."""

    def _resolve(self, host: str, port: int) -> Sequence[str]:
        time.sleep(60)
        return super()._resolve(host, port)


def faults() -> dict[str, Act]:
    """What a server does when it is asked; built by the one that plays them alone."""
    large = bytes(2**20)
    bomb = zlib.compress(bytes(600 * 2**20), 9)
    return {
        "20 MiB, all of it (no fault)": answers(bytes(MAX_BYTES)),
        "20 MiB in chunks (no fault)": says(
            CHUNKED, *[b"100000\r\n" + large + b"\r\n"] * 20, b"0\r\n\r\n"
        ),
        "a body that drips": keeps_saying(OK + b"Content-Length: 999999\r\n\r\n", b"x", 0.05),
        "chunks that drip": keeps_saying(CHUNKED, b"1\r\nx\r\n", 0.05),
        "headers that drip": keeps_saying(OK, b"X: y\r\n", 0.05),
        "a status line that drips": keeps_saying(b"HTTP/1.1 200 ", b"O", 0.05),
        "no word": hangs(),
        "no end of the body": hangs(OK + b"\r\nabc"),
        "endless, 600 MB announced": keeps_saying(OK + b"Content-Length: 600000000\r\n\r\n", large),
        "endless, nothing announced": keeps_saying(OK + b"\r\n", large),
        "endless chunks": keeps_saying(CHUNKED, b"100000\r\n" + large + b"\r\n"),
        "endless chunks of a byte": keeps_saying(CHUNKED, b"1\r\nx\r\n" * 10_000),
        "one endless chunk": keeps_saying(CHUNKED + b"ffffffffffff\r\n", large),
        "a chunk of -1 bytes": keeps_saying(CHUNKED + b"-1\r\n", large),
        "endless trailers": keeps_saying(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 10_000),
        "endless headers": keeps_saying(OK, b"X: y\r\n" * 10_000),
        "one endless header": keeps_saying(OK + b"X: ", large),
        "endless 100 Continue": keeps_saying(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        "gzip bomb of 600 MB": answers(bomb, headers="Content-Encoding: gzip\r\n"),
        "bomb in transfer": answers(bomb, headers="Transfer-Encoding: deflate\r\n"),
        "reset at once": resets(),
        "reset in the body": resets(OK + b"Content-Length: 99\r\n\r\nabc"),
        "cut in the body": says(OK + b"Content-Length: 99\r\n\r\nabc"),
        "redirects in a ring": redirects("/"),
    }


def greetings() -> dict[str, Act]:
    """What a server does without being asked."""
    return {
        "TLS: no word": hangs(),
        "TLS: a record that drips": keeps_saying(b"\x16\x03\x03\x40\x00\x02", b"x", 0.05),
        "TLS: endless junk": keeps_saying(b"\x16\x03\x03", bytes(2**16)),
        "TLS: endless empty records": keeps_saying(b"", b"\x16\x03\x03\x00\x00" * 10_000),
        "TLS: reset": resets(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Play every fault, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="the deadline")
    parser.add_argument("--fetch", nargs=2, metavar=("URL", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.fetch:
        fetch(given.fetch[0], int(given.fetch[1]), given.seconds)
        return
    played, greeted = faults(), greetings()
    print(f"| fault | seconds (deadline {given.seconds:g}) | ended with | memory, MB |")
    print("|---|---|---|---|")
    missed = 0
    for name, act in played.items():
        with HostileServer({"/": act}) as server:
            missed += row(name, "http://example.com/", server.port, given.seconds)
    for name, act in greeted.items():
        with HostileServer({}, greeting=act) as server:
            missed += row(name, "https://example.com/", server.port, given.seconds)
    missed += row(SLOW_NAMES, "http://slow.example/", 0, given.seconds)
    print(f"missed: {missed} of {len(played) + len(greeted) + 1}")
    raise SystemExit(bool(missed))


def row(name: str, url: str, port: int, seconds: float) -> bool:
    """Print one line of the table; True where it is not as promised."""
    command = [sys.executable, __file__, "--seconds", str(seconds), "--fetch", url, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    ended = told.get("ended", done.stderr[-200:])
    late = told.get("seconds", 99) > seconds + SLACK
    large = told.get("memory", MOST + 1) > MOST
    print(
        f"| {name} | {told.get('seconds', 99):.2f} | {ended} | {told.get('memory', 0) / 1e6:.0f} |",
        flush=True,
    )
    return bool(late or large or not told or (ended == "bytes") != ("no fault" in name))


def fetch(url: str, port: int, seconds: float) -> None:
    """Fetch once and print what it took."""
    kind = SlowNames if "slow" in url else LocalFetcher
    with HostileServer({}) as reached:  # for its port alone
        reached.port = port
        fetching = kind(reached, seconds=seconds)
        fetching._tls_context()  # read the trust store before, as in a process that goes on
        before = peak()
        start = time.monotonic()
        try:
            ended = "bytes" if len(fetching.fetch(url, MAX_BYTES)) == MAX_BYTES else "other bytes"
        except CropVLMError as error:
            ended = error.code
        took = time.monotonic() - start
    print(json.dumps({"seconds": took, "ended": ended, "memory": peak() - before}))


def peak() -> int:
    """The most memory that this process has held, in bytes.

    Not from ``getrusage``: after a fork that counts what the parent held.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("expected Linux, which tells the peak of this process, got another system")


if __name__ == "__main__":
    main()
