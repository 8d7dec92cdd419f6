"""TransformersCropper: a Hugging Face model that names boxes, always readable ones."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import Proposal, VLMCropper
from cropvlm_core.cropper_settings import CropperSettings
from cropvlm_core.grammar import MAX_BOX_TOKENS, BoxGrammar
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.transformers_vlm.checkpoint import model_card, read_settings
from cropvlm_core.transformers_vlm.processors import set_input_size
from cropvlm_core.transformers_vlm.vlm import TransformersVLM
from cropvlm_core.transformers_vlm.weights import base_of_adapter, fingerprint

if TYPE_CHECKING:
    import torch

PIXELS_SIZE = 1036
"""Input size for boxes in pixels: a family that scales pictures itself would write pixels of its
own size, and leaves alone what is 37 x 28 pixels."""


class TransformersCropper(VLMCropper):
    """A VLM on this machine as cropper: the paper's policy, or any model that can point.

    It decodes under the grammar of its notation, so that every reply is a box and ends where the
    box closes. A box's confidence is the probability of its text under that constrained decoding.

    Attributes:
        vlm: the model.
        settings: how its boxes are written and become crops.
        temperature: 0 takes the likeliest box; above, one is drawn.
    """

    vlm: TransformersVLM

    def __init__(
        self,
        vlm: TransformersVLM,
        settings: CropperSettings | None = None,
        *,
        temperature: float = 0.0,
        name: str | None = None,
    ) -> None:
        """Ask ``vlm``; ``temperature`` above 0 draws boxes instead of taking the likeliest.

        Raises:
            ValueError: the settings have another input size than ``vlm`` was loaded with.
        """
        settings = settings or CropperSettings()
        pixels = settings.notation.units is None
        size = settings.input_size or vlm.input_size
        if pixels and size is None and not vlm.shares:
            size = PIXELS_SIZE
        if size != vlm.input_size and not (pixels and vlm.input_size is None):
            raise ValueError(
                f"expected a model that was loaded with input_size={size}, as the settings say, "
                f"got one with {vlm.input_size}"
            )
        if pixels and size is not None and not vlm.shares:
            set_input_size(vlm.processor, size)
        self.settings = replace(settings, input_size=size)
        self.temperature = temperature
        super().__init__(
            vlm,
            self.settings.notation,
            self.settings.rules,
            explain=self.settings.explain,
            # Else the processor scales, once.
            input_size=self.settings.input_size if pixels else None,
            name=name or f"hf:{vlm.name}",
        )

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        attention: str = "sdpa",
        batch_size: int = 8,
        notation: BoxNotation | None = None,
        input_size: int | None = None,
    ) -> TransformersCropper:
        """Load a checkpoint that :meth:`save_pretrained` wrote, or any grounding VLM.

        Args:
            name: a folder or an id on the Hub.
            revision: branch, tag or commit on the Hub.
            device: None: CUDA, then MPS, then the CPU.
            dtype: None: bfloat16 on a GPU that has it, else float32.
            attention: ``sdpa``, ``eager`` or ``flash_attention_2``.
            batch_size: questions at a time.
            notation: instead of the checkpoint's, or of what suits the model's family.
            input_size: longest edge in pixels, instead of the checkpoint's.

        Raises:
            WeightsError: no such model, no safetensors, or damaged settings.
        """
        settings = read_settings(name, revision=revision)
        if settings is None and (base := base_of_adapter(name)):
            settings = read_settings(base)
        vlm = TransformersVLM.from_pretrained(
            name,
            revision=revision,
            device=device,
            dtype=dtype,
            attention=attention,
            input_size=input_size or (settings.input_size if settings else None),
            batch_size=batch_size,
        )
        if settings is None:
            settings = CropperSettings.of_family(vlm.model.config.model_type)
        settings = replace(
            settings,
            notation=notation or settings.notation,
            input_size=input_size or settings.input_size,
        )
        return cls(vlm, settings)

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, trained: str | None = None
    ) -> None:
        """Write model, processor, settings and model card into ``folder``.

        Args:
            folder: made if missing.
            trained: a paragraph of the model card on how the weights were made.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self.vlm.model.save_pretrained(place)
        self.vlm.processor.save_pretrained(place)
        self.settings.save(place)
        card = model_card(self.settings, base=self.vlm.name, trained=trained)
        (place / "README.md").write_text(card, encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload cropper",
        trained: str | None = None,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes; return the commit's address.

        Repository and branch (``revision``) are made if missing.

        The token is that of ``hf auth login`` or the environment variable ``HF_TOKEN``.
        """
        from huggingface_hub import HfApi

        hub = HfApi()
        repo = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr"):
            hub.create_branch(repo, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, trained=trained)
            done = hub.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision, commit_message=commit_message
            )
        return str(done.commit_url)

    @property
    def version(self) -> str:
        """Name, rules, settings, and a hash of the weights as they are now."""
        weights = fingerprint(self.vlm.model)
        return f"{super().version} {self.settings.to_dict()} {self.temperature} {weights}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Ask the cropper prompt about each image.

        Raises:
            ModelError: the device ran out of memory.
        """
        asked = [self.conversation(question) for question in questions]
        sizes = [conversation.images[0].size for conversation in asked]
        drawn = self.vlm.sample(
            asked,
            temperature=self.temperature,
            max_new_tokens=MAX_BOX_TOKENS,
            grammars=[
                BoxGrammar(self.notation, size=size, no_zoom=self.settings.no_zoom)
                for size in sizes
            ],
        )
        return [
            self._sure(self._read(samples[0].text, size), samples[0].log_probability)
            for samples, size in zip(drawn, sizes, strict=True)
        ]

    @staticmethod
    def _sure(proposal: Proposal, log_probability: float | None) -> Proposal:
        if not proposal.boxes or log_probability is None:
            return proposal
        return replace(proposal, confidences=(min(1.0, math.exp(log_probability)),))
