"""Which hosts are of the public internet, in every spelling; and how a URL is read."""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropvlm_core.errors import CropVLMError, SourceError
from cropvlm_core.fetch.addresses import is_public
from cropvlm_core.fetch.url import PORTS, Url, shown
from tests.hostile_server import PUBLIC, LocalFetcher

# IANA's special-purpose registries for IPv4, what is kept from us besides, and where public
# addresses begin again: written down here once more, as the rule under test must not test itself.
NOT_PUBLIC_4 = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
]
NOT_PUBLIC_6 = (
    "::|::1|::2|::127.0.0.1|::8.8.8.8|::ffff:127.0.0.1|::ffff:10.0.0.1|::ffff:0:127.0.0.1|"
    "64:ff9b::127.0.0.1|64:ff9b::a9fe:a9fe|64:ff9b:1::1|64:ff9b:1::8.8.8.8|100::1|100:0:0:1::1|"
    "200::1|2001::1|2001:1::1|2001:3::1|2001:4:112::1|2001:0:7f00:1::|2001:0:4136:e378:8000:63bf:3fff:fdd2|2001:2::1|2001:10::1|"
    "2001:20::1|2001:db8::1|2002:7f00:1::|2002:a9fe:a9fe::1|3fff::1|4000::1|5f00::1|fc00::1|"
    "fd00:ec2::254|fe80::1|fe80::1%1|febf::1|fec0::1|ff02::1|ff0e::1|2a00:1450::5efe:127.0.0.1|"
    "2a00:1450::200:5efe:10.0.0.1"
).split("|")
PUBLIC_ONES = (
    "8.8.8.8|1.1.1.1|93.184.215.14|100.63.255.255|100.128.0.0|172.15.255.255|172.32.0.0|"
    "192.0.1.0|192.167.255.255|198.20.0.0|223.255.255.255|168.63.129.17|::ffff:8.8.8.8|"
    "64:ff9b::808:808|2606:4700:4700::1111|2001:200::1|2001:4860:4860::8888|"
    "2a00:1450:4001:830::200e|2620:fe::fe|2a00:1450::5efe:8.8.8.8"
).split("|")

# The machine itself and its cloud's keys, as a URL may spell them.
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "127.000.000.001",
    "0127.0.0.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "0X7F000001",
    "2130706433",
    "017700000001",
    "127.0.0.1.",
    "127.0.0.1..",
    ".127.0.0.1",
    "127。0。0。1",
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127.0.0.0x1",
    "127%2e0%2e0%2e1",
    "%31%32%37.0.0.1",
    "0",
    "0.0.0.0",
    "00000000",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.16689662",
    "169.254.43518",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:7F00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[::1%1]",
    "[fec0::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[::1",
    "::1",
    "[127.0.0.1]",
    "[v1.::1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ｌocalhost",
    "localhost.localdomain",
    "inner.example",
    "metadata.google.internal",
    "",
    "exa mple.com",
    "example..com",
    "-",
    "a" * 64 + ".com",
    "a." * 127 + "com",
    "faß.example",
    "xn--.1",
    "example.com:0",
    "example.com:22",
    "example.com:6379",
    "example.com:65536",
    "example.com:99999",
    "example.com:٨٠",
    "example.com:",
    "example.com:80:80",
    "user@example.com",
    "user:secret@example.com",
    "example.com@127.0.0.1",
    "127.0.0.1@example.com",
    "example.com\\@127.0.0.1",
    "example.com\t.evil",
    "example.com\r\nHost: 127.0.0.1",
    "example.com\0",
    "example.com\u200b",
    "example.com;127.0.0.1",
    "example.com,127.0.0.1",
    "exa[mple.com",
]


class AsTheSystem(LocalFetcher):
    """Resolves addresses as C libraries do, odd ones too, and a few names to inner addresses."""

    def _resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        try:
            return [socket.inet_ntoa(socket.inet_aton(host))]
        except (OSError, UnicodeError):
            return ["10.1.2.3"]


def refused(url: str, **names: Sequence[str]) -> str:
    """Why ``url`` is refused; nothing is dialled."""
    said = ""
    for scheme in ("http", "https"):
        fetcher = (
            AsTheSystem() if not names else LocalFetcher(None, {k: [v] for k, v in names.items()})
        )
        with pytest.raises(SourceError, match="expected") as caught:
            fetcher.fetch(f"{scheme}://{url}/page.png", 1000)
        assert fetcher.dialled == []
        said = str(caught.value)
        assert len(said) < 220
        assert "secret" not in said
        assert said.isprintable()
    return said


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_what_is_not_public_is_dialled(host: str) -> None:
    refused(host)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("user@example.com", "without user name"),
        ("user:secret@example.com", "without user name"),
        ("faß.example", "plain host name"),
        ("ｅxample.com", "plain host name"),
        ("example。com", "plain host name"),
        ("e\u0301xample.com", "plain host name"),
        ("example.com.", "plain host name"),
        ("ex%61mple.com", "plain host name"),
        ("example.com:22", "one of the ports"),
    ],
)
def test_hosts_that_programs_read_differently_are_refused_wherever_they_lead(
    host: str, words: str
) -> None:
    fetcher = LocalFetcher(None)  # which finds every name on the public internet
    with pytest.raises(SourceError, match=words):
        fetcher.fetch(f"https://{host}/", 1000)
    assert fetcher.asked == []


