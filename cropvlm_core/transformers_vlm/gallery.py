"""The pictures of one call: each prepared and encoded once, and kept only while it is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cropvlm_core.transformers_vlm import shared
from cropvlm_core.transformers_vlm.inputs import Picture, Prompt, SharedInputs
from cropvlm_core.vlm import Conversation


class Gallery:
    """What a model of the SmolVLM family sees in a call, batch by batch.

    An image object is prepared and encoded at its first conversation and forgotten after its last,
    so that a page with many questions costs one encoding, and many pages no more memory than few.
    """

    def __init__(
        self,
        model: Any,
        inputs: SharedInputs,
        conversations: Sequence[Conversation],
        encoded: Mapping[bytes, torch.Tensor],
    ) -> None:
        """Expect each of ``conversations`` to be shown once, in any order.

        ``encoded``: features that are known beforehand, by ``shared.content`` of their pictures.
        """
        self._encoded = encoded
        self._model = model
        self._inputs = inputs
        self._uses = Counter(id(image) for each in conversations for image in each.images)
        self._known: dict[int, Picture] = {}
        self._features: dict[int, torch.Tensor] = {}

    def show(
        self, conversations: Sequence[Conversation]
    ) -> tuple[list[Prompt], list[list[torch.Tensor]]]:
        """Return each conversation as a prompt, and the features of its pictures."""
        prompts = self._inputs.prompts(conversations, self._known)
        pictures = [picture for prompt in prompts for picture in prompt.pictures]
        new = {id(each): each for each in pictures if id(each) not in self._features}
        if self._encoded:
            for name, picture in list(new.items()):
                if (given := self._encoded.get(shared.content(picture))) is not None:
                    self._features[name] = given.to(self._model.device)
                    del new[name]
        self._features.update(zip(new, shared.encode(self._model, list(new.values())), strict=True))
        features = [[self._features[id(each)] for each in prompt.pictures] for prompt in prompts]
        for conversation in conversations:
            for image in conversation.images:
                self._forget(id(image))
        return prompts, features

    def _forget(self, image: int) -> None:
        self._uses[image] -= 1
        if self._uses[image] == 0:
            del self._features[id(self._known.pop(image))]
