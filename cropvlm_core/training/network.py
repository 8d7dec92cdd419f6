"""The embedded policy's network: a page encoder, a question encoder, and a pointer between them.

The policy is a categorical over the cells of a grid (8 x 16 input pixels each) times, at the chosen
cell, four categoricals over sixteen log-spaced distances to the sides of the box. Its
log-probabilities are exact, so supervised training and policy gradients are both well defined.

The page encoder also carries two heads that exist only in training: which letters stand in each
cell, and an embedding of the word in each cell that must match the embedding of the same word when
it is typed (contrastive word spotting). They are what makes the pointer learn to read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropvlm_core.embedded.question_input import BUCKETS, WORDS
from cropvlm_core.embedded.side_lengths import STEPS
from cropvlm_core.training.layers import ChannelNorm, ConvBlock, SlimBlock, Surroundings

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz.,:;/-#$%&()@*'+"
BLANK, OTHER = 0, len(LETTERS) + 1
LETTER_CLASSES = len(LETTERS) + 2
SLOTS = 3
"""Letters a cell can hold: one in each third of its width."""
HEADS = 4
"""Attention heads of the question encoder."""
PEAKS = 8
"""Candidate cells for which the exported network gives box sides."""
WEIGHED = 64
"""Channels in which ``Answerable`` weighs a candidate."""


@dataclass(frozen=True)
class PolicySize:
    """Channel counts of the network. The default has about 1.6 G multiply-adds for 262k pixels.

    ``lanes`` and ``head_lanes`` are what a cell can hand on in each of the four directions,
    ``thought`` is the width of the question encoder.
    """

    stem: int = 32
    middle: int = 64
    grid: int = 128
    context: int = 160
    blocks: int = 3
    stages: int = 2
    lanes: int = 32
    word: int = 96
    thought: int = 192
    layers: int = 3
    probes: int = 16
    head: int = 32
    head_lanes: int = 8

    def to_dict(self) -> dict[str, int]:
        """Plain numbers for a checkpoint."""
        return asdict(self)


class PageEncoder(nn.Module):
    """Input pixels to grid features; 8 x 16 pixels become one cell."""

    def __init__(self, size: PolicySize) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, size.stem, 3, padding=1)
        self.halve = nn.Conv2d(size.stem, size.middle, 3, stride=2, padding=1)
        self.read = ConvBlock(size.middle)
        self.narrow = nn.Conv2d(size.middle, size.grid, 3, stride=(1, 2), padding=1)
        self.local = nn.Sequential(*(SlimBlock(size.grid) for _ in range(size.blocks)))
        self.coarse = nn.Conv2d(size.grid, size.context, 3, stride=2, padding=1)
        self.context = nn.Sequential(
            *(
                part
                for _ in range(size.stages)
                for part in (Surroundings(size.context, size.lanes), SlimBlock(size.context))
            )
        )
        self.back = nn.Conv2d(size.context, size.grid, 1)
        self.blend = SlimBlock(size.grid)
        self.norm = ChannelNorm(size.grid)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (P, 1, H, W) to local features and features with context (P, grid, H/8, W/16)."""
        local = self.read_locally(pixels)
        return local, self.with_context(local)

    def read_locally(self, pixels: Tensor) -> Tensor:
        """Pixels (P, 1, H, W) to local features (P, grid, H/8, W/16): most of the work."""
        x = functional.pixel_unshuffle(pixels, 4)
        x = functional.relu(self.stem(x))
        x = self.read(functional.relu(self.halve(x)))
        return self.local(self.narrow(functional.relu(x)))

    def with_context(self, local: Tensor) -> Tensor:
        """Local features to features that know the page around them, of the same shape."""
        far = self.back(self.context(self.coarse(local)))
        far = functional.interpolate(far, scale_factor=2.0, mode="nearest")
        return self.norm(self.blend(local + far))


