"""What the supervised policy is trained to minimise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cropvlm_core.training.network import BLANK, LETTER_CLASSES, SLOTS, PolicyNetwork
from cropvlm_core.training.supervision import IGNORED, Lesson


def stack(lessons: list[Lesson]) -> Lesson:
    """Lessons of one input shape as one batch (a leading axis P on every array)."""
    return Lesson(
        **{
            name: torch.stack([getattr(one, name) for one in lessons])
            for name in Lesson.__dataclass_fields__
        }
    )


def lesson_losses(
    network: PolicyNetwork, batch: Lesson, *, pointing: bool = True
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of all losses, and figures to watch.

    The pointing loss is minus the log of the total probability of the cells inside any right box;
    the side loss is the cross-entropy on the ladder of distances from a right cell. The two reading
    losses (letters, word spotting) are dense and teach the encoder to read.
    """
    local, features = network.page(batch.pixels)
    letters, figures = _letter_loss(network, local, batch)
    spotting, found = _spotting_loss(network, features, batch)
    total = letters + 0.5 * spotting
    figures |= {"letters": letters.item(), "spotting": spotting.item()} | found
    if pointing:
        logits, state = network.locate(features, batch.grams)
        shares = logits.flatten(2).log_softmax(-1)
        mass = shares.masked_fill(~batch.right.flatten(2), -1e4).logsumexp(-1)
        count = batch.weight.sum().clamp(min=1)
        point = -(mass * batch.weight).sum() / count
        sides = network.side_logits(state, batch.cell).flatten(0, 2)
        wide = functional.cross_entropy(sides, batch.steps.flatten(), reduction="none")
        size = (wide.view(*batch.weight.shape, 4).sum(-1) * batch.weight).sum() / count
        total = total + point + 0.25 * size
        best = shares.argmax(-1, keepdim=True)
        hit = batch.right.flatten(2).gather(2, best).squeeze(2) * batch.weight
        figures |= {
            "pointing": point.item(),
            "sides": size.item(),
            "pointed": (hit.sum() / count).item(),
        }
    return total, figures


def _letter_loss(
    network: PolicyNetwork, local: Tensor, batch: Lesson
) -> tuple[Tensor, dict[str, float]]:
    logits = network.letters(local)
    pages, _, rows, columns = logits.shape
    logits = logits.view(pages, SLOTS, LETTER_CLASSES, rows * columns).transpose(2, 3)
    truth = batch.letters.flatten(2)
    printed = truth > BLANK
    # Blank cells are many and easy: one in eight is enough, at a weight that keeps them in bounds.
    kept = printed | ((truth == BLANK) & (torch.rand(truth.shape) < 0.125))
    chosen, right = logits[kept], truth[kept]
    weight = torch.where(right > BLANK, 1.0, 0.5)
    loss = functional.cross_entropy(chosen, right, reduction="none", ignore_index=IGNORED)
    with torch.no_grad():
        read = (chosen.argmax(-1) == right)[right > BLANK].float()
    return (loss * weight).sum() / weight.sum().clamp(min=1), {
        "letters_read": read.mean().item() if len(read) else 0.0
    }


def _spotting_loss(
    network: PolicyNetwork, features: Tensor, batch: Lesson
) -> tuple[Tensor, dict[str, float]]:
    cells = network.cells(features).flatten(2).transpose(1, 2)
    here = batch.word_grams.amax(-1) > 0
    pick = batch.word_cells.unsqueeze(-1).expand(-1, -1, cells.shape[-1])
    seen = cells.gather(1, pick)[here]
    if len(seen) < 2:
        return seen.sum() * 0, {}
    grams = batch.word_grams[here]
    typed = functional.normalize(network.question.words(grams), dim=-1, eps=1e-4)
    same = (grams.unsqueeze(0) == grams.unsqueeze(1)).all(-1)
    scores = network.sharpness.exp().clamp(max=60) * seen @ typed.T
    # The same word twice in the batch is right twice.
    mass = scores.masked_fill(~same, -1e4)
    loss = -(mass.logsumexp(1) - scores.logsumexp(1)).mean()
    back = -(mass.logsumexp(0) - scores.logsumexp(0)).mean()
    with torch.no_grad():
        found = same.gather(1, scores.argmax(1, keepdim=True)).float().mean()
    return (loss + back) / 2, {"spotted": found.item()}
