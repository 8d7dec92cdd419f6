"""What every zooming component of LlamaIndex is set up with, and how that is stored."""

from typing import Any, Literal

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.schema import BaseComponent

from cropvlm_core.loading import default_pipeline, load_cropper
from cropvlm_core.zoom import ZoomPipeline, checked_pipeline


class ZoomSettings(BaseComponent):
    """Fields that are stored, and the pipeline that is built from them at its first use."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

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
    _given: ZoomPipeline | None = PrivateAttr(default=None)

    def __init__(self, pipeline: ZoomPipeline | None = None, **fields: Any) -> None:
        """Follow ``pipeline``, whose settings count where ``fields`` does not set its own.

        Raises:
            TypeError: ``pipeline`` is no pipeline.
        """
        pipeline = checked_pipeline(pipeline)
        if pipeline is not None:
            own = {
                "max_crops": pipeline.max_crops,
                "min_confidence": pipeline.min_confidence,
            }
            fields = own | fields | {"cropper": pipeline.cropper.name}
        super().__init__(**fields)
        self._given = pipeline

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle with the pipeline, where it could be pickled: LlamaIndex would leave it out."""
        super().__setstate__(state)
        self._given = (state.get("__pydantic_private__") or {}).get("_given")

    @property
    def pipeline(self) -> ZoomPipeline:
        """The pipeline by the fields as they are now, its cropper loaded at the first use.

        Raises:
            SpecError: the stored name is of a cropper that cannot be loaded by name: hand its
                pipeline to ``from_dict``.
        """
        if self._given is None:
            self._given = (
                default_pipeline()
                if self.cropper is None
                else ZoomPipeline(load_cropper(self.cropper))
            )
        return ZoomPipeline(
            self._given.cropper, max_crops=self.max_crops, min_confidence=self.min_confidence
        )
