"""Decoding under a BoxGrammar with ``generate()`` of transformers.

::

    table = TokenTable(tokenizer)                                 # once a tokenizer
    tracker = BoxTracker(table, BoxGrammar(notation), prompt_length)   # once a call of generate()
    model.generate(
        **inputs,
        logits_processor=[BoxLogitsProcessor(tracker, eos_token_ids)],
        stopping_criteria=[BoxStoppingCriteria(tracker)],         # leave out to have EOS written
    )

transformers runs temperature, top-k and top-p after these processors, so they act on legal tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from cropvlm_core.errors import ModelError, shorten
from cropvlm_core.grammar import ALPHABET, BoxGrammar, BoxState

_SPACES = "Ġ▁"  # how byte-level and sentencepiece vocabularies write a space
_STATES, _TOKEN_SETS = 65_536, 8_192  # memoised at most; a paper box has a million states


@dataclass(eq=False, slots=True)
class _Node:
    """The tokens that spell the way here, and the characters that lead on."""

    ids: list[int] = field(default_factory=list)
    following: dict[str, "_Node"] = field(default_factory=dict)


class _TokenSet:
    """Token ids, and the same on each device they were asked for."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids
        self._tensors: dict[torch.device, torch.Tensor] = {}

    def on(self, device: torch.device) -> torch.Tensor:
        if device not in self._tensors:
            self._tensors[device] = torch.tensor(self.ids, dtype=torch.long, device=device)
        return self._tensors[device]


class TokenTable:
    """Which tokens of a vocabulary can be part of a box text, and which may come when.

    Special tokens (EOS, padding, image placeholders) never can. Build it once a tokenizer: the
    vocabulary is read at the first use and kept, and so is what each state allows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Speak for ``tokenizer``, whose vocabulary must not grow from now on."""
        self._tokenizer = tokenizer
        self._search = lru_cache(_STATES)(self._search_tree)
        self._kept = lru_cache(_TOKEN_SETS)(_TokenSet)

    def text(self, token: int) -> str | None:
        """Return what ``token`` writes in the middle of a text; None: nothing a box can hold."""
        return self._texts.get(token)

    def allowed(self, grammar: BoxGrammar, state: BoxState) -> tuple[int, ...]:
        """Return the ids of the tokens that may follow ``state``, ascending, EOS apart.

        Raises:
            ModelError: there are none, and the box is not complete.
        """
        return self._search(grammar, state).ids

    def allowed_on(
        self, grammar: BoxGrammar, state: BoxState, device: torch.device
    ) -> torch.Tensor:
        """Return :meth:`allowed` as int64 of shape ``(n,)`` on ``device``."""
        return self._search(grammar, state).on(device)

    @cached_property
    def _texts(self) -> dict[int, str]:
        tokenizer = self._tokenizer
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        special.update(tokenizer.all_special_ids)
        # Nothing remains of a token whose every character is one of these.
        candidates = {
            i: token
            for token, i in tokenizer.get_vocab().items()
            if i not in special and not token.strip(ALPHABET + _SPACES)
        }
        if not candidates:  # older versions decode an empty batch as one empty text
            return {}
        alone = dict(zip(candidates, self._decode([[i] for i in candidates]), strict=True))
        # Decoders drop the space of a first token; so each one is read behind another.
        anchor = next((i for i, token in candidates.items() if alone[i] == token), None)
        if anchor is None:
            return {}
        before = alone[anchor]
        behind = self._decode([[anchor, i] for i in candidates])
        texts = {
            i: text.removeprefix(before)
            for i, text in zip(candidates, behind, strict=True)
            if text.startswith(before)
        }
        return {i: text for i, text in texts.items() if text and not text.strip(ALPHABET)}

    def _decode(self, ids: list[list[int]]) -> list[str]:
        return self._tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)

    @cached_property
    def _tree(self) -> _Node:
        root = _Node()
        for token, text in self._texts.items():
            node = root
            for character in text:
                node = node.following.setdefault(character, _Node())
            node.ids.append(token)
        return root

    def _search_tree(self, grammar: BoxGrammar, state: BoxState) -> _TokenSet:
        found: list[int] = []
        ahead = [(self._tree, state)]
        while ahead:
            node, reached = ahead.pop()
            found += node.ids
            for character, following in node.following.items():
                after = grammar.advance(reached, character)
                if after is not None:
                    ahead.append((following, after))
        if not found and not grammar.is_complete(state):
            raise ModelError(
                f"expected a tokenizer that can write {grammar.notation.name} boxes, got one "
                f"without a token for any of {grammar.next_characters(state)!r} after "
                f"{shorten(state)}"
            )
        return self._kept(tuple(sorted(found)))


