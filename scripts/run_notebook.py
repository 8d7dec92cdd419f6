"""Run a notebook from top to bottom in a fresh kernel, and write it again with its outputs.

    python scripts/run_notebook.py                        examples/quickstart.ipynb, in place
    python scripts/run_notebook.py --out FILE [NOTEBOOK]  into another file

It runs in a folder of its own that holds the receipt and is removed afterwards. Nothing of the
machine is kept but what the cells print and show: no times, versions, or settings of a user.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the notebook; a cell that raises ends it, and nothing is written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebook", nargs="?", type=Path, default=NOTEBOOK)
    parser.add_argument("--out", type=Path, help="where to write (default: the notebook itself)")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for a cell")
    given = parser.parse_args(argv)
    import nbformat

    notebook = nbformat.read(given.notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, Path(folder), given.timeout)
    nbformat.write(notebook, given.out or given.notebook)
    pictures = sum(len(data) for data in pictures_of(notebook))
    print(f"{len(notebook.cells)} cells, {pictures} bytes of pictures, as base64")


def run(notebook: Any, folder: Path, timeout: int) -> None:
    """Run all cells, in ``folder``; the outputs are written into ``notebook``."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        os.environ[name] = str(folder / "kernel")
    from nbclient import NotebookClient

    work = folder / "examples"
    work.mkdir()
    shutil.copy(ROOT / "examples" / "receipt.png", work)
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
        record_timing=False,
    ).execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}


def pictures_of(notebook: Any) -> list[str]:
    """The pictures among the outputs, in base64."""
    return [
        data
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        for kind, data in output.get("data", {}).items()
        if kind.startswith("image/")
    ]


if __name__ == "__main__":
    main()
