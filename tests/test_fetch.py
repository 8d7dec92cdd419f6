"""What is fetched, and what is refused of a server's answers, redirects and certificates."""

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropvlm_core.errors import DeadlineError, SourceError
from cropvlm_core.fetch import fetcher, trust
from cropvlm_core.sources import MAX_BYTES, read_reference
from tests.hostile_server import (
    PUBLIC,
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
from tests.programs import absent

PAGE = b"\x89PNG page"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def fetched(
    act: Act, url: str = "http://example.com/a", *, most: int = MAX_BYTES, **options: Any
) -> bytes:
    with HostileServer({"/a": act}) as server:
        return LocalFetcher(server, **options).fetch(url, most)


def test_what_is_sent_is_one_plain_request() -> None:
    with HostileServer({"/a": answers(PAGE)}) as server:
        local = LocalFetcher(server)
        assert local.fetch("http://Example.com:8080/a?b=%20c#d", 100) == PAGE
    assert local.dialled == [(PUBLIC, 8080)]
    assert local.asked == ["example.com"]
    assert server.heads == [
        "GET /a?b=%20c HTTP/1.1\r\n"
        "Host: example.com:8080\r\n"
        "User-Agent: cropvlm\r\n"
        "Accept: image/*, */*;q=0.1\r\n"
        "Accept-Encoding: identity\r\n"
        "Connection: close\r\n\r\n"
    ]


@pytest.mark.parametrize(
    "act",
    [
        answers(PAGE),
        answers(PAGE, headers="Content-Encoding: identity\r\nContent-Type: text/html\r\n"),
        answers(PAGE, length=False),
        answers(
            PAGE + b"more than it said", headers=f"Content-Length: {len(PAGE)}\r\n", length=False
        ),
        says(CHUNKED, b"4\r\n", PAGE[:4], b"\r\n5;x=y\r\n", PAGE[4:], b"\r\n0\r\nX: y\r\n\r\n"),
        says(b"HTTP/1.1 100 Continue\r\n\r\n", OK, b"\r\n", PAGE),
        says(*(bytes([one]) for one in OK + b"\r\n" + PAGE)),
        says(b"HTTP/1.0 200\r\n\r\n" + PAGE),
    ],
)
def test_good_answers_are_read(act: Act) -> None:
    assert fetched(act) == PAGE


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (answers(PAGE, 404), "expected HTTP 200, got 404"),
        (answers(PAGE, 500), "got 500"),
        (answers(PAGE, 206), "got 206"),
        (answers(b"", 204), "got 204"),
        (answers(PAGE, 304), "got 304"),
        (answers(b""), "an empty answer"),
        (says(CHUNKED, b"0\r\n\r\n"), "an empty answer"),
        (answers(PAGE, headers="Content-Encoding: gzip\r\n"), "not compressed"),
        (answers(PAGE, headers="Content-Encoding: x, br\r\n"), "not compressed"),
        (says(OK + b"Content-Encoding:\r\nContent-Encoding: zstd\r\n\r\nx"), "not compressed"),
        (answers(PAGE, headers="Transfer-Encoding: gzip, chunked\r\n"), "not compressed"),
        (says(OK + b"Content-Length: 99\r\n\r\n" + PAGE), "its beginning"),
        (says(CHUNKED + b"9\r\nshort"), "IncompleteRead"),
        (says(CHUNKED + b"zz\r\nshort"), "a broken one"),
        (says(CHUNKED + b"-9\r\nshort"), "a broken one"),
        (says(b""), "a broken one"),
        (says(b"\0" * 100), "a broken one"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "BadStatusLine"),
        (says(b"HTTP/9.9 200 OK\r\n\r\n"), "a broken one"),
        (says(b"HTTP/1.1 20x OK\r\n\r\n"), "BadStatusLine"),
        (says(OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n"), "LineTooLong"),
        (says(OK + b"X: y\r\n" * 200 + b"\r\n"), "a broken one"),
        (resets(), "a broken one"),
        (resets(OK), "a broken one"),
        (resets(OK + b"Content-Length: 99\r\n\r\n" + PAGE), "a broken one"),
    ],
)  # fmt: skip
def test_bad_answers_are_typed(act: Act, words: str) -> None:
    with pytest.raises(SourceError, match="expected") as caught:
        fetched(act)
    message = str(caught.value)
    assert words in message
    assert "'http://example.com/a'" in message
    assert PUBLIC not in message
    assert "127.0.0.1" not in message


@pytest.mark.parametrize(
    "act",
    [
        answers(bytes(101)),
        answers(bytes(101), length=False),
        says(OK + b"Content-Length: 1000000000000\r\n\r\n"),
        says(CHUNKED + b"65\r\n" + bytes(101) + b"\r\n0\r\n\r\n"),
        keeps_saying(OK + b"\r\n", bytes(2**16)),
        keeps_saying(CHUNKED, b"1\r\nx\r\n" * 1000),
        keeps_saying(CHUNKED + b"-1\r\n", bytes(2**16)),
        keeps_saying(CHUNKED + b"1;", b"x" * 2**16),
    ],
)
def test_more_than_allowed_is_not_read(act: Act) -> None:
    with pytest.raises(SourceError, match="expected") as caught:
        fetched(act, most=100)
    assert "got more" in str(caught.value) or "a broken one" in str(caught.value)
    with HostileServer({"/a": answers(bytes(100))}) as server:
        assert LocalFetcher(server).fetch("http://example.com/a", 100) == bytes(100)


@pytest.mark.parametrize(
    "act",
    [
        keeps_saying(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        keeps_saying(b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n"),
        keeps_saying(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    ],
)
def test_headers_without_an_end_are_not_read(act: Act) -> None:
    start = time.perf_counter()
    with pytest.raises(SourceError, match="expected"):
        fetched(act)
    assert time.perf_counter() - start < 8


def test_a_server_without_tls_is_typed() -> None:
    for greeting in (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), says(b""), resets()):
        with HostileServer({}, greeting=greeting) as server:
            with pytest.raises(SourceError, match=r"a broken one|can be reached"):
                LocalFetcher(server).fetch("https://example.com/", 9)


def test_a_server_that_refuses_is_typed() -> None:
    class Refusing(LocalFetcher):
        def _connected(self, address: Any, port: int, seconds: float) -> Any:
            raise ConnectionRefusedError

    with pytest.raises(SourceError, match="a server that can be reached"):
        Refusing().fetch("http://example.com/a", 100)


def test_a_public_address_of_this_machine_gets_no_request() -> None:
    with HostileServer({"/a": answers(PAGE)}) as server:

        class Own(LocalFetcher):
            def _dialled(self, found: Any, *rest: Any) -> Any:
                import ipaddress

                return super()._dialled([ipaddress.ip_address("127.0.0.1")], *rest)

        with pytest.raises(SourceError, match="public internet"):
            Own(server).fetch("http://example.com/a", 100)
    assert server.heads == []


def test_a_name_is_looked_up_once_for_each_request() -> None:
    rebinding = {"example.com": [[PUBLIC], ["127.0.0.1"]]}
    with HostileServer({"/a": answers(PAGE), "/b": redirects("/a")}) as server:
        local = LocalFetcher(server, rebinding)
        assert local.fetch("http://example.com/a", 100) == PAGE
        assert (local.asked, local.dialled) == (["example.com"], [(PUBLIC, 80)])
        local = LocalFetcher(server, rebinding)
        with pytest.raises(SourceError, match="public internet"):  # now it is an inner one
            local.fetch("http://example.com/b", 100)
        assert local.asked == ["example.com"] * 2
        assert local.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    acts = {"/a": redirects("//other.example:8080/b?c", status), "/b": answers(PAGE)}
    with HostileServer(acts) as server:
        local = LocalFetcher(server)
        assert local.fetch("http://example.com/a", 100) == PAGE
    assert [head.splitlines()[:2] for head in server.heads] == [
        ["GET /a HTTP/1.1", "Host: example.com"],
        ["GET /b?c HTTP/1.1", "Host: other.example:8080"],
    ]
    assert local.dialled == [(PUBLIC, 80), (PUBLIC, 8080)]


def test_three_redirects_are_the_most() -> None:
    acts = {f"/{n}": redirects(f"/{n + 1}") for n in range(9)} | {"/4": answers(PAGE)}
    with HostileServer(acts) as server:
        assert LocalFetcher(server).fetch("http://example.com/1", 100) == PAGE
        with pytest.raises(SourceError, match="at most 3 redirects"):
            LocalFetcher(server).fetch("http://example.com/0", 100)
    assert len(server.heads) == 4 + 4


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/a", "http://169.254.169.254/latest/meta-data", "http://[::1]/a",
        "http://inner.example/a", "//2130706433/a", "http://a@b/", "ftp://example.com/a", "",
        "file:///etc/passwd", "http://example.com:22/a", "http://exa mple.com/", "data:,x",
    ],
)  # fmt: skip
def test_a_redirect_is_checked_like_any_url(location: str) -> None:
    with HostileServer({"/a": redirects(location)}) as server:
        local = LocalFetcher(server, {"inner.example": [["10.0.0.1"]]})
        with pytest.raises(SourceError, match="expected") as caught:
            local.fetch("http://example.com/a", 100)
    assert len(local.dialled) == 1
    assert "127.0.0.1" not in str(caught.value)


def test_a_redirect_without_a_place_is_refused() -> None:
    with pytest.raises(SourceError, match="a plain URL, got a redirect"):
        fetched(answers(b"", 302))


class Answered(LocalFetcher):
    """Whose server has said ``answer`` and hung up."""

    answer = b""

    def _dialled(self, *_: Any) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(self.answer)
        return ours


_PIECES = [
    b"HTTP/1.1 ", b"200 OK", b"302 Found", b"100 Continue", b"\r\n", b"\r\n\r\n", b"\n",
    b"Content-Length: ", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"http://",
    b"//", b"Location: ",
    b"127.0.0.1", b"[::1]", b"example.com/", b"5", b"-1", b"99999999999999999999", b"0x5", b"1_0",
    b";", b" ", b"\t", b"\0", b"\xff", b"hello", b":",
]  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(_PIECES) | st.binary(max_size=5), max_size=30),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 X\r\nLocation: ", CHUNKED]),
)
def test_any_answer_is_bytes_or_a_typed_error(pieces: list[bytes], start: bytes) -> None:
    fetching = Answered()
    fetching.answer = start + b"".join(pieces)
    try:
        assert len(fetching.fetch("http://example.com/a", 60)) <= 60
    except SourceError as error:
        said = str(error)
    else:
        said = ""
    assert len(said) <= 120
    assert said.isprintable()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for example.com and 93.184.215.14, and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=example.com "
        f"-addext subjectAltName=DNS:example.com,IP:{PUBLIC} -keyout key.pem -out page.pem"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True, cwd=file.parent)
    except FileNotFoundError:
        absent("the program openssl")
    key, page = file.with_name("key.pem"), file.with_name("page.pem")
    file.write_bytes(key.read_bytes() + page.read_bytes())
    return file