class QuestionEncoder(nn.Module):
    """Hashed letter groups to word vectors, a condition vector and probe vectors."""

    def __init__(self, size: PolicySize) -> None:
        super().__init__()
        self.grams = nn.Embedding(BUCKETS, size.word, padding_idx=0)
        nn.init.normal_(self.grams.weight, std=0.3)
        self.spell = nn.Sequential(
            nn.Linear(size.word, 2 * size.word), nn.ReLU(), nn.Linear(2 * size.word, size.word)
        )
        width = size.thought
        self.place = nn.Parameter(torch.randn(WORDS, width) * 0.02)
        self.enter = nn.Linear(size.word, width)
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.think = nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)
        self.ask = nn.Linear(width, size.probes)
        self.probe = nn.Linear(width, size.word)
        self.summary = nn.Linear(width, width)

    def words(self, grams: Tensor) -> Tensor:
        """Bucket numbers (..., GRAMS) to word vectors (..., word)."""
        here = (grams > 0).unsqueeze(-1).to(self.grams.weight.dtype)
        mean = (self.grams(grams) * here).sum(-2) / here.sum(-2).clamp(min=1)
        return mean + self.spell(mean)

    def forward(self, grams: Tensor) -> tuple[Tensor, Tensor]:
        """Buckets (Q, WORDS, GRAMS) to condition (Q, thought) and probes (Q, probes, word)."""
        empty = grams.amax(-1) == 0
        raw = self.words(grams)
        seen = self.think(
            self.enter(raw) + self.place,
            src_key_padding_mask=torch.zeros_like(raw[..., 0]).masked_fill(empty, -1e4),
        )
        asked = self.ask(seen).masked_fill(empty.unsqueeze(-1), -1e4)
        share = asked.transpose(1, 2).softmax(-1)
        probes = share @ (raw + self.probe(seen))
        kept = (~empty).unsqueeze(-1).to(seen.dtype)
        return self.summary((seen * kept).sum(1) / kept.sum(1).clamp(min=1)), probes


