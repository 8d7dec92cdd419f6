"""Which reference may be read, and by whom."""

import base64
import os
import sys
import time
from pathlib import Path

import pytest

from cropvlm_core.errors import SourceError
from cropvlm_core.sources import MAX_BYTES, read_reference

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that may be read, beside a secret that may not."""
    folder = tmp_path / "allowed"
    (folder / "inner").mkdir(parents=True)
    (folder / "page.png").write_bytes(b"page")
    (folder / "inner" / "deep.png").write_bytes(b"deep")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "page.png").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize(
    "name",
    ["page.png", "页面 扫描.png", "-dash.png", "sp ace'\".png", "ünï.png", "data.png", "a:b"],
)
def test_good_names_are_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"hello")
    assert read_reference(file) == b"hello"
    assert read_reference(str(file)) == b"hello"
    assert read_reference(name, roots=[tmp_path]) == b"hello"
    assert read_reference(str(file), roots=[tmp_path]) == b"hello"


@posix
def test_a_person_may_use_links(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    assert read_reference(root / "link.png") == b"secret"


@pytest.mark.parametrize(
    "reference",
    [
        "nowhere.png",
        "",
        ".",
        "a\0b.png",
        "x" * 5000,
        "\udcff\ud800.png",
        "http://localhost/a.png",
        "HTTPS://example.com/a.png",
        "file:///etc/passwd",
        "s3://bucket/key",
    ],
)
@pytest.mark.parametrize("urls", [False, True])
def test_what_is_refused_names_itself(reference: str, urls: bool) -> None:
    with pytest.raises(SourceError, match="expected") as caught:
        read_reference(reference, urls=urls)
    message = str(caught.value)
    assert len(message) <= 300
    assert "\n" not in message
    if 0 < len(reference) < 50 and reference.isprintable():
        assert reference in message


def test_the_message_does_not_show_a_path_nobody_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for roots in (None, [tmp_path]):
        with pytest.raises(SourceError) as caught:
            read_reference("missing.png", roots=roots)
        assert str(tmp_path) not in str(caught.value)
        assert "No such file" in str(caught.value)


@posix
def test_special_files_are_refused_without_a_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    start = time.perf_counter()
    for reference in (tmp_path / "fifo.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(SourceError, match=r"folder|regular"):
            read_reference(reference)
    with pytest.raises(SourceError):
        read_reference("fifo.png", roots=[tmp_path])
    assert time.perf_counter() - start < 2


def test_the_size_is_capped(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES)
    assert len(read_reference(file)) == MAX_BYTES
    with file.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(SourceError, match="at most"):
        read_reference(file)


@pytest.mark.parametrize("name", ["page.png", "inner/deep.png"])
def test_below_a_root(root: Path, name: str) -> None:
    expected = (root / name).read_bytes()
    assert read_reference(name, roots=[root]) == expected
    assert read_reference(str(root / name), roots=[root]) == expected
    assert read_reference(name, roots=[root / "inner", root]) == expected


@posix
@pytest.mark.parametrize(
    "make",
    [
        "../secret.png",
        "{root}/../secret.png",
        "{parent}/secret.png",
        "{parent}/allowed-not/page.png",
        "inner/../../secret.png",
        "link.png",
        "{root}/link.png",
        "linked/secret.png",
        "hard.png",
        "loop.png",
        "inner",
        "",
        "page.png/",
        "/dev/zero",
        "/etc/hostname",
        "page.png\0",
    ],
)
def test_what_leaves_a_root_is_refused(root: Path, make: str) -> None:
    secret = root.parent / "secret.png"
    (root / "link.png").symlink_to(secret)
    (root / "linked").symlink_to(root.parent)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root.parent / "other.png").write_bytes(b"secret")  # a link must be refused for being a link,
    os.link(root.parent / "other.png", root / "hard.png")  # not because its target has two names
    reference = make.format(root=root, parent=root.parent)
    if make == "page.png/":
        assert read_reference(reference, roots=[root]) == b"page"
        return
    with pytest.raises(SourceError, match="expected"):
        read_reference(reference, roots=[root])


def test_no_roots_mean_no_file(root: Path) -> None:
    with pytest.raises(SourceError):
        read_reference(str(root / "page.png"), roots=[])


@posix
def test_a_root_that_is_a_link_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    for reference in ("page.png", str(tmp_path / "alias" / "page.png"), str(root / "page.png")):
        assert read_reference(reference, roots=[tmp_path / "alias"]) == b"page"


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = os.open(root / "page.png", os.O_RDONLY)
    os.close(before)
    for _ in range(5):
        read_reference("inner/deep.png", roots=[root])
        with pytest.raises(SourceError):
            read_reference("inner/missing.png", roots=[root])
        with pytest.raises(SourceError):
            read_reference(root)
    after = os.open(root / "page.png", os.O_RDONLY)
    os.close(after)
    assert after == before


def test_data_uris() -> None:
    body = base64.b64encode(b"hello").decode()
    assert read_reference(f"data:image/png;base64,{body}") == b"hello"
    assert read_reference(f"DATA:IMAGE/png;charset=x;BASE64,{body}") == b"hello"
    assert read_reference(f"data:image/png;base64,{body}", roots=[]) == b"hello"


@pytest.mark.parametrize(
    "uri",
    [
        "data:",
        "data:,hello",
        "data:image/png,hello",
        "data:text/html;base64,aGVsbG8=",
        "data:;base64,aGVsbG8=",
        "data:image/png;base64,aGVsbG8",
        "data:image/png;base64,aGV sbG8=",
        "data:image/png;base64,aGVsbG8=\n",
        "data:image/png;base64,é",
        "data:image/png;base64" + "x" * 1000,
    ],
)
def test_odd_data_uris_are_refused(uri: str) -> None:
    with pytest.raises(SourceError, match="expected"):
        read_reference(uri)


def test_a_large_data_uri_is_refused() -> None:
    largest = base64.b64encode(bytes(MAX_BYTES)).decode()
    assert len(read_reference("data:image/png;base64," + largest)) == MAX_BYTES
    for length in (MAX_BYTES + 1, MAX_BYTES + 9):
        uri = "data:image/png;base64," + base64.b64encode(bytes(length)).decode()
        with pytest.raises(SourceError, match="at most") as caught:
            read_reference(uri)
        assert len(str(caught.value)) < 300
