"""What every zooming component of LlamaIndex is set up with, and how that is stored."""

from typing import Any, Literal

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import BaseComponent

from cropvlm_core.loading import default_pipeline, load_cropper
from cropvlm_core.zoom import ZoomPipeline


class ZoomSettings(BaseComponent):
    """Fields that are stored, and the pipeline that is built from them at its first use."""

    cropper: str | None = Field(
        default=None, description="The cropper's name, as cropvlm knows it; None is the default."
    )
    max_crops: int = Field(default=1, ge=1, description="The most crops of one image.")
    min_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Crops less sure than this are left out."
    )
    on_error: Literal["raise", "skip"] = Field(
        default="raise",
        description="For an image that cannot be zoomed into: raise, or go on without and log it.",
    )
    _pipeline: ZoomPipeline | None = PrivateAttr(default=None)

    def __init__(self, pipeline: ZoomPipeline | None = None, **fields: Any) -> None:
        """Follow ``pipeline``, whose settings count where ``fields`` does not set its own."""
        if pipeline is not None:
            own = {
                "max_crops": pipeline.max_crops,
                "min_confidence": pipeline.min_confidence,
            }
            fields = own | fields | {"cropper": pipeline.cropper.name}
        super().__init__(**fields)
        if pipeline is not None:
            self._pipeline = self._following(pipeline)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle with the pipeline, where it could be pickled: LlamaIndex would leave it out."""
        super().__setstate__(state)
        self._pipeline = (state.get("__pydantic_private__") or {}).get("_pipeline")

    @property
    def pipeline(self) -> ZoomPipeline:
        """The pipeline; None at construction was the shared default, or the cropper named.

        Raises:
            SpecError: the stored name is of a cropper that cannot be loaded by name: hand its
                pipeline to ``from_dict``.
        """
        if self._pipeline is None:
            self._pipeline = self._following(
                default_pipeline()
                if self.cropper is None
                else ZoomPipeline(load_cropper(self.cropper))
            )
        return self._pipeline

    def _following(self, pipeline: ZoomPipeline) -> ZoomPipeline:
        return ZoomPipeline(
            pipeline.cropper, max_crops=self.max_crops, min_confidence=self.min_confidence
        )