def tls_server(acts: Mapping[str, Act], certificate: Path) -> HostileServer:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return HostileServer(acts, tls=context)


def test_tls_is_spoken_with_the_name_and_not_the_address(certificate: Path) -> None:
    body = os.urandom(3 * 2**20)
    with tls_server({"/a": answers(body), "/b": hangs(OK)}, certificate) as server:
        local = LocalFetcher(server, trusting=certificate)
        assert local.fetch("https://example.com/a", MAX_BYTES) == body
        assert local.fetch(f"https://{PUBLIC}/a", MAX_BYTES) == body
        assert server.names == ["example.com", None]
        assert "Host: example.com\r\n" in server.heads[0]
        slow = LocalFetcher(server, trusting=certificate, seconds=0.5)
        with pytest.raises(DeadlineError):
            slow.fetch("https://example.com/b", 100)
        with pytest.raises(SourceError, match="got more"):
            local.fetch("https://example.com/a", 2**20)


def test_certificates_are_checked(certificate: Path) -> None:
    with tls_server({"/a": answers(PAGE)}, certificate) as server:
        for url, trusting in (
            ("https://example.com/a", None),  # by nobody that is trusted
            ("https://other.example/a", certificate),  # for another name
            ("https://8.8.8.8/a", certificate),
        ):
            with pytest.raises(SourceError, match="a valid certificate"):
                LocalFetcher(server, trusting=trusting).fetch(url, 100)
        assert server.heads == []


