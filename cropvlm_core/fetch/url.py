"""Url: an http or https address, read strictly, so that nobody reads it otherwise."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from cropvlm_core.errors import SourceError, shorten

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_LENGTH = 8192
"""The most characters of a URL; signed ones of object stores take two thousand."""

NAME_LENGTH = 48
"""The most characters by which a message names a reference, so that it fits into 120."""

PORTS = frozenset({80, 443, 8080, 8443})
"""Where images are served; any other port is another kind of server, not to be spoken to."""

_FORM = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))
_TARGET = "%/?:@!$&'()*+,;=~"


@dataclass(frozen=True)
class Url:
    """Where to ask for an image.

    ``scheme`` is http or https; ``host`` a name in ASCII small letters, or an address without
    brackets; ``target`` is path and query, percent-encoded. User names, passwords and odd ways of
    writing an address do not get this far.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def read(cls, text: str, called: str) -> "Url":
        """Read a URL; ``called`` is what to call it in a message.

        Raises:
            SourceError: no http or https URL, or one that different programs read differently.
        """
        if len(text) > MAX_LENGTH:
            raise SourceError(f"expected a URL of at most {MAX_LENGTH} characters, got {called}")
        if not text.isprintable() or " " in text or "\\" in text:
            raise SourceError(f"expected a URL without spaces and control characters, got {called}")
        form = _FORM.fullmatch(text)
        if form is None:
            raise SourceError(f"expected an http or https URL, got {called}")
        scheme, authority, rest = form[1].lower(), form[2], form[3]
        if "@" in authority:
            raise SourceError(f"expected a URL without user name and password, got {called}")
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            raise SourceError(f"expected a URL with a plain host name, got {called}")
        host = _address(parts[1], called) if parts[1] else _name(parts[2], called)
        port = int(parts[3]) if parts[3] else {"http": 80, "https": 443}[scheme]
        if port not in PORTS:
            known = ", ".join(map(str, sorted(PORTS)))
            raise SourceError(f"expected one of the ports {known}, got {called}")
        target = rest if rest.startswith("/") else f"/{rest}"
        return cls(scheme, host, port, quote(target, safe=_TARGET))

    def redirected(self, location: str, called: str) -> "Url":
        """Return where a redirect leads; ``location`` is its header, as ``http.client`` reads it.

        Raises:
            SourceError: as for :meth:`read`, or from https to http.
        """
        called = f"a redirect of {called}"
        try:
            if not location or _CONTROL.search(location):
                raise ValueError
            there = quote(location.encode("latin-1"), safe=_AS_IT_IS)
            if not _SCHEME.match(there):  # urljoin would mend what begins with our own scheme
                there = urljoin(str(self), there)
        except ValueError:  # or urllib's word for brackets without an address
            raise SourceError(f"expected a plain URL, got {called}") from None
        url = Url.read(there, called)
        if self.scheme == "https" and url.scheme == "http":
            raise SourceError(f"expected https to stay https, got {called}")
        return url

    @property
    def address(self) -> Address | None:
        """The host as an address; None where it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL and in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def shown(text: str) -> str:
    """What to call a URL in a message: shortened, without user name, password and query."""
    bare = re.sub(r"(?<=//)[^/?#]*@", "...@", text[:MAX_LENGTH])
    return shorten(re.sub(r"[?#].+", "?...", bare, count=1, flags=re.DOTALL), NAME_LENGTH)


def _address(text: str, called: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise SourceError(f"expected a URL with an address in brackets, got {called}") from None


def _name(text: str, called: str) -> str:
    """A host name in ASCII, or an IPv4 address of four plain numbers."""
    name = text.lower()
    if not name.isascii():
        name = _in_ascii(name) or ""
    if not _NAME.fullmatch(name):
        raise SourceError(f"expected a URL with a plain host name, got {called}")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # then every resolver takes it for an address
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise SourceError(f"expected an address as four plain numbers, got {called}") from None
    return name


def _in_ascii(name: str) -> str | None:
    """The name as DNS knows it; None where IDNA would make another name of it."""
    if len(name) > 253:
        return None
    try:
        encoded = name.encode("idna")
        return encoded.decode("ascii") if encoded.decode("idna") == name else None
    except UnicodeError:
        return None
