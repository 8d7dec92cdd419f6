"""ZoomMiddleware: one line that gives an agent made by ``create_agent`` its crops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse

from cropvlm_core.sources import Allowed, Roots
from cropvlm_core.turns import FindQuestion, OnError
from cropvlm_core.zoom import ZoomPipeline
from langchain_cropvlm.messages import ConversationZoom
from langchain_cropvlm.tool_images import move_tool_images, takes_tool_images

ToolImages = Literal["auto", "move", "keep"]


class ZoomMiddleware(AgentMiddleware[Any, Any, Any]):
    """Adds to what the model sees, for the call alone: the agent's state keeps the original.

    ::

        agent = create_agent(model, tools, middleware=[ZoomMiddleware()])

    Every question of the user that carries an image reaches the model with the crop behind the
    image; question and image may stand in messages of their own, one right after the other. Each is
    looked at once, however many turns follow. A message with ``additional_kwargs={"zoom": False}``
    is left as it is.

    Images in tool results (such as :class:`~langchain_cropvlm.ZoomTool` returns) are moved into a
    user message behind the results for models that do not see them there. Put it last in the list:
    a middleware behind it that picks another model would make it decide by the wrong one.
    """

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        automatic: bool = True,
        tool_images: ToolImages = "auto",
        question: FindQuestion | None = None,
        on_error: OnError = "raise",
        roots: Roots | None = None,
        urls: bool = False,
    ) -> None:
        """Set up; nothing is loaded before the first image comes.

        Args:
            pipeline: the cropper to follow; None is the shared default.
            automatic: add crops to the user's questions. False leaves only ``tool_images``, for
                agents that zoom by :class:`~langchain_cropvlm.ZoomTool` alone.
            tool_images: "move" images out of tool results, "keep" them there, or "auto": decide
                by the class of the model.
            question: finds the question in a message's text; see
                :func:`~langchain_cropvlm.zoom_messages`.
            on_error: "raise", or "skip": an image that cannot be zoomed into (a URL, damaged data)
                goes on as it is, and the log says why. Images of earlier turns are always passed
                over.
            roots: folders below which images that are paths are read; None: no file is. See
                :func:`~langchain_cropvlm.zoom_messages`.
            urls: whether images that are URLs are fetched, for their crops.

        Raises:
            ValueError: another ``tool_images`` or ``on_error``, or an empty text among the roots.
            TypeError: ``pipeline`` is no pipeline, ``question`` no function, ``roots`` no list, or
                ``urls`` no bool.
        """
        super().__init__()
        if tool_images not in ("auto", "move", "keep"):
            raise ValueError(f'expected tool_images "auto", "move" or "keep", got {tool_images!r}')
        self.tool_images = tool_images
        allowed = Allowed.of(roots, urls)
        self._conversations = (
            ConversationZoom(pipeline, question, on_error, allowed) if automatic else None
        )

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Show the model the messages with crops."""
        return handler(self._shown(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Like :meth:`wrap_model_call`; the event loop goes on."""
        return await handler(await asyncio.to_thread(self._shown, request))

    def _shown(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        messages: list[Any] = list(request.messages)
        if self._conversations is not None:
            (messages,) = self._conversations.zoom(messages)
        keep = self.tool_images == "keep" or (
            self.tool_images == "auto" and takes_tool_images(request.model)
        )
        if not keep:
            messages = move_tool_images(messages)
        return request.override(messages=messages)
