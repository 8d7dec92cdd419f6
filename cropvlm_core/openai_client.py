"""The openai client with a crop behind every image that is asked about, in one line.

::

    from cropvlm_core.openai_client import zoomed
    from openai import OpenAI

    client = zoomed(OpenAI())

Needs the extra ``api``.
"""

import asyncio
import copy
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar, cast

from cropvlm_core.errors import MissingExtraError, shorten
from cropvlm_core.openai_requests import (
    Conversation,
    RequestZoom,
    conversation_in,
    shows_images,
)
from cropvlm_core.sources import Allowed, Roots
from cropvlm_core.turns import FindQuestion, OnError
from cropvlm_core.zoom import ZoomPipeline

try:
    from openai import AsyncOpenAI, OpenAI
except ModuleNotFoundError as error:
    if error.name != "openai":
        raise
    raise MissingExtraError("zooming for an openai client", "api") from None

__all__ = ["NO_ZOOM", "zoomed"]

NO_ZOOM: Mapping[str, str] = {"x-cropvlm": "off"}
"""``extra_headers=NO_ZOOM`` is ``zoom=False`` in words that type checkers know. It is not sent."""

_ASKING = ("create", "parse", "stream")

Client = TypeVar("Client", bound=OpenAI | AsyncOpenAI)


def zoomed(
    client: Client,
    pipeline: ZoomPipeline | None = None,
    *,
    question: FindQuestion | None = None,
    on_error: OnError = "raise",
    roots: Roots | None = None,
    urls: bool = False,
) -> Client:
    """Return a client that shows the model the crop behind every image of a user's question.

    It does so in ``chat.completions`` and ``responses``: in ``create``, ``parse`` and ``stream``,
    with raw and streaming responses, under ``beta``, and in the clients that its ``with_options``
    and ``copy`` return. All else is as before: the answers, streams, tools and retries are the
    client's own, and so is the class, which is a subclass of the given client's. The messages you
    hand in stay as they are.

    The given client does not change: whoever holds it sends what it always sent. The two share
    their connections, so that closing one closes both.

    One call goes without crops by ``zoom=False``; type checkers, which know the client's own
    arguments alone, take ``extra_headers=NO_ZOOM`` for the same.

    Args:
        client: an ``OpenAI`` or ``AsyncOpenAI``, or a subclass, such as those for Azure. What else
            wraps clients (tracing, ``instructor``) wraps the one returned here.
        pipeline: the cropper to follow; None is the shared default, built when it is first needed.
        question: finds the question in a message's text, where a prompt template put more into it;
            what it returns blank is not zoomed into.
        on_error: "raise", or "skip": an image that cannot be zoomed into (a URL, damaged data)
            goes on as it is, and the log says why. Images of earlier turns are always passed over.
        roots: folders below which images that are paths are read; None: no file is.
        urls: fetch images that are http or https URLs, from public addresses alone. The message
            goes on as it is: the model's server fetches it again.

    The calls of the returned client raise, besides the client's own errors, with
    ``on_error="raise"`` and before anything is sent: SourceError for an image that is a file's id,
    or a URL or path that may not or cannot be read; ImageError for one that does not open;
    ModelError where the cropper failed.

    Raises:
        ValueError: another ``on_error``, or an empty text among the roots.
        TypeError: ``client`` is no such client, or one that somebody else has wrapped; ``pipeline``
            is no pipeline, ``question`` no function, ``roots`` no list, or ``urls`` no bool.
    """
    given: object = client  # what types say, users may not
    if not isinstance(given, OpenAI | AsyncOpenAI):
        raise TypeError(f"expected an OpenAI or AsyncOpenAI client, got a {type(given).__name__}")
    zoom = RequestZoom(
        pipeline, question=question, on_error=on_error, allowed=Allowed.of(roots, urls)
    )
    own: Any = type(client)
    twin: Any = copy.copy(client)
    for name in tuple(vars(twin)):  # resources made before hold on to the client they came from
        if isinstance(getattr(own, name, None), functools.cached_property):
            _check_own(vars(twin).pop(name))
    twin.__class__ = own if issubclass(own, _ZoomedSync | _ZoomedAsync) else _zoomed_class(own)
    twin._cropvlm = zoom
    return cast(Client, twin)


