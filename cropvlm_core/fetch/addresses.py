"""Which addresses are of the public internet, and finding those of a name under a deadline."""

import ipaddress
import queue
import threading
from collections.abc import Callable, Sequence

from cropvlm_core.errors import SourceError
from cropvlm_core.fetch.url import Address
from cropvlm_core.fetch.wire import Deadline

Resolve = Callable[[str, int], Sequence[str]]
"""From a host name and a port to addresses; may take its time, and may raise OSError."""

LOOK_UPS = 32
"""The most look-ups under way at once: one that hangs cannot be broken off, and keeps its place."""

# What ipaddress calls global in one version of Python or another, and is not for us: protocol
# assignments, 6to4's relays, Azure's host, multicast.
_NOT_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
# All that IANA gives to the internet is in 2000::/3. Not for us in there: protocols such as Teredo
# and ORCHID, documentation, 6to4 (both tunnels are out of use, and hide an IPv4 address).
_IPV6 = ipaddress.IPv6Network("2000::/3")
_NOT_IPV6 = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # bits 32 to 63 of an address that hides an IPv4 address

_places = threading.BoundedSemaphore(LOOK_UPS)


def is_public(address: Address) -> bool:
    """Whether anybody on the internet may reach ``address``, by all that is known of its range.

    An IPv4 address inside an IPv6 one counts as itself.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _NOT_IPV4)
    inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64:
        return is_public(inner)
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP and not is_public(inner):
        return False
    return (
        address in _IPV6
        and address.is_global
        and not any(address in network for network in _NOT_IPV6)
    )


def public_addresses(
    host: Address | str, port: int, resolve: Resolve, deadline: Deadline, called: str
) -> list[Address]:
    """Return the addresses of a host, each once, in the resolver's order.

    Raises:
        SourceError: there are none, or one of them is not public. Which of the two is not said:
            a stranger learns no names of an inner network.
        DeadlineError: the resolver was too slow.
    """
    texts = _looked_up(host, port, resolve, deadline) if isinstance(host, str) else [str(host)]
    try:
        found = [ipaddress.ip_address(text) for text in dict.fromkeys(texts)]
    except ValueError:
        found = []
    if not found or not all(map(is_public, found)):
        raise SourceError(f"expected a host of the public internet, got {called}")
    return found


def _looked_up(host: str, port: int, resolve: Resolve, deadline: Deadline) -> Sequence[str]:
    """Ask the resolver in a thread, as nothing else gets away from one that hangs."""
    places, answer = _places, queue.SimpleQueue[Sequence[str]]()

    def ask() -> None:
        texts: Sequence[str] = ()
        try:
            texts = resolve(host, port)
        except (OSError, UnicodeError):
            pass  # no such name
        finally:
            answer.put(texts)
            places.release()

    if not places.acquire(timeout=deadline.left()):
        raise deadline.error()
    try:
        threading.Thread(target=ask, name="cropvlm-look-up", daemon=True).start()
    except RuntimeError:  # no thread to be had
        places.release()
        return ()
    try:
        return answer.get(timeout=deadline.left())
    except queue.Empty:
        raise deadline.error() from None
