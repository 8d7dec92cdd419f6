"""OpenAICropper: a model behind a server, asked for boxes."""

import dataclasses
import re
from collections.abc import Sequence

from cropvlm_core.cropper import Proposal, VLMCropper
from cropvlm_core.cropper_settings import CropperSettings
from cropvlm_core.errors import ModelError, shorten
from cropvlm_core.grammar import MAX_BOX_TOKENS, BoxGrammar
from cropvlm_core.openai_vlm.constraints import FIELDS, check_constrain, regex
from cropvlm_core.openai_vlm.vlm import OpenAIVLM
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.vlm import Conversation, checked_replies


class OpenAICropper(VLMCropper):
    """A model behind a server as cropper: a checkpoint of ours that is served there, or any other.

    A checkpoint is asked as it was trained: by the paper's prompt alone, with the page at its
    input size, and for no more tokens than a box has; its boxes become crops by its own rules.
    Any other model is told how to write a box (``explain``). No box has a confidence.

    Attributes:
        vlm: the model.
        settings: how it is asked, and how its boxes are written and become crops.
        constrain: ``vllm``, ``sglang`` or ``llamacpp``: have such a server write nothing but a box
            (or that no zoom is needed, where the model may say so); None: ask for nothing.
    """

    vlm: OpenAIVLM

    def __init__(
        self,
        vlm: OpenAIVLM,
        settings: CropperSettings | None = None,
        *,
        constrain: str | None = None,
        name: str | None = None,
    ) -> None:
        """Ask ``vlm``; None as ``settings``: a model that was never trained as a cropper.

        Raises:
            SpecError: ``constrain`` names no server that we know.
            ProposalError: the input size is too small for the notation.
        """
        check_constrain(constrain)
        self.settings = settings or CropperSettings(explain=True)
        self.constrain = constrain
        if constrain or not self.settings.explain:  # else it may think first
            vlm = dataclasses.replace(vlm, max_tokens=min(vlm.max_tokens, MAX_BOX_TOKENS))
        super().__init__(
            vlm,
            self.settings.notation,
            self.settings.rules,
            explain=self.settings.explain,
            input_size=self.settings.input_size,
            name=name or f"openai:{vlm.model}",
        )

    @property
    def version(self) -> str:
        """As of its base, and what the server is held to."""
        return super().version + (f" constrain={self.constrain}" if self.constrain else "")

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Ask the cropper prompt about each image, several requests at a time.

        Raises:
            ModelError: the server failed, refused ``constrain`` or did not hold to it.
        """
        if self.constrain is None:
            return super().propose_batch(questions)
        asked = [self.conversation(question) for question in questions]
        grammars = [self._grammar(conversation) for conversation in asked]
        fields = [FIELDS[self.constrain](grammar) for grammar in grammars]
        replies = checked_replies(
            self.vlm.reply(asked, fields, why=f"constrain={self.constrain!r}"), len(asked)
        )
        for reply, grammar in zip(replies, grammars, strict=True):
            self._check(reply, grammar)
        return [
            self._read(reply, conversation.images[0].size)
            for reply, conversation in zip(replies, asked, strict=True)
        ]

    def _grammar(self, conversation: Conversation) -> BoxGrammar:
        """What may be written; the prompt that explains allows to say that no zoom is needed."""
        no_zoom = self.settings.no_zoom or self.settings.explain
        return BoxGrammar(self.notation, size=conversation.images[0].size, no_zoom=no_zoom)

    def _check(self, reply: str, grammar: BoxGrammar) -> None:
        """A server that does not know a field may pass over it in silence."""
        if re.fullmatch(regex(grammar), reply.strip()) is None:
            raise ModelError(
                f"expected from {shorten(self.vlm.model)} a box in {self.notation.name}, as "
                f"constrain={self.constrain!r} asks, got {shorten(reply)}: the server does not "
                f"hold to it; name the server that it is, or leave it out"
            )