class _ZoomedSync(OpenAI):
    """What a zooming client does: every request of every resource goes through ``request``."""

    _cropvlm: RequestZoom

    def request(self, cast_to: Any, options: Any, **how: Any) -> Any:
        options, conversation = _read(options)
        if conversation:
            options = _with_crops(options, conversation, self._cropvlm)
        return super().request(cast_to, options, **how)

    def copy(self, **changes: Any) -> Self:
        twin = super().copy(**changes)
        twin._cropvlm = self._cropvlm
        return twin

    with_options = copy

    @functools.cached_property
    def chat(self) -> Any:
        return _with_opt_out(super().chat)

    @functools.cached_property
    def responses(self) -> Any:
        return _with_opt_out(super().responses)

    @functools.cached_property
    def beta(self) -> Any:
        return _with_opt_out(super().beta)


class _ZoomedAsync(AsyncOpenAI):
    """The same for the asynchronous client; zooming runs in a thread.

    Said twice: a shared base before the client's changes the layout of instances, and Python then
    refuses to change their class.
    """

    _cropvlm: RequestZoom

    async def request(self, cast_to: Any, options: Any, **how: Any) -> Any:
        options, conversation = _read(options)
        if conversation:
            options = await asyncio.to_thread(_with_crops, options, conversation, self._cropvlm)
        return await super().request(cast_to, options, **how)

    def copy(self, **changes: Any) -> Self:
        twin = super().copy(**changes)
        twin._cropvlm = self._cropvlm
        return twin

    with_options = copy

    @functools.cached_property
    def chat(self) -> Any:
        return _with_opt_out(super().chat)

    @functools.cached_property
    def responses(self) -> Any:
        return _with_opt_out(super().responses)

    @functools.cached_property
    def beta(self) -> Any:
        return _with_opt_out(super().beta)


@functools.cache
def _zoomed_class(own: Any) -> Any:
    """The class of a zooming client: its requests are ours, all else is ``own``."""
    ours = _ZoomedSync if issubclass(own, OpenAI) else _ZoomedAsync
    known = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    return type(own.__name__, (ours, own), known)


def _read(options: Any) -> tuple[Any, Conversation | None]:
    """A request's options without :data:`NO_ZOOM`, and where it holds images to zoom into."""
    (off,) = NO_ZOOM
    headers = options.headers if isinstance(options.headers, Mapping) else {}
    kept = {name: value for name, value in headers.items() if name.lower() != off}
    if len(kept) < len(headers):
        return _changed(options, "headers", kept), None
    conversation = conversation_in(options.url) if options.method.lower() == "post" else None
    if conversation is None or not shows_images(options.json_data, conversation):
        return options, None
    return options, conversation


def _with_crops(options: Any, conversation: Conversation, zoom: RequestZoom) -> Any:
    return _changed(options, "json_data", zoom.zoom(options.json_data, conversation).body)


def _changed(options: Any, name: str, value: object) -> Any:
    twin = copy.copy(options)
    setattr(twin, name, value)
    return twin


class _OptionalZoom:
    """A method that asks a model, with the argument ``zoom`` besides its own."""

    def __init__(self, resource: Any, name: str) -> None:
        functools.update_wrapper(self, getattr(resource, name))
        self._resource = resource
        self._name = name

    def __call__(self, *args: Any, zoom: bool = True, **kwargs: Any) -> Any:
        if not isinstance(zoom, bool):
            raise TypeError(f"expected zoom as True or False, got {shorten(zoom)}")
        if not zoom:
            kwargs["extra_headers"] = {**(kwargs.get("extra_headers") or {}), **NO_ZOOM}
        # looked up now, as programs that trace calls replace it in the class
        return getattr(type(self._resource), self._name)(self._resource, *args, **kwargs)


def _methods(resource: Any) -> Iterator[tuple[Any, str]]:
    """What asks a model in ``chat``, ``responses`` or ``beta``: owners and names of methods."""
    chat = getattr(resource, "chat", resource)
    inner = (getattr(chat, "completions", None), getattr(resource, "responses", None))
    for owner in (resource, *inner):
        yield from ((owner, name) for name in _ASKING if hasattr(type(owner), name))


def _with_opt_out(resource: Any) -> Any:
    for owner, name in _methods(resource):
        setattr(owner, name, _OptionalZoom(owner, name))
    return resource


def _check_own(resource: Any) -> None:
    """Refuse a client in which a tracing library has replaced methods: they would be lost."""
    for owner, name in _methods(resource):
        if not isinstance(vars(owner).get(name), _OptionalZoom | None):
            raise TypeError(
                f"expected a client that nothing else has wrapped, got one whose {name} was "
                "replaced: wrap what zoomed() returns"
            )