def test_addresses_are_not_looked_up() -> None:
    for host in ("8.8.8.8", "[2606:4700::1111]", "127.0.0.1", "[::1]", "2130706433", "0x7f.1"):
        fetcher = LocalFetcher(None)
        with pytest.raises((SourceError, AssertionError)):
            fetcher.fetch(f"http://{host}/", 1000)
        assert fetcher.asked == []
        assert len(fetcher.dialled) == (host in ("8.8.8.8", "[2606:4700::1111]"))


@pytest.mark.parametrize("host", ["134744072", "8.8.2056", "010.8.8.8", "0x8.8.8.8", "8.8.8"])
def test_odd_spellings_of_public_addresses_are_refused_too(host: str) -> None:
    assert "four plain numbers" in refused(host)


@pytest.mark.parametrize("address", PUBLIC_ONES)
def test_public_addresses_are_not_blocked(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    fetcher = LocalFetcher(None, {"example.com": [[address]]})
    with pytest.raises(AssertionError, match="a connection to"):
        fetcher.fetch("https://example.com/", 1000)


@pytest.mark.parametrize("address", NOT_PUBLIC_6)
def test_inner_ipv6_addresses_are_blocked(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    refused("inner.example", **{"inner.example": [address]})


def test_at_every_border_of_an_ipv4_range() -> None:
    starts = [int(ipaddress.IPv4Address(first)) for first, _ in NOT_PUBLIC_4]
    ends = [int(ipaddress.IPv4Address(last)) for _, last in NOT_PUBLIC_4]
    for value in {near for at in starts + ends for near in (at - 1, at, at + 1)}:
        if 0 <= value < 2**32:
            inside = any(low <= value <= high for low, high in zip(starts, ends, strict=True))
            assert is_public(ipaddress.IPv4Address(value)) is not inside


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ipv4_by_the_registries(value: int) -> None:
    address = ipaddress.IPv4Address(value)
    inside = any(
        ipaddress.IPv4Address(low) <= address <= ipaddress.IPv4Address(high)
        for low, high in NOT_PUBLIC_4
    )
    assert is_public(address) is not inside
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert is_public(mapped) is not inside


def _shorter(octets: bytes, parts: int) -> list[int]:
    return [*octets[: parts - 1], int.from_bytes(octets[parts - 1 :], "big")]


@st.composite
def inner_hosts(draw: st.DrawFn) -> str:
    """A non-public IPv4 address in one of the ways in which a URL may name it."""
    low, high = draw(st.sampled_from(NOT_PUBLIC_4))
    value = draw(st.integers(int(ipaddress.IPv4Address(low)), int(ipaddress.IPv4Address(high))))
    octets = value.to_bytes(4, "big")
    way = draw(st.integers(0, 9))
    if way <= 3:
        numbers = _shorter(octets, draw(st.integers(1, 4)))
        zeros = draw(st.integers(0, 3)) * "0"
        forms = st.sampled_from(["{:d}", f"0{zeros}{{:o}}", f"0x{zeros}{{:x}}", "0X{:X}"])
        host = ".".join(draw(forms).format(number) for number in numbers)
        if way == 3:  # in digits of another script
            digits = draw(st.sampled_from(["０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩"]))
            host = host.translate({ord(str(n)): digits[n] for n in range(10)})
        return host + draw(st.sampled_from(["", "", "."]))
    dotted = ".".join(map(str, octets))
    if way == 4:
        return quote(dotted, safe="").replace(".", "%2E")
    first, second = octets[:2].hex(), octets[2:].hex()
    flipped = (value ^ 0xFFFFFFFF).to_bytes(4, "big")
    return draw(
        st.sampled_from(
            [
                f"[::{dotted}]",
                f"[::ffff:{dotted}]",
                f"[::FFFF:{first}:{second}]",
                f"[0000:0:0:0:0:ffff:{first}:{second}]",
                f"[64:ff9b::{dotted}]",
                f"[64:ff9b::{first}:{second}]",
                f"[64:ff9b:1::{first}:{second}]",
                f"[2002:{first}:{second}::1]",
                f"[2001:0:{first}:{second}::1]",
                f"[2001:0:808:808:0:0:{flipped[:2].hex()}:{flipped[2:].hex()}]",
                f"[2600::5efe:{dotted}]",
                f"[2600::200:5efe:{first}:{second}]",
                f"[::ffff:{dotted}%1]",
            ]
        )
    )


@settings(deadline=None)
@given(inner_hosts())
def test_hypothesis_finds_no_way_in(host: str) -> None:
    refused(host)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PUBLIC_ONES), max_size=3), st.data())
