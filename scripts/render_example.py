"""Render examples/receipt.png: a receipt, scanned, of a shop that does not exist."""

import random
from pathlib import Path

from cropvlm_core.training.pages.degrade import degrade
from cropvlm_core.training.pages.receipts import receipt

RECEIPT_SEED = 1_000_000_011
DAMAGE_SEED = 9


def main() -> None:
    """Write the picture beside the examples."""
    page = degrade(receipt(random.Random(RECEIPT_SEED)), random.Random(DAMAGE_SEED))
    target = Path(__file__).parent.parent / "examples" / "receipt.png"
    page.image.save(target, optimize=True)
    print(f"{target.name}: {page.image.size[0]} x {page.image.size[1]}")


if __name__ == "__main__":
    main()
