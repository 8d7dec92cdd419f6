"""What every zooming component of LlamaIndex is set up with, and how that is stored."""

from typing import Any, Literal

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.schema import BaseComponent

from cropvlm_core.loading import default_pipeline, load_cropper
from cropvlm_core.sources import Allowed, Roots
from cropvlm_core.zoom import ZoomPipeline, checked_pipeline


class ZoomSettings(BaseComponent):
    """Fields that are stored, and the pipeline that is built from them at its first use."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    cropper: str | None = Field(
        default=None, description="The cropper's name, as cropvlm knows it; None is the default."
    )
    max_crops: int = Field(default=1, ge=1, description="The most crops of one image.")
    min_confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Crops less sure than this are left out; None: what the cropper recommends.",
    )
    on_error: Literal["raise", "skip"] = Field(
        default="raise",
        description="For an image that cannot be zoomed into: raise, or go on without and log it.",
    )
    roots: list[str] | None = Field(
        default=None, description="The only folders below which files are read; None is any file."
    )
    urls: bool = Field(default=False, strict=True, description="Whether URLs are fetched.")
    _given: ZoomPipeline | None = PrivateAttr(default=None)

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        roots: Roots | None = None,
        urls: bool = False,
        **fields: Any,
    ) -> None:
        """Follow ``pipeline``, whose settings count where ``fields`` does not set its own.

        Raises:
            TypeError: ``pipeline`` is no pipeline, ``roots`` no list, or ``urls`` no bool.
            ValueError: an empty text among the roots.
        """
        found = Allowed.of(roots, urls, typed=True).roots
        pipeline = checked_pipeline(pipeline)
        if pipeline is not None:
            own = {
                "max_crops": pipeline.max_crops,
                "min_confidence": pipeline.min_confidence,
            }
            fields = own | fields | {"cropper": pipeline.cropper.name}
        fields |= {"roots": None if found is None else list(found), "urls": urls}
        super().__init__(**fields)
        self._given = pipeline

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle with the pipeline, where it could be pickled: LlamaIndex would leave it out."""
        super().__setstate__(state)
        self._given = (state.get("__pydantic_private__") or {}).get("_given")

    @property
    def allowed(self) -> Allowed:
        """Which references of nodes are read."""
        return Allowed.of(self.roots, self.urls, typed=True)

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