def test_one_inner_answer_among_public_ones_is_enough(
    answers: list[str], data: st.DataObject
) -> None:
    inner = data.draw(st.sampled_from([*NOT_PUBLIC_6, *(low for low, _ in NOT_PUBLIC_4)]))
    mixed = data.draw(st.permutations([*answers, inner]))
    assert "public internet" in refused("mixed.example", **{"mixed.example": mixed})


def test_an_inner_name_and_no_name_look_the_same_from_outside() -> None:
    for answer in ([], ["10.0.0.1"], ["not an address"]):
        said = refused("vault.corp.example", **{"vault.corp.example": answer})
        assert said == (
            "expected a host of the public internet, got 'https://vault.corp.example/page.png'"
        )


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://example.com", Url("http", "example.com", 80, "/")),
        ("HTTPS://EXAMPLE.com:443/A.png", Url("https", "example.com", 443, "/A.png")),
        ("https://a.b:8443?x=1#part", Url("https", "a.b", 8443, "/?x=1")),
        ("http://8.8.8.8/%7Ea?b=%20", Url("http", "8.8.8.8", 80, "/%7Ea?b=%20")),
        ("http://[2606:4700:0::1111]/", Url("http", "2606:4700::1111", 80, "/")),
        ("https://bücher.example/页", Url("https", "xn--bcher-kva.example", 443, "/%E9%A1%B5")),
        ("https://BÜCHER.example/<>|", Url("https", "xn--bcher-kva.example", 443, "/%3C%3E%7C")),
        ("https://a_b.example/../x", Url("https", "a_b.example", 443, "/../x")),
        ("https://a.example//x@y:z", Url("https", "a.example", 443, "//x@y:z")),
    ],
)  # fmt: skip
def test_urls_are_read(text: str, url: Url) -> None:
    assert Url.read(text, "it") == url


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com", "//example.com", "http:/example.com", "http:example.com", "http://",
        "http:///page.png", "ftp://example.com", "file:///etc/passwd", "gopher://example.com",
        "https+x://example.com", "javascript://example.com", "data://example.com",
        " http://example.com", "http://example.com ", "http://exam\nple.com", "http://e/a\r\nX: y",
        "http://example.com/\\", "http:\\\\example.com", "http://example.com/\x7f", "http://e/\ud800",
        "http://example.com/" + "x" * 9000, "ｈttp://example.com",
    ],
)  # fmt: skip
def test_odd_urls_are_refused(text: str) -> None:
    with pytest.raises(SourceError, match="expected"):
        Url.read(text, shown(text))
    assert len(shown(text)) <= 80
    assert shown(text).isprintable()


@settings(deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"https?://[^/]{0,20}(/.*)?"))
def test_any_text_is_a_plain_url_or_refused(text: str) -> None:
    try:
        url = Url.read(text, shown(text))
    except CropVLMError:
        return
    assert url.port in PORTS
    assert str(url).isascii()
    assert str(url).isprintable()
    assert " " not in str(url)
    assert Url.read(str(url), "again") == url
    assert set(url.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")


def test_a_message_shows_no_secret_of_a_url() -> None:
    assert shown("https://me:pass@example.com/a?key=1#k") == "'https://...@example.com/a?...'"
    assert shown("https://example.com/a.png") == "'https://example.com/a.png'"
    assert "key" not in shown("https://e.com/" + "a" * 9000 + "?key=1")


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("/b", "https://a.example/b"),
        ("b?c#d", "https://a.example/x/b?c"),
        ("//other.example/b", "https://other.example/b"),
        ("https://other.example:8443/b", "https://other.example:8443/b"),
        ("https://other.example/\xe9\xa1\xb5", "https://other.example/%E9%A1%B5"),
        ("/with space", "https://a.example/with%20space"),
    ],
)
def test_where_a_redirect_leads(location: str, there: str) -> None:
    url = Url.read("https://a.example/x/y.png", "it")
    assert str(url.redirected(location, "it")) == there


@pytest.mark.parametrize(
    "location",
    [
        "", "http://a.example/b", "ftp://a.example/", "file:///etc/passwd", "//user@a.example/",
        "https://[::1/", "https://a.example:22/", "/\\evil", "/a\tb", "javascript:alert(1)", "https:///",
        "https:b", "/\u4e00",
    ],
)  # fmt: skip
def test_where_no_redirect_leads(location: str) -> None:
    url = Url.read("https://a.example/x/y.png", "it")
    with pytest.raises(SourceError, match="a redirect of it") as caught:
        url.redirected(location, "it")
    assert "evil" not in str(caught.value)  # a server's words stay out of the message


def test_the_public_address_of_the_tests_is_public() -> None:
    assert is_public(ipaddress.ip_address(PUBLIC))
