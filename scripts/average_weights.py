"""Average a training run's weights with those it started from, as a run of its own to export.

    python scripts/average_weights.py runs/more --start FILE.onnx --share 0.5 --out runs/mean
    cropvlm train embedded --out runs/mean --export-only

Fine-tuned weights and their start lie in one basin, and a point between them is often better than
either, above all on what the fine-tuning saw little of (Wortsman et al. 2022, Robust fine-tuning
of zero-shot models, section 3).
"""

import argparse
import hashlib
from pathlib import Path

from cropvlm_core.errors import CropVLMError, DataError
from cropvlm_core.training.export import read_network
from cropvlm_core.training.supervised import load_checkpoint, save_checkpoint


def average(run: Path, start: Path, share: float, out: Path) -> None:
    """Write ``out/checkpoint.pt``: ``share`` of the run's weights, the rest of the start's.

    Raises:
        DataError: there is no checkpoint, or a network of another size.
        WeightsError: ``start`` cannot be read.
    """
    state = load_checkpoint(run / "checkpoint.pt")
    begun = read_network(start)
    if state is None or state["plan"]["size"] != begun.size.to_dict():
        raise DataError(f"expected a run that started from {start.name}, got {run.name}")
    first = begun.state_dict()
    state["averaged"] = {
        name: first[name].lerp(value, share) for name, value in state["averaged"].items()
    }
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    state["plan"]["averaged"] = {"share": share, "with": digest}
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / "checkpoint.pt", state)


def main() -> int:
    """Average as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--start", type=Path, required=True, help="the file that it started from")
    parser.add_argument("--share", type=float, default=0.5, help="of the run's weights, 0..1")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args()
    try:
        average(given.run, given.start, given.share, given.out)
    except CropVLMError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
