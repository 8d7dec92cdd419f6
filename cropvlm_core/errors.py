"""Every error this project raises on purpose.

::

    Exception
    └── CropVLMError                      code "cropvlm"
        ├── BoxError          ValueError    "box"            a box that is no box
        ├── ImageError        ValueError    "image"          bytes that are no image we read
        ├── SourceError       ValueError    "source"         a reference refused, or nothing there
        ├── QuestionError     ValueError    "question"       an empty or endless question
        ├── DataError         ValueError    "data"           a row of a question set
        ├── SpecError         ValueError    "spec"           the name of a cropper or target
        ├── ProposalError     ValueError    "proposal"       a proposal that contradicts itself
        ├── WeightsError      ValueError    "weights"        a weight file that is refused
        ├── MissingExtraError ImportError   "missing_extra"  a package of an extra is absent
        └── ModelError        RuntimeError  "model"          a model or server failed
            └── DeadlineError TimeoutError  "deadline"       ... or was too slow

``code`` is stable: programs compare it, people read the message. A message says what was
expected, then what came, with the value shortened by :func:`shorten`.
"""

from typing import ClassVar


class CropVLMError(Exception):
    """Base class of all errors of this project."""

    code: ClassVar[str] = "cropvlm"


class BoxError(CropVLMError, ValueError):
    """Coordinates that make no box, or a box notation that does not exist."""

    code = "box"


class ImageError(CropVLMError, ValueError):
    """An image that cannot be decoded, or is larger than we decode."""

    code = "image"


class SourceError(CropVLMError, ValueError):
    """A path, URL or data URI that is refused or leads nowhere."""

    code = "source"


class QuestionError(CropVLMError, ValueError):
    """A question that is no text, empty, or too long."""

    code = "question"


class DataError(CropVLMError, ValueError):
    """A question set, or one row of it, that breaks the format."""

    code = "data"


class SpecError(CropVLMError, ValueError):
    """The name of a cropper or target that this version does not know."""

    code = "spec"


class ProposalError(CropVLMError, ValueError):
    """A proposal or a zoom rule that contradicts itself."""

    code = "proposal"


class WeightsError(CropVLMError, ValueError):
    """A weight file that is missing, damaged or refused."""

    code = "weights"


class MissingExtraError(CropVLMError, ImportError):
    """A feature was entered whose extra is not installed."""

    code = "missing_extra"

    def __init__(self, feature: str, extra: str) -> None:
        """Name the ``feature`` and the ``extra`` that brings it."""
        super().__init__(f"{feature} needs an extra package: pip install 'cropvlm[{extra}]'")
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str]]:
        """Pickle by the two arguments, so that the error crosses processes."""
        return type(self), (self.feature, self.extra)


class ModelError(CropVLMError, RuntimeError):
    """A model or a server failed, or answered something that is no answer."""

    code = "model"


class DeadlineError(ModelError, TimeoutError):
    """A model or a server did not answer within the deadline."""

    code = "deadline"


def shorten(value: object, limit: int = 80) -> str:
    """Return ``value`` as one printable line of at most ``limit`` characters, for a message.

    Text is quoted; the middle of something long is left out.
    """
    if isinstance(value, str | bytes) and len(value) > 2 * limit:
        half = value[:limit] + value[-limit:]  # type: ignore[operator]
        line = repr(half)
    else:
        line = repr(value)
    if len(line) <= limit:
        return line
    tail = limit // 4
    return f"{line[: limit - tail - 3]}...{line[-tail:]}"
