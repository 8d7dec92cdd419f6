"""ZoomTool: the model asks to look closer at an image, and sees the crop."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, ToolException
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from cropvlm_core.errors import ImageError, ModelError, QuestionError, SourceError
from cropvlm_core.prompts import ZOOM_TOOL, ZOOM_TOOL_IMAGE, ZOOM_TOOL_QUESTION
from cropvlm_core.sources import Allowed
from cropvlm_core.tool import (
    NAME,
    ZOOM_TOOL_REFERENCE,
    choose_image,
    named_image,
    tool_words,
    zoom_call,
)
from cropvlm_core.zoom import checked_pipeline
from langchain_cropvlm.blocks import blocks_of, image_block, image_in, text_block


class ZoomInput(BaseModel):
    """What the model passes; ``runtime`` is LangGraph's ``ToolRuntime``, which it fills in.

    The annotation hides it from the model. LangChain dumps the arguments of every call: the whole
    conversation, pictures and all, need not be copied for that.
    """

    question: str = Field(description=ZOOM_TOOL_QUESTION)
    image: int | None = Field(default=None, description=ZOOM_TOOL_IMAGE)
    runtime: Annotated[Any, InjectedToolArg, PlainSerializer(lambda _: None)] = None


class ZoomReferenceInput(ZoomInput):
    """What the model passes where it may name images by path or URL."""

    image: int | str | None = Field(  # type: ignore[assignment]  # more than without
        default=None, description=ZOOM_TOOL_REFERENCE
    )


class ZoomTool(BaseTool):
    """Shows the model the part of an image that answers its question.

    ::

        agent = create_agent(model, [ZoomTool()], middleware=[ZoomMiddleware(automatic=False)])

    The images are those of the conversation, numbered from 1 as they came: the user's, and those
    that other tools returned; or those given as ``images``. The result is a text (what was cut
    out, where, how sure) and the crop as a standard image block; its ``artifact`` has the keys of
    ``cropvlm zoom --json``. A model whose provider takes no image in a tool's result needs
    :class:`~langchain_cropvlm.ZoomMiddleware` or :func:`~langchain_cropvlm.move_tool_images`.

    What the model gets wrong (no such image, no question) and images that cannot be had come back
    as a result with status "error" that says what was expected. A broken installation raises.

    Attributes:
        pipeline: the cropper to follow; None is the shared default, built at the first call.
        images: images to use in place of the conversation's: PIL images, paths, bytes or
            ``data:`` URIs. Needed without LangGraph, which hands over the conversation.
        unseen: the model has not seen the whole images: return them with the crops.
        messages_key: where the graph's state holds the conversation.
        roots: folders below which the model may name image files by their paths; None: none, and
            the model names images by number alone. Relative paths are meant from the roots.
        urls: whether the model may name images by http or https URLs, which are fetched from
            public addresses alone; and whether images of the conversation that are URLs are.
            With either, what the tool says of itself and its argument ``image`` change, and the
            model is shown the whole image with the crop.
    """

    name: str = NAME
    description: str = ZOOM_TOOL
    args_schema: type[BaseModel] = ZoomInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    pipeline: Any = Field(default=None, exclude=True, repr=False)
    images: Sequence[Any] = Field(default=(), exclude=True, repr=False)
    unseen: bool = False
    messages_key: str = "messages"
    roots: Any = Field(default=None, exclude=True, repr=False)
    urls: Any = False

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @field_validator("pipeline")
    @classmethod
    def _is_pipeline(cls, pipeline: Any) -> Any:
        return checked_pipeline(pipeline)

    @field_validator("images", mode="before")
    @classmethod
    def _is_list(cls, images: Any) -> Any:
        if not isinstance(images, list | tuple):
            raise TypeError(f"expected images as a list, got a {type(images).__name__}")
        return images

    @model_validator(mode="after")
    def _say_what_is_read(self) -> Self:
        allowed = Allowed.of(self.roots, self.urls)
        if allowed.references:
            self.roots = allowed.roots
            if self.description == ZOOM_TOOL:
                self.description = tool_words(allowed)
            if self.args_schema is ZoomInput:
                self.args_schema = ZoomReferenceInput
        return self

    def _run(
        self, question: str, image: int | str | None = None, runtime: Any = None
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Zoom.

        Raises:
            ToolException: what the model can act on; LangChain turns it into a result.
        """
        allowed = Allowed.of(self.roots, self.urls)
        try:
            named = named_image(image, allowed)
            if named is not None:
                chosen, called = named
            elif self.images:
                chosen, called = choose_image(self.images, image)
                allowed = Allowed(None, allowed.urls)  # the program wrote these
            else:
                held = _images_in(self._conversation(runtime), self.name, allowed)
                chosen, called = choose_image(held, image)
            unseen = self.unseen or named is not None
            answer = zoom_call(
                self.pipeline, chosen, called, question, allowed=allowed, unseen=unseen
            )
        except (SourceError, ImageError, QuestionError, ModelError) as error:
            raise ToolException(f"{self.name} failed: {error}") from error
        pictures = [image_block(data, mime_type) for data, mime_type in answer.pictures]
        return [text_block(answer.text), *pictures], answer.artifact

    def _conversation(self, runtime: Any) -> Sequence[BaseMessage]:
        state = getattr(runtime, "state", None)
        if isinstance(state, list):
            return state
        if isinstance(state, dict):
            return state.get(self.messages_key) or ()
        return getattr(state, self.messages_key, None) or ()


def _images_in(messages: Sequence[BaseMessage], own_name: str, allowed: Allowed) -> list[Any]:
    """Images of the user and of other tools, in order; crops are not zoomed into again."""
    return [
        held
        for message in messages
        if isinstance(message, HumanMessage)
        or (isinstance(message, ToolMessage) and not _is_ours(message, own_name))
        for block in blocks_of(message)
        if (held := image_in(block, allowed)) is not None
    ]


def _is_ours(message: ToolMessage, own_name: str) -> bool:
    artifact = message.artifact
    return message.name == own_name or (
        isinstance(artifact, dict) and {"zoomed", "crops"} <= artifact.keys()
    )
