"""The exception tree: stable codes, stdlib types, messages of one short line."""

import pickle

import pytest

from cropvlm_core import errors
from cropvlm_core.errors import CropVLMError, MissingExtraError, shorten

TREE: dict[str, tuple[str, type[Exception]]] = {
    "BoxError": ("box", ValueError),
    "ImageError": ("image", ValueError),
    "SourceError": ("source", ValueError),
    "QuestionError": ("question", ValueError),
    "DataError": ("data", ValueError),
    "SpecError": ("spec", ValueError),
    "ProposalError": ("proposal", ValueError),
    "WeightsError": ("weights", ValueError),
    "MissingExtraError": ("missing_extra", ImportError),
    "ModelError": ("model", RuntimeError),
    "DeadlineError": ("deadline", TimeoutError),
}


def _defined() -> dict[str, type[CropVLMError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, CropVLMError)
    }


def test_the_tree_is_complete_and_documented() -> None:
    assert set(_defined()) == {*TREE, "CropVLMError"}
    for name in TREE:
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize("name", TREE)
def test_code_and_stdlib_type(name: str) -> None:
    kind = _defined()[name]
    code, stdlib = TREE[name]
    assert kind.code == code
    assert issubclass(kind, stdlib)
    assert f'"{code}"' in (errors.__doc__ or "")


def test_a_deadline_is_a_model_failure() -> None:
    assert issubclass(errors.DeadlineError, errors.ModelError)


def test_missing_extra_gives_the_command_and_pickles() -> None:
    error = MissingExtraError("openai:MODEL", "api")
    assert "pip install 'cropvlm[api]'" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.feature, again.extra) == ("openai:MODEL", "api")


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"\0" * 10**6, "line\nbreak\r\x1b[31m" * 50, "漢" * 500, list(range(999))],
)
def test_shorten_is_one_printable_line(value: object) -> None:
    line = shorten(value)
    assert len(line) <= 80
    assert line.isprintable()


def test_shorten_keeps_both_ends_and_short_values() -> None:
    assert shorten("receipt.png") == "'receipt.png'"
    line = shorten("start" + "-" * 500 + "end.png")
    assert line.startswith("'start")
    assert line.endswith("end.png'")
