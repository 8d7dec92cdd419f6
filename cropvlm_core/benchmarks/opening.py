"""Where rows come from: the Hub, or a folder or file on this machine.

``datasets`` says which files a split is made of. ``HF_HOME`` and ``HF_HUB_OFFLINE`` are obeyed;
offline, the files are those of the Hub's cache.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cropvlm_core.benchmarks.layouts import Layout
from cropvlm_core.benchmarks.rows import ParquetRows, PictureRows, Rows, TabRows
from cropvlm_core.errors import DataError, MissingExtraError, shorten

_TABLES = (".parquet", ".tsv", ".jsonl")  # of these the first that a folder holds is read
_SPLITS = {"train": ("train",), "validation": ("validation", "val", "dev"), "test": ("test",)}
_PART = re.compile(r"-\d+-of-(\d+)$")
_READ_AHEAD = 4 * 2**20  # bytes asked of the Hub at a time


def open_rows(
    layout: Layout, source: str | None = None, *, split: str | None = None, stream: bool = True
) -> Rows:
    """Return the rows of a set, with images not decoded.

    Args:
        layout: which set.
        source: another id on the Hub with the same columns, or a folder or file (Parquet, TSV,
            JSONL) of the set; None: the set's own place on the Hub.
        split: of the set; None: the one that is reported. In a folder it chooses among files whose
            names say their split; others count as one.
        stream: read files of the Hub as they arrive; otherwise each is fetched when its turn comes,
            and kept in the Hub's cache. V*Bench and HR-Bench are always fetched.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        DataError: there is no such set or split. What rows hold is seen when they are read.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("reading data sets of the Hub", "train") from None
    chosen = split or layout.split
    place = source or layout.hub
    try:
        if source is not None and Path(source).exists():
            return _local(datasets, layout, Path(source), chosen)
        if place == layout.hub and layout.file is not None:
            return _table(_fetcher(place, layout.revision), layout.file)
        revision = layout.revision if place == layout.hub else None
        if datasets.config.HF_HUB_OFFLINE:
            return _local(datasets, layout, _cached(place, revision), chosen)
        config = layout.config if place == layout.hub else None
        return ParquetRows(_of_hub(datasets, (place, config, revision), chosen, stream))
    except DataError:
        raise
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"expected a data set with a split {chosen}, got {shorten(place)}: {shorten(said, 160)}"
        ) from error


def _of_hub(
    datasets: Any, place: tuple[str, str | None, str | None], split: str, stream: bool
) -> list[Callable[[], Any]]:
    """How to open each file of a split, by its path or as a stream."""
    from huggingface_hub import HfFileSystem

    repository, config, revision = place
    addresses = _declared_files(datasets, repository, config, split, revision=revision)
    system = HfFileSystem()

    def opener(address: str) -> Callable[[], Any]:
        if stream:
            return lambda: system.open(address, "rb", block_size=_READ_AHEAD)
        file = system.resolve_path(address)
        return lambda: _fetcher(file.repo_id, file.revision)(file.path_in_repo)

    return [opener(address) for address in addresses]


def _declared_files(
    datasets: Any, place: str, config: str | None, split: str, **options: Any
) -> list[str]:
    """The Parquet files that a repository says a split is made of."""
    splits = datasets.load_dataset_builder(place, config, **options).config.data_files or {}
    if split not in splits:
        raise DataError(
            f"expected a split of {shorten(sorted(map(str, splits)))}, got {shorten(split)}"
        )
    files = list(map(str, splits[split]))
    if not files[0].endswith(".parquet"):
        raise DataError(f"expected Parquet files, got {shorten(files[0])}")
    return files


def _cached(repository: str, revision: str | None) -> Path:
    """The folder of the Hub's cache that holds what was fetched of a repository."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True)
    )


def _local(datasets: Any, layout: Layout, place: Path, split: str) -> Rows:
    if place.is_dir() and layout.file is None and (config := _declared(place, layout)):
        files = [Path(file) for file in _declared_files(datasets, str(place), config, split)]
    else:
        files = [place] if place.is_file() else _files(layout, place, split)
    first = files[0]
    if first.suffix != ".parquet":
        return _table(lambda name: first.parent / name, first.name)
    if place.is_dir():
        _check_complete(files)
    return ParquetRows([lambda file=file: file for file in files])  # type: ignore[misc]


def _table(fetch: Callable[[str], Path], name: str) -> Rows:
    """The rows of a single file; ``fetch`` also gets what lies beside it."""
    if name.endswith(".parquet"):
        return ParquetRows([lambda: fetch(name)])
    if name.endswith(".tsv"):
        return TabRows(fetch(name))
    return PictureRows(fetch(name), fetch)


def _declared(folder: Path, layout: Layout) -> str | None:
    """The configuration that a copied Hub repository declares for this set, if it is one."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import DatasetCard

    configs = DatasetCard.load(card).data.to_dict().get("configs") or []
    wanted = layout.config or "default"
    return wanted if wanted in [config.get("config_name") for config in configs] else None


def _files(layout: Layout, folder: Path, split: str) -> list[Path]:
    """The files of a folder that hold a split of a set."""
    root = folder / layout.config if layout.config and (folder / layout.config).is_dir() else folder
    own = Path(layout.file or "*.parquet")
    for stem in dict.fromkeys((own.stem, "*")):
        for suffix in dict.fromkeys((own.suffix, *_TABLES)):
            found = sorted(root.rglob(f"{stem}{suffix}"))
            if found and stem != "*":
                return found
            if found:
                return _of_split(found, root, split)
    raise DataError(f"expected Parquet files, got none in {shorten(str(folder))}")


def _of_split(files: list[Path], root: Path, split: str) -> list[Path]:
    """The files whose names say the split; all where no name says any."""
    names = {file: f"{file.relative_to(root).with_suffix('')}".lower() for file in files}
    words = {file: set(re.split(r"[^a-z0-9]+", name)) for file, name in names.items()}
    wanted = set(_SPLITS.get(split, ()))
    if chosen := [file for file in files if words[file] & wanted or split in names[file]]:
        return chosen
    if any(words[file] & {word for known in _SPLITS.values() for word in known} for file in files):
        raise DataError(
            f"expected files of the split {split}, got {shorten([file.name for file in files])}"
        )
    return files


def _check_complete(files: Sequence[Path]) -> None:
    """Refuse a part of a set that looks like the whole, such as a cache filled up to a limit."""
    parts = Counter(match[1] for file in files if (match := _PART.search(file.stem)))
    for whole, found in parts.items():
        if found < int(whole):
            raise DataError(
                f"expected all {int(whole)} files of a split, got {found} beside "
                f"{shorten(files[0].name)}"
            )


def _fetcher(repository: str, revision: str | None) -> Callable[[str], Path]:
    """Fetch single files of a repository into the Hub's cache.

    What it gives raises FileNotFoundError where the repository has no such file, and another
    OSError where it cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fetch(name: str) -> Path:
        try:
            return Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision))
        except LocalEntryNotFoundError as error:  # not in the cache, and no way to the Hub
            raise ConnectionError(f"no way to {name} of {repository}: {error}") from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"no {name} in {repository}") from error

    return fetch