class BoxTracker:
    """How far each row of a batch has got; processor and criteria of one ``generate()`` share it.

    Follows only the new tokens of a row; a row that does not go on from what was seen, as in
    another call of ``generate()``, is followed anew. Greedy decoding and sampling only: a beam
    search also keeps rows of probability 0, which leave the grammar.
    """

    def __init__(
        self, table: TokenTable, grammar: BoxGrammar | Sequence[BoxGrammar], prompt_length: int
    ) -> None:
        """Follow the ids after the first ``prompt_length`` of each row.

        Args:
            table: of the tokenizer.
            grammar: of every row, or one a conversation, as pixels of inputs of different size
                need; each then stands for equally many neighbouring rows (its samples).
            prompt_length: tokens of the prompt, its padding included; 0 with ``inputs_embeds``.
        """
        self.table = table
        self.prompt_length = prompt_length
        self._grammars = (grammar,) if isinstance(grammar, BoxGrammar) else tuple(grammar)
        self._rows: list[tuple[list[int], BoxState | None]] = []

    def follow(self, input_ids: torch.Tensor) -> list[tuple[BoxGrammar, BoxState | None]]:
        """Return each row's grammar and state; None: something came after a complete box.

        Args:
            input_ids: int64 ``(rows, prompt_length + generated)``.

        Raises:
            ModelError: a row left the grammar before its box was complete, or the rows are not a
                multiple of the grammars.
        """
        generated: list[list[int]] = input_ids[:, self.prompt_length :].tolist()
        grammars = self._grammars_of(len(generated))
        if len(self._rows) != len(generated):
            self._rows = [([], grammar.start) for grammar in grammars]
        for row, (ids, grammar) in enumerate(zip(generated, grammars, strict=True)):
            known, state = self._rows[row]
            if ids[: len(known)] != known:
                known, state = [], grammar.start
            for token in ids[len(known) :]:
                state = self._after(grammar, state, token)
            self._rows[row] = (ids, state)
        return [(grammar, row[1]) for grammar, row in zip(grammars, self._rows, strict=True)]

    def completed(self, input_ids: torch.Tensor) -> list[bool]:
        """Return for each row whether its box is closed."""
        return [
            state is None or grammar.is_complete(state) for grammar, state in self.follow(input_ids)
        ]

    def lengths(self, generated: torch.Tensor) -> list[int | None]:
        """Return how many tokens each row took to close its box; None: it did not.

        Args:
            generated: int64 ``(rows, generated)``, without the prompt.
        """
        grammars = self._grammars_of(len(generated))
        rows = zip(grammars, generated.tolist(), strict=True)
        return [self._length(grammar, ids) for grammar, ids in rows]

    def _length(self, grammar: BoxGrammar, ids: list[int]) -> int | None:
        state: BoxState | None = grammar.start
        for length, token in enumerate(ids, 1):
            state = self._after(grammar, state, token)
            if state is None or grammar.is_complete(state):
                return length
        return None

    def _grammars_of(self, rows: int) -> list[BoxGrammar]:
        if rows % len(self._grammars):
            raise ModelError(
                f"expected rows for each of {len(self._grammars)} grammars, got {rows} rows"
            )
        each = rows // len(self._grammars)
        return [grammar for grammar in self._grammars for _ in range(each)]

    def _after(self, grammar: BoxGrammar, state: BoxState | None, token: int) -> BoxState | None:
        if state is None:
            return None
        text = self.table.text(token)
        after = None if text is None else grammar.advance(state, text)
        if after is None and not grammar.is_complete(state):
            raise ModelError(
                f"expected a token of the box grammar after {shorten(state)}, got token {token}, "
                f"{shorten(text)}; what else changes the scores of this generate()?"
            )
        return after


