"""Teaching a finished policy to tell whether a page answers a question at all.

Pointing says which place of a page is the best; on any page one is. The head ``Answerable`` is
trained last, with the rest of the network held fixed, on rendered pages: with questions that they
answer, questions about fields of which no word is printed, and questions of other pages of the same
kind, as they were put there (SQuAD 2.0 made unanswerable questions harder in a like way: Rajpurkar,
Jia and Liang 2018, Know What You Don't Know, section 3).
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cropvlm_core.embedded.page_input import prepare_readable, to_grey
from cropvlm_core.embedded.question_input import fold, question_input
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import DataError
from cropvlm_core.training.network import PolicyNetwork, summits
from cropvlm_core.training.pages import render_page
from cropvlm_core.training.pages.sheet import Asked, Page
from cropvlm_core.training.questions import VALIDATION_SEED, fields_not_printed

ANSWERED, NOT_PRINTED, FROM_OTHERS = 6, 3, 3
"""The most questions of each sort about a page."""

_COMMON = frozenset(
    "a an and are at be by can do does find for from give how i in is it me much of on or "
    "please read say shown tell that the there this to was what when where which who with".split()
)
_EPOCHS, _BATCH, _RATE = 30, 256, 3e-3
_REMEMBERED = 12


@dataclass
class OtherPages:
    """Questions that pages before have answered, to be put to pages that do not."""

    kept: dict[str, deque[Asked]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_REMEMBERED))
    )

    def draw(self, page: Page, rng: random.Random, count: int) -> list[str]:
        """At most ``count`` questions, each about a field that this page is not asked about.

        Most of what tells such a question from others must be missing from the page.
        """
        fields = {asked.field for asked in page.asked}
        printed = {fold(word.text) for word in page.words}
        others = [*self.kept[page.kind], *self.kept[""]]
        rng.shuffle(others)
        found = []
        for asked in others:
            words = {fold(word) for word in asked.question.split()} - _COMMON - {""}
            if asked.field not in fields and 2 * len(words & printed) < len(words):
                found.append(asked.question)
        return found[:count]

    def keep(self, page: Page, rng: random.Random) -> None:
        """Remember some of a page's own questions."""
        for asked in rng.sample(page.asked, min(4, len(page.asked))):
            self.kept[page.kind].append(asked)
            if rng.random() < 0.3:
                self.kept[""].append(asked)


def fit_answerable(
    network: PolicyNetwork,
    settings: PolicySettings,
    *,
    pages: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Train ``network.answerable`` in place; nothing else of the network changes.

    Args:
        network: a trained policy, on the CPU.
        settings: how it sees a page.
        pages: how many pages to render; a second renders two or three on one core.
        seed: source of all chance.
        progress: called with the number of pages that are done.

    Raises:
        DataError: the pages have no questions of both sorts.
        MissingExtraError: what draws the pages is not installed.
    """
    seen, answered = _gathered(network.eval(), settings, pages, seed, progress)
    if not 0 < answered.sum() < len(answered):
        raise DataError(f"expected pages with questions of both sorts, got {pages} pages without")
    head = network.answerable.train().requires_grad_(True)
    torch.nn.init.normal_(head.sum.weight, std=0.05)
    chance = torch.Generator().manual_seed(seed)
    steps = _EPOCHS * -(-len(seen) // _BATCH)
    optimizer = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # what is left out, too
        for _ in range(_EPOCHS):
            for part in torch.randperm(len(seen), generator=chance).split(_BATCH):  # type: ignore[no-untyped-call]
                odds = head(seen[part].float())
                loss = functional.binary_cross_entropy_with_logits(odds, answered[part])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    head.eval().requires_grad_(False)


@torch.no_grad()
def _gathered(
    network: PolicyNetwork,
    settings: PolicySettings,
    pages: int,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    """What stands at the candidates (N, PEAKS, channels), and whether the page answers (N,)."""
    seen, answered = [], []
    for done, (page, texts, truth) in enumerate(_asked_pages(pages, seed), 1):
        grey = to_grey(page.image)
        prepared = prepare_readable(grey, settings.budget, settings.line, settings.most)
        _, features = network.page(torch.from_numpy(prepared.pixels)[None, None])
        grams = np.stack([question_input(text) for text in texts])[None]
        logits, state = network.locate(features, torch.from_numpy(grams))
        seen.append(network.candidates(state, summits(logits))[0].half())
        answered.append(torch.tensor(truth, dtype=torch.float32))
        progress(done)
    if not seen:
        raise DataError(f"expected pages with questions, got {pages} pages without")
    return torch.cat(seen), torch.cat(answered)


def _asked_pages(pages: int, seed: int) -> Iterator[tuple[Page, list[str], list[bool]]]:
    """Pages with questions, and which of them they answer."""
    dice, others = random.Random(seed), OtherPages()
    for _ in range(pages):
        own = dice.randrange(VALIDATION_SEED)
        page, rng = render_page(own, cut=True), random.Random(own)
        if page.kind == "lines" or not page.asked:
            continue
        texts = [asked.question for asked in rng.sample(page.asked, min(ANSWERED, len(page.asked)))]
        vain = [*fields_not_printed(page, rng, NOT_PRINTED), *others.draw(page, rng, FROM_OTHERS)]
        others.keep(page, rng)
        yield page, [*texts, *vain], [True] * len(texts) + [False] * len(vain)
