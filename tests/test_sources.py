"""Which reference may be read, and by whom."""

import base64
import os
import random
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropvlm_core.errors import SourceError
from cropvlm_core.sources import MAX_BYTES, Allowed, read_base64, read_reference

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
        "x/" * 3000,
        "a" * 300 + "\n",
        "http://127.0.0.1/a.png",
        "HTTPS://[::1]/a.png",
        "file:///etc/passwd",
        "s3://bucket/key",
    ],
)
@pytest.mark.parametrize("urls", [False, True])
@pytest.mark.parametrize("roots", [None, (), ("/",)])
def test_what_is_refused_names_itself(reference: str, urls: bool, roots: Any) -> None:
    with pytest.raises(SourceError, match="expected") as caught:
        read_reference(reference, urls=urls, roots=roots)
    message = str(caught.value)
    assert len(message) <= 120
    assert message.isprintable()
    if 0 < len(reference) < 40 and reference.isprintable():
        assert reference in message


def test_an_endless_path_is_refused_for_its_length(tmp_path: Path) -> None:
    for roots in (None, [tmp_path]):
        with pytest.raises(SourceError, match="at most 4096 characters"):
            read_reference("./" * 3000 + "page.png", roots=roots)


@pytest.mark.parametrize("reference", [None, 5, b"page.png", ["page.png"], True])
def test_what_is_no_text_is_typed_too(reference: Any) -> None:
    with pytest.raises(SourceError, match="as text, got"):
        read_reference(reference)


def test_a_url_is_named_without_its_secrets() -> None:
    with pytest.raises(SourceError, match="URLs are off") as caught:
        read_reference("https://me:word@example.com/a.png?signature=abc")
    assert "word" not in str(caught.value)
    assert "abc" not in str(caught.value)


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
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("fifo.png", "socket", ""):
            with pytest.raises(SourceError):
                read_reference(name, roots=[tmp_path])
        with pytest.raises(SourceError):
            read_reference(tmp_path / "socket")
    for name in ("zero", "null", "tty", "full"):
        with pytest.raises(SourceError, match="no regular file"):
            read_reference(name, roots=["/dev"])
    assert time.perf_counter() - start < 2


@posix
def test_below_a_root_what_is_no_file_is_not_even_opened(tmp_path: Path) -> None:
    """Opening a pipe lets its writer go on, and opening a device may set it going."""
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(OSError, match="No such device"):  # nobody reads
        os.open(tmp_path / "fifo.png", os.O_WRONLY | os.O_NONBLOCK)
    opened: list[str] = []
    real = os.open

    def noting(path: Any, *rest: Any, **options: Any) -> int:
        opened.append(str(path))
        return real(path, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", noting)
        patch.setattr(os, "supports_dir_fd", {*os.supports_dir_fd, noting})
        with pytest.raises(SourceError, match="no regular file"):
            read_reference("fifo.png", roots=[tmp_path])
    assert opened == [str(tmp_path)]


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.png"
    with file.open("wb") as stream:
        stream.truncate(50 * 2**30)
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("read"))
    for roots in (None, [tmp_path]):
        with pytest.raises(SourceError, match="at most"):
            read_reference(str(file), roots=roots)


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


_PARTS = st.sampled_from(
    ["..", ".", "", "inner", "page.png", "deep.png", "secret.png", "link.png", "linked", "hard.png",
     "fifo", "allowed", "allowed-not", "页面.png", "-rf", "~", "$HOME", "*", "a\0b", "\ud800",
     "x" * 300]
)  # fmt: skip