class BoxLogitsProcessor(LogitsProcessor):
    """Forbids every token that does not continue a legal box text.

    When the box is complete EOS is allowed too, and in the end nothing but EOS.
    """

    def __init__(self, tracker: BoxTracker, eos_token_ids: int | Sequence[int]) -> None:
        """Share ``tracker``; any of ``eos_token_ids`` ends a text.

        Raises:
            ModelError: there is no EOS token.
        """
        ids = (eos_token_ids,) if isinstance(eos_token_ids, int) else tuple(eos_token_ids)
        if not ids:
            raise ModelError("expected at least one EOS token id, got none")
        self._tracker = tracker
        self._eos = _TokenSet(ids)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return ``scores``, ``(rows, vocabulary)``, with -inf for every token not allowed."""
        sets, rows = [], []
        for row, (grammar, state) in enumerate(self._tracker.follow(input_ids)):
            if state is None or grammar.is_complete(state):
                sets.append(self._eos.on(scores.device))
                rows += [row] * len(self._eos.ids)
            if state is not None:
                sets.append(self._tracker.table.allowed_on(grammar, state, scores.device))
                rows += [row] * len(sets[-1])
        places = (torch.tensor(rows, device=scores.device), torch.cat(sets))
        masked = torch.full_like(scores, -torch.inf)
        masked[places] = scores[places]
        return masked


class BoxStoppingCriteria(StoppingCriteria):
    """A row is done as soon as its box is closed; neither its ending nor EOS is waited for."""

    def __init__(self, tracker: BoxTracker) -> None:
        """Share the ``tracker`` of the logits processor."""
        self._tracker = tracker

    def __call__(  # what transformers calls; the scores say nothing here
        self,
        input_ids: torch.Tensor,
        scores: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> torch.Tensor:
        """Return bool ``(rows,)``: which rows are done."""
        return torch.tensor(self._tracker.completed(input_ids), device=input_ids.device)


def box_log_probabilities(
    scores: Sequence[torch.Tensor], generated: torch.Tensor, tracker: BoxTracker
) -> torch.Tensor:
    """Return the natural log-probability of each row's box under the constrained distribution.

    Counts the tokens up to and including the one that closed the box; what follows is left out.
    It is the probability of these tokens, not of the text, which other tokens may spell too.

    Args:
        scores: one ``(rows, vocabulary)`` a step, as the processors left them (``output_scores``);
            they are normalised here. Temperature, top-k and top-p are in them if they were on.
        generated: the chosen ids, int64 ``(rows, steps)``, without the prompt.
        tracker: of this ``generate()``.

    Returns:
        float32 ``(rows,)``; -inf for a row whose box was never closed.

    Raises:
        ModelError: a row left the grammar.
        ValueError: there are not as many scores as steps.
    """
    chosen = [
        torch.log_softmax(step.float(), dim=-1).gather(1, ids[:, None]).squeeze(1)
        for step, ids in zip(scores, generated.unbind(1), strict=True)
    ]
    lengths = tracker.lengths(generated)
    totals = torch.stack(chosen, dim=1)
    steps = torch.arange(totals.shape[1], device=totals.device)
    counted = (
        steps < torch.tensor([length or 0 for length in lengths], device=totals.device)[:, None]
    )
    unclosed = torch.tensor([length is None for length in lengths], device=totals.device)
    return totals.where(counted, 0.0).sum(1).masked_fill(unclosed, -torch.inf)
