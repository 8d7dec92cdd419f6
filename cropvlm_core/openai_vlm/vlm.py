"""OpenAIVLM: a model behind a server, under one deadline.

The requests go out through the ``openai`` client (extra ``api``), imported when the first one is
made. Retrying is done here and not in the client, under one deadline that counts everything:
connecting, headers, body, waiting between attempts.
"""

import asyncio
import dataclasses
import json
import os
import random
import re
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cropvlm_core.errors import CropVLMError, DeadlineError, MissingExtraError, ModelError, shorten
from cropvlm_core.openai_vlm import client as http
from cropvlm_core.openai_vlm.body import Body
from cropvlm_core.vlm import Conversation, in_thread

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_FIRST_PAUSE = 0.5  # seconds before the second attempt, doubled for each further one


@dataclasses.dataclass(frozen=True)
class OpenAIVLM:
    """A model behind a server that speaks OpenAI's Chat Completions.

    Attributes:
        model: the model's name, as the server knows it.
        base_url: the server, such as ``http://127.0.0.1:8000/v1``; None: the environment variable
            ``OPENAI_BASE_URL``, and without it OpenAI's own.
        api_key: the key; None: the environment variable ``OPENAI_API_KEY``. A server given by
            ``base_url`` may need none.
        max_tokens: the most tokens of one reply.
        temperature: 0 for the likeliest reply; None leaves it to the server.
        timeout: seconds one conversation may take in all, over all attempts.
        max_attempts: how often one conversation is sent at most: again after 408, 429, 5xx and
            broken connections, as soon as the server's ``Retry-After`` allows.
        max_parallel: how many conversations are under way at once.
    """

    model: str
    base_url: str | None = None
    _: dataclasses.KW_ONLY
    api_key: str | None = dataclasses.field(default=None, repr=False)
    max_tokens: int = 512
    temperature: float | None = 0.0
    timeout: float = 60.0
    max_attempts: int = 3
    max_parallel: int = 4

    def __post_init__(self) -> None:
        """Check the numbers, and that the client is there.

        Raises:
            MissingExtraError: the package ``openai`` is not installed.
            ValueError: a limit is not positive.
        """
        if find_spec("openai") is None:
            raise MissingExtraError("a model behind an OpenAI-compatible server", "api")
        for name in ("max_tokens", "timeout", "max_attempts", "max_parallel"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"expected {name} above 0, got {value!r}")

    def reply(
        self,
        conversations: Sequence[Conversation],
        fields: Sequence[Mapping[str, Any]] | None = None,
        *,
        why: str = "",
    ) -> list[str]:
        """Answer each conversation; see :meth:`areply`. Works inside a running event loop too."""
        return in_thread(self.areply(conversations, fields, why=why))

    async def areply(
        self,
        conversations: Sequence[Conversation],
        fields: Sequence[Mapping[str, Any]] | None = None,
        *,
        why: str = "",
    ) -> list[str]:
        """Answer each conversation, `max_parallel` at a time; the first failure ends them all.

        Args:
            conversations: what is asked.
            fields: one a conversation: further fields of its request, beyond the protocol.
            why: the option that asks for these fields, named where the server refuses a request.

        Raises:
            DeadlineError: a conversation was not answered within `timeout` seconds.
            ModelError: the server refused, failed, or sent something that is no answer.
        """
        gate = asyncio.Semaphore(self.max_parallel)
        given = [{}] * len(conversations) if fields is None else fields

        async def one(conversation: Conversation, more: Mapping[str, Any]) -> str:
            async with gate:
                return await self._within_deadline(client, conversation, more, why)

        await asyncio.to_thread(http.prepare)
        client = self._client()
        tasks = [
            asyncio.ensure_future(one(conversation, more))
            for conversation, more in zip(conversations, given, strict=True)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await _to_the_end(http.close(client, tasks))

    def _client(self) -> "AsyncOpenAI":
        import openai

        own_server = self.base_url or os.environ.get("OPENAI_BASE_URL")
        key = self.api_key or os.environ.get("OPENAI_API_KEY") or ("none" if own_server else None)
        if key is None:
            raise ModelError(
                "expected a key in the environment variable OPENAI_API_KEY, or a server of your "
                f"own (openai:{self.model}@URL, or OPENAI_BASE_URL), got neither"
            )
        try:
            return http.open_client(key, self.base_url, self.timeout)
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(self._without_key(f"the openai client refused: {error}")) from None

    async def _within_deadline(
        self,
        client: "AsyncOpenAI",
        conversation: Conversation,
        more: Mapping[str, Any],
        why: str,
    ) -> str:
        settings = {**more, "model": self.model, "max_tokens": self.max_tokens}
        if self.temperature is not None:
            settings["temperature"] = self.temperature
        try:
            async with asyncio.timeout(self.timeout) as deadline:
                body = await asyncio.to_thread(Body, conversation, settings)
                return await self._attempts(client, body, deadline, why)
        except CropVLMError:
            raise
        except TimeoutError as error:
            raise DeadlineError(
                f"expected an answer from {shorten(self.model)} within {self.timeout:g} s, got none"
            ) from error

    async def _attempts(
        self, client: "AsyncOpenAI", body: Body, deadline: asyncio.Timeout, why: str
    ) -> str:
        import openai

        attempt = 0
        while True:
            attempt += 1
            try:
                completion = await http.post(client, "/chat/completions", body.pieces())
            except openai.APIStatusError as error:
                if self._can_do_without(error, body.settings):
                    attempt -= 1
                    continue
                if attempt >= self.max_attempts or not _is_worth_repeating(error.status_code):
                    raise self._refusal(error, why) from error
                pause = _retry_after(error.response.headers)
            except openai.APITimeoutError as error:
                raise TimeoutError from error
            except http.UnwantedError as error:
                raise ModelError(f"expected from {shorten(self.model)} {error}") from error
            except openai.APIConnectionError as error:
                if attempt >= self.max_attempts:
                    cause = type(error.__cause__ or error).__name__
                    raise ModelError(
                        f"expected an answer from {shorten(self.model)}, got a broken connection "
                        f"({cause}) at each of {attempt} attempts"
                    ) from error
                pause = None
            except (ValueError, RecursionError) as error:
                got = type(error).__name__  # no text, or nesting or digits without end
                if isinstance(error, json.JSONDecodeError):
                    got = shorten(error.doc)
                raise ModelError(f"expected JSON from {shorten(self.model)}, got {got}") from error
            else:
                return _text_of(completion)
            await self._pause(pause, attempt, deadline)

    async def _pause(self, asked: float | None, attempt: int, deadline: asyncio.Timeout) -> None:
        """Wait as the server asked, or a little longer each time."""
        if asked is None:
            asked = _FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        elif asyncio.get_running_loop().time() + asked >= (deadline.when() or 0):
            raise DeadlineError(
                f"expected an answer from {shorten(self.model)} within {self.timeout:g} s, "
                f"got a request to come back in {asked:g} s"
            )
        await asyncio.sleep(asked)

    @staticmethod
    def _can_do_without(error: "APIStatusError", settings: dict[str, Any]) -> bool:
        """Say the same in newer words where a reasoning model refuses the older ones."""
        if error.status_code != 400 or str(error.param) not in settings:
            return False
        if error.param == "temperature":
            del settings["temperature"]
            return True
        if error.param == "max_tokens" and "max_completion_tokens" in error.message:
            settings["max_completion_tokens"] = settings.pop("max_tokens")
            return True
        return False

    def _refusal(self, error: "APIStatusError", why: str) -> ModelError:
        what = error.body.get("message") if isinstance(error.body, dict) else None
        said = self._without_key(str(what or error.message))
        hint = f" (asked with {why}: does this server know it?)" if why else ""
        return ModelError(
            f"expected an answer from {shorten(self.model)}, got HTTP {error.status_code}: "
            f"{shorten(said, 200)}{hint if error.status_code in (400, 422) else ''}"
        )

    def _without_key(self, text: str) -> str:
        key = self.api_key or os.environ.get("OPENAI_API_KEY")
        return text.replace(key, "[key]") if key else text


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work``, which goes on to its end even where the waiting for it is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _is_worth_repeating(status: int) -> bool:
    return status in (408, 429) or status >= 500


def _retry_after(headers: Any) -> float | None:
    """Seconds of the header Retry-After, which holds seconds or a date; None without one."""
    value = str(headers.get("retry-after", ""))
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
        return max(0.0, (when - datetime.now(when.tzinfo)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _text_of(completion: Any) -> str:
    """The text of the first choice; the client does not check what the server sent."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or not choices:
        raise ModelError(f"expected a chat completion with choices, got {shorten(completion)}")
    choice = choices[0] if isinstance(choices[0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str) or not content.strip():
        reason = choice.get("finish_reason")
        hint = "; raise max_tokens" if reason == "length" else ""
        raise ModelError(
            f"expected a reply with text, got {shorten(content)} "
            f"(finish reason {shorten(reason)}{hint})"
        )
    return content