class Answerable(nn.Module):
    """Whether a page answers a question at all, from what stands at the candidate cells.

    The policy's probabilities say which place is the best, and sum to 1 on any page. This head is
    trained last, with the rest held fixed (``answerability``); before, it says 0 of every page.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(channels, WEIGHED)
        self.left_out = nn.Dropout(0.3)
        self.sum = nn.Linear(WEIGHED, 1)
        nn.init.zeros_(self.sum.weight)
        nn.init.zeros_(self.sum.bias)
        self.requires_grad_(False)

    def forward(self, candidates: Tensor) -> Tensor:
        """Candidates (..., N, channels) to log-odds (...)."""
        best = functional.relu(self.weigh(candidates)).amax(-2)
        odds: Tensor = self.sum(self.left_out(best)).squeeze(-1)
        return odds


class PolicyNetwork(nn.Module):
    """The whole policy; see the module's text for what it outputs."""

    def __init__(self, size: PolicySize | None = None) -> None:
        super().__init__()
        size = size or PolicySize()
        self.size = size
        self.page = PageEncoder(size)
        self.question = QuestionEncoder(size)
        self.embed = nn.Conv2d(size.grid, size.word, 1)
        self.letters = nn.Conv2d(size.grid, SLOTS * LETTER_CLASSES, 1)
        self.condition = nn.Linear(size.thought, 2 * size.head)
        self.shrink = nn.Conv2d(size.grid, size.head, 1)
        self.join = nn.Conv2d(size.head + size.probes + 2, size.head, 3, padding=1)
        self.around = Surroundings(size.head, size.head_lanes)
        self.reason = ConvBlock(size.head)
        self.around_again = Surroundings(size.head, size.head_lanes)
        self.point = nn.Conv2d(size.head, 1, 3, padding=1)
        seen = 2 * size.head + size.grid + size.thought
        self.sides = nn.Sequential(
            nn.Linear(seen, 192),
            nn.ReLU(),
            nn.Linear(192, 4 * STEPS),
        )
        self.answerable = Answerable(seen)
        self.sharpness = nn.Parameter(torch.tensor(math.log(12.0)))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of another network, which may be older than ``answerable``.

        Raises:
            KeyError, RuntimeError: they are not those of a network of this size.
        """
        own = self.state_dict()
        self.load_state_dict(
            {
                name: weights[name].to(value.dtype)
                if name in weights or not name.startswith("answerable.")
                else value
                for name, value in own.items()
            }
        )

    def cells(self, features: Tensor) -> Tensor:
        """Unit word-space vectors of the cells (P, word, rows, columns)."""
        return functional.normalize(self.embed(features), dim=1, eps=1e-4)

    def forward(self, pixels: Tensor, grams: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The policy as exported: where to look, and how far the box reaches from there.

        Args:
            pixels: (P, 1, H, W) prepared pages.
            grams: (P, K, WORDS, GRAMS) int64 buckets of K questions a page.

        Returns:
            ``cells``, log-probabilities (P, K, rows, columns); ``peaks``, the flat numbers of the
            likeliest cells (P, K, PEAKS) that no near cell beats, best first; ``sides``, the
            probabilities (P, K, PEAKS, 4, STEPS) of the distances from each peak to left, top,
            right and bottom; ``answerable``, the log-odds (P, K) that the page answers.
        """
        _, features = self.page(pixels)
        logits, state = self.locate(features, grams)
        cells = logits.flatten(2).log_softmax(-1)
        peaks = summits(logits)
        seen = self.candidates(state, peaks)
        sides = self.sides(seen).unflatten(-1, (4, STEPS)).softmax(-1)
        return cells.view_as(logits), peaks, sides, self.answerable(seen)

    def locate(self, features: Tensor, grams: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Cell logits (P, K, rows, columns) and the state from which box sides are read."""
        pages, count = grams.shape[:2]
        condition, probes = self.question(grams.flatten(0, 1))
        cells = self.cells(features)
        rows, columns = cells.shape[2:]
        probes = functional.normalize(probes, dim=-1, eps=1e-4).view(pages, -1, probes.shape[-1])
        similar = (probes @ cells.flatten(2)).view(pages * count, -1, rows, columns)
        scale, shift = self.condition(condition).view(pages, count, -1, 1, 1).chunk(2, 2)
        slim = (self.shrink(features).unsqueeze(1) * (1 + scale) + shift).flatten(0, 1)
        down = torch.linspace(-1, 1, rows, device=cells.device).view(1, 1, rows, 1)
        across = torch.linspace(-1, 1, columns, device=cells.device).view(1, 1, 1, columns)
        where = [
            place.expand(slim.shape[0], 1, rows, columns).to(slim.dtype) for place in (down, across)
        ]
        x = torch.cat([slim, similar.to(slim.dtype) * 3, *where], 1)
        x = functional.relu(self.join(x))
        x = self.around_again(self.reason(self.around(x)))
        logits = self.point(functional.relu(x)).view(pages, count, rows, columns)
        return logits, (slim, x, features, condition)

    def side_logits(self, state: tuple[Tensor, ...], cell: Tensor) -> Tensor:
        """Logits (P, K, 4, STEPS) of the distances from cells (P, K) to the box's sides."""
        seen = self.candidates(state, cell.unsqueeze(-1)).squeeze(2)
        return self.sides(seen).unflatten(-1, (4, STEPS))

    def candidates(self, state: tuple[Tensor, ...], cells: Tensor) -> Tensor:
        """What stands at N cells of each question (P, K, N): (P, K, N, channels)."""
        slim, x, features, condition = state
        pages, count, most = cells.shape
        own = cells.view(-1, 1, most)
        found = [
            plane.flatten(2).gather(2, own.expand(-1, plane.shape[1], -1)).transpose(1, 2)
            for plane in (slim, x)
        ]
        shared = cells.view(pages, 1, -1).expand(-1, features.shape[1], -1)
        there = features.flatten(2).gather(2, shared).transpose(1, 2)
        found.append(there.reshape(-1, most, features.shape[1]))
        found.append(condition.unsqueeze(1).expand(-1, most, -1))
        return torch.cat(found, 2).view(pages, count, most, -1)


def summits(logits: Tensor) -> Tensor:
    """The flat numbers (P, K, PEAKS) of the likeliest cells that no near cell beats, best first."""
    highest = functional.max_pool2d(logits, (5, 5), stride=1, padding=2).flatten(2)
    flat = logits.flatten(2)
    beaten = (flat < highest).to(flat.dtype)
    return (flat - 1e4 * beaten).topk(PEAKS, dim=-1).indices
