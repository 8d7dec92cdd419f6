"""What the supervised policy is trained to minimise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cropvlm_core.training.network import BLANK, LETTER_CLASSES, PolicyNetwork
from cropvlm_core.training.supervision import IGNORED, Lesson

_BLANK_WEIGHT = 0.06
_CONTRASTED = 6_144
"""The most words that are told apart at a time: memory grows with the square."""


def stack(lessons: list[Lesson]) -> Lesson:
    """Lessons of one input shape as one batch (a leading axis P on every array)."""
    return Lesson(
        **{
            name: torch.stack([getattr(one, name) for one in lessons])
            for name in Lesson.__dataclass_fields__
        }
    )


def lesson_losses(
    network: PolicyNetwork,
    batch: Lesson,
    *,
    pointing: bool = True,
    encoded: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of all losses, and figures to watch (tensors: reading one waits for a GPU).

    The pointing loss is minus the log of the total probability of the cells inside any right box;
    the side loss is the cross-entropy on the ladder of distances from a right cell. The two reading
    losses (letters, word spotting) are dense and teach the encoder to read. ``encoded``: what the
    page encoder makes of the pages, where that is known.
    """
    local, features = network.page(batch.pixels) if encoded is None else encoded
    letters, figures = _letter_loss(network, local, batch)
    spotting, found = _spotting_loss(network, features, batch)
    total = letters + 0.5 * spotting
    figures |= {"letters": letters.detach(), "spotting": spotting.detach()} | found
    if pointing:
        logits, state = network.locate(features, batch.grams)
        shares = logits.float().flatten(2).log_softmax(-1)
        mass = shares.masked_fill(~batch.right.flatten(2), -1e4).logsumexp(-1)
        count = batch.weight.sum().clamp(min=1)
        point = -(mass * batch.weight).sum() / count
        sides = network.side_logits(state, batch.cell).float().flatten(0, 2)
        wide = functional.cross_entropy(sides, batch.steps.flatten(), reduction="none")
        size = (wide.view(*batch.weight.shape, 4).sum(-1) * batch.weight).sum() / count
        total = total + point + 0.25 * size
        best = shares.detach().argmax(-1, keepdim=True)
        hit = batch.right.flatten(2).gather(2, best).squeeze(2) * batch.weight
        figures |= {"pointing": point.detach(), "sides": size.detach()}
        figures["pointed"] = hit.sum() / count
    return total, figures


def _letter_loss(
    network: PolicyNetwork, local: Tensor, batch: Lesson
) -> tuple[Tensor, dict[str, Tensor]]:
    logits = network.letters(local).permute(0, 2, 3, 1).reshape(-1, LETTER_CLASSES).float()
    truth = batch.letters.permute(0, 2, 3, 1).reshape(-1)
    loss = functional.cross_entropy(logits, truth, reduction="none", ignore_index=IGNORED)
    # Blank cells are many and easy: a small weight is enough to keep them in bounds.
    printed = truth > BLANK
    weight = printed + _BLANK_WEIGHT * (truth == BLANK)
    with torch.no_grad():
        read = ((logits.argmax(1) == truth) & printed).sum() / printed.sum().clamp(min=1)
    return (loss * weight).sum() / weight.sum().clamp(min=1), {"letters_read": read}


def _spotting_loss(
    network: PolicyNetwork, features: Tensor, batch: Lesson
) -> tuple[Tensor, dict[str, Tensor]]:
    cells = network.cells(features).flatten(2).transpose(1, 2)
    pick = batch.word_cells.unsqueeze(-1).expand(-1, -1, cells.shape[-1])
    seen = cells.gather(1, pick)
    typed = functional.normalize(network.question.words(batch.word_grams), dim=-1, eps=1e-4)
    pages = max(1, _CONTRASTED // batch.word_grams.shape[1])
    parts = []
    for start in range(0, len(seen), pages):
        shown, read, grams = (
            part[start : start + pages].flatten(0, 1) for part in (seen, typed, batch.word_grams)
        )
        parts.append(_contrast(shown, read, grams, network.sharpness))
    loss, found, count = (torch.stack(part).sum() for part in zip(*parts, strict=True))
    count = count.clamp(min=1)
    return loss / (2 * count), {"spotted": found / count}


def _contrast(
    seen: Tensor, typed: Tensor, grams: Tensor, sharpness: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Each word among all, seen to typed and back: loss, how many are found, how many there are."""
    here = grams.amax(-1) > 0
    # Two words are the same when this number is: a sum over their letter groups, no two alike.
    place = torch.arange(1, grams.shape[-1] + 1, device=grams.device)
    number = (grams.double() * (place * 0.6180339887).frac().double().add(1).log()).sum(-1)
    same = number.unsqueeze(0) == number.unsqueeze(1)
    scores = sharpness.exp().clamp(max=60) * (seen @ typed.T).float()
    scores = scores.masked_fill(~(here.unsqueeze(0) & here.unsqueeze(1)), -1e4)
    # The same word twice in the batch is right twice.
    mass = scores.masked_fill(~same, -1e4)
    loss = (scores.logsumexp(1) - mass.logsumexp(1)) * here
    back = (scores.logsumexp(0) - mass.logsumexp(0)) * here
    with torch.no_grad():
        found = same.gather(1, scores.argmax(1, keepdim=True)).squeeze(1) & here
    return loss.sum() + back.sum(), found.sum(), here.sum()