def test_from_https_no_redirect_leads_to_http(certificate: Path) -> None:
    acts = {"/a": redirects("http://example.com/b"), "/b": answers(PAGE), "/c": redirects("/b")}
    with tls_server(acts, certificate) as server:
        local = LocalFetcher(server, trusting=certificate)
        with pytest.raises(SourceError, match="https to stay https"):
            local.fetch("https://example.com/a", 100)
        assert len(local.dialled) == 1
        assert local.fetch("https://example.com/c", 100) == PAGE


def test_a_connection_cut_in_tls_is_no_end(certificate: Path) -> None:
    with tls_server({"/a": answers(PAGE, length=False)}, certificate) as server:
        with pytest.raises(SourceError, match="a broken one"):  # no goodbye: it may lack its end
            LocalFetcher(server, trusting=certificate).fetch("https://example.com/a", 100)


def test_no_environment_variable_has_a_say(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificate.parent))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    trust.tls_context.cache_clear()
    with tls_server({"/a": answers(PAGE)}, certificate) as server:
        with pytest.raises(SourceError, match="a valid certificate"):
            LocalFetcher(server).fetch("https://example.com/a", 100)
        local = LocalFetcher(server, trusting=certificate)
        assert local.fetch("https://example.com/a", 100) == PAGE
    assert fetched(answers(PAGE)) == PAGE
    assert not keys.exists()


def test_urls_are_off_until_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer({"/a": answers(PAGE)}) as server:
        local = LocalFetcher(server)
        monkeypatch.setattr(fetcher, "fetch", local.fetch)
        for roots in (None, [], ["/"]):
            with pytest.raises(SourceError, match="URLs are off"):
                read_reference("http://example.com/a?key=secret", roots=roots)
            assert read_reference("http://example.com/a", roots=roots, urls=True) == PAGE
        with pytest.raises(SourceError, match="at most"):
            read_reference("http://example.com/a" + "x" * 9000, urls=True)
        for text in ("ftp://example.com/a", "file:///etc/hostname", "s3://a/b"):
            with pytest.raises(SourceError, match="an http or https URL"):
                read_reference(text, urls=True)
    assert len(server.heads) == 3