@posix
@settings(deadline=None)
@given(
    st.sampled_from(["", "/", "{root}/", "{parent}/", "{root}/../", "//", "./", "/proc/self/root"]),
    st.lists(_PARTS, max_size=5),
    st.booleans(),
)
def test_no_path_leads_out_of_the_roots(start: str, parts: list[str], absolute: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        root = parent / "allowed"
        (root / "inner").mkdir(parents=True)
        (parent / "allowed-not").mkdir()
        for file in ("page.png", "-rf", "页面.png", "inner/deep.png"):
            (root / file).write_bytes(b"good")
        for file in ("secret.png", "page.png", "allowed-not/page.png"):
            (parent / file).write_bytes(b"secret")
        (root / "link.png").symlink_to(parent / "secret.png")
        (root / "linked").symlink_to(parent)
        os.link(parent / "secret.png", root / "hard.png")
        os.mkfifo(root / "fifo")
        reference = start.format(root=root, parent=parent) + "/".join(parts)
        plain = "/".join(parts) in ("page.png", "-rf", "页面.png", "inner/deep.png")
        try:
            found = read_reference(reference, roots=[root if absolute else f"{root}/inner/.."])
        except SourceError:
            found = b""
        assert found in (b"", b"good")
        assert found or not (plain and start in ("", "./"))


def test_no_roots_mean_no_file(root: Path) -> None:
    with pytest.raises(SourceError):
        read_reference(str(root / "page.png"), roots=[])


@pytest.mark.parametrize("roots", ["/", b"/", {"/"}, 1, [1], [None], [b"/"], Path("/")])
def test_roots_that_are_no_list_are_refused(root: Path, roots: Any) -> None:
    """A text is a sequence of its letters, among them "/"."""
    for asked in (lambda: read_reference(str(root / "page.png"), roots=roots),
                  lambda: Allowed.of(roots, False)):  # fmt: skip
        with pytest.raises(TypeError, match="roots as a list of folders"):
            asked()


def test_an_empty_root_is_no_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for asked in (lambda: read_reference("page.png", roots=[""]), lambda: Allowed.of([""], False)):
        with pytest.raises(ValueError, match="an empty text"):
            asked()
    assert read_reference("page.png", roots=["."]) == b"page"


@pytest.mark.filterwarnings("ignore:urls=True hands strangers' files to Pillow")
def test_what_is_allowed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = str(root / "page.png")
    assert Allowed() == Allowed.of(None, False) == Allowed.of([], False)
    assert not Allowed().references
    with pytest.raises(SourceError):
        Allowed().read(page)
    assert Allowed.of(None, False, typed=True).read(page) == b"page"
    assert Allowed.of(None, False, typed=True).references
    assert Allowed.of(None, True).references
    assert not Allowed.of([], False, typed=True).references
    with pytest.raises(SourceError, match="URLs are off"):
        Allowed.of(["/"], False, typed=True).read("https://example.com/a")
    monkeypatch.chdir(root)
    here = Allowed.of(["inner"], False)
    monkeypatch.chdir(root.parent)
    assert here.read("deep.png") == b"deep"  # meant from where it was set up
    wrong: list[Any] = [1, "yes", None, []]
    for urls in wrong:
        with pytest.raises(TypeError, match="urls as True or False"):
            Allowed.of(None, urls)


def test_urls_with_old_decoders_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    with pytest.warns(UserWarning, match="Pillow 12.3.0; 13.0 closes"):
        Allowed.of(None, True)
    Allowed.of(None, False)
    monkeypatch.setattr(PIL, "__version__", "13.0.0")
    Allowed.of(None, True)


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


def test_a_long_data_uri_is_read_in_slices_as_if_at_once() -> None:
    data = random.Random(0).randbytes(2_500_001)
    digits = base64.b64encode(data).decode()
    assert read_reference("data:image/png;base64," + digits) == data
    assert read_base64(digits.encode()) == data
    slice_end = 2**20
    for broken in (
        digits[: slice_end - 1] + "=" + digits[slice_end:],
        digits[:slice_end] + "=" + digits[slice_end + 1 :],
        digits[: slice_end + 9] + "!" + digits[slice_end + 10 :],
        digits[:-5],
    ):
        with pytest.raises(SourceError, match="valid base64"):
            read_base64(broken)


def test_a_large_data_uri_is_refused() -> None:
    largest = base64.b64encode(bytes(MAX_BYTES)).decode()
    assert len(read_reference("data:image/png;base64," + largest)) == MAX_BYTES
    for length in (MAX_BYTES + 1, MAX_BYTES + 9):
        uri = "data:image/png;base64," + base64.b64encode(bytes(length)).decode()
        with pytest.raises(SourceError, match="at most") as caught:
            read_reference(uri)
        assert len(str(caught.value)) < 300
