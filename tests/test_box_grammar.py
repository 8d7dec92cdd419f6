"""The grammar of box texts, and generate() that decodes under it with real tokenizers."""

import itertools
import random
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropvlm_core.box import NO_ZOOM_NEEDED, Box, BoxNotation
from cropvlm_core.errors import BoxError, ModelError
from cropvlm_core.grammar import ALPHABET, BoxGrammar, BoxState
from tests.programs import require_package

torch = require_package("torch")
require_package("transformers")

import tokenizers  # noqa: E402
from tokenizers import decoders, models, pre_tokenizers, trainers  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import (  # noqa: E402
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from cropvlm_core.transformers_vlm.decoding import (  # noqa: E402
    BoxLogitsProcessor,
    BoxStoppingCriteria,
    BoxTracker,
    TokenTable,
    box_log_probabilities,
)

PERCENT = BoxNotation.percent
NOTATIONS = [
    PERCENT,
    BoxNotation.per_mille,
    BoxNotation.per_mille_yx,
    BoxNotation.loc_tokens,
    BoxNotation.pixels(640, 480),
    BoxNotation.pixels(1, 7),
]
PROMPTS = ["Which box? Assistant:", "Where is the total of the receipt? Assistant:", "Assistant:"]
HARD = ["10", ", 1", "].", "], [", "]. [", "1, "]  # tokens across the parts of a box
MERGED, DIGITS, UNIGRAM = "merged", "digits", "unigram"


def grammars() -> st.SearchStrategy[BoxGrammar]:
    return st.builds(BoxGrammar, st.sampled_from(NOTATIONS), no_zoom=st.booleans())


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    def side() -> tuple[float, float]:
        low = draw(st.floats(0, 1 - 1e-6))
        return low, draw(st.floats(low + 5e-7, 1))

    (left, right), (top, bottom) = side(), side()
    return Box(left, top, right, bottom)


def assert_legal(notation: BoxNotation, text: str) -> None:
    reading = notation.read(text)
    if text.strip() == NO_ZOOM_NEEDED:
        assert reading.reason == "no_zoom_needed"
        return
    assert reading.box is not None, text
    assert not reading.repaired
    written = notation.write(reading.box)
    assert text.strip() in (written, written.removesuffix(notation.ending))


# --- the automaton


@settings(max_examples=300)
@given(grammars(), st.randoms(use_true_random=False))
def test_whatever_the_grammar_lets_through_is_read_as_it_stands(
    grammar: BoxGrammar, dice: random.Random
) -> None:
    state, text = grammar.start, ""
    while not grammar.is_final(state):
        following = grammar.next_characters(state)
        assert following, f"a dead end after {text!r}"
        text += dice.choice(following)
        reached = grammar.advance(grammar.start, text)
        assert reached is not None
        assert reached == grammar.advance(state, text[-1])
        state = reached
        if grammar.is_complete(state):
            assert_legal(grammar.notation, text)
    assert grammar.next_characters(state) == ""


@settings(max_examples=300)
@given(grammars(), boxes(), st.sampled_from(["", " "]))
def test_whatever_is_written_is_let_through(grammar: BoxGrammar, box: Box, space: str) -> None:
    text = space + grammar.notation.write(box)
    state = grammar.advance(grammar.start, text)
    assert state is not None
    assert grammar.is_complete(state)
    assert grammar.is_final(state)
    closing = len(text) - len(grammar.notation.ending)
    for length in range(closing):
        before = grammar.advance(grammar.start, text[:length])
        assert before is not None
        assert not grammar.is_complete(before)


def every_text(grammar: BoxGrammar, state: BoxState, text: str = "") -> Iterator[str]:
    if grammar.is_final(state):
        yield text
    for character in grammar.next_characters(state):
        reached = grammar.advance(state, character)
        assert reached is not None
        yield from every_text(grammar, reached, text + character)


@pytest.mark.parametrize("y_first", [False, True])
def test_the_texts_of_a_small_page_are_exactly_those_of_its_boxes(y_first: bool) -> None:
    width, height = 12, 3
    notation = BoxNotation("small", (width, height), y_first=y_first, ending=".")
    sides = itertools.product(
        itertools.combinations(range(width + 1), 2), itertools.combinations(range(height + 1), 2)
    )
    written = {
        notation.write(Box.from_pixels((left, top, right, bottom), (width, height)))
        for (left, right), (top, bottom) in sides
    }
    expected = written | {" " + text for text in written}
    grammar = BoxGrammar(notation)
    assert sorted(every_text(grammar, grammar.start)) == sorted(expected)
    refusing = BoxGrammar(notation, no_zoom=True)
    expected |= {NO_ZOOM_NEEDED, " " + NO_ZOOM_NEEDED}
    assert sorted(every_text(refusing, refusing.start)) == sorted(expected)


@pytest.mark.parametrize(
    ("notation", "text", "following"),
    [
        (PERCENT, "", " ["),
        (PERCENT, " ", "["),
        (PERCENT, "[", "0123456789"),
        (PERCENT, "[0", ","),
        (PERCENT, "[9", ",0123456789"),
        (PERCENT, "[99", ","),
        (PERCENT, "[1, 0, ", "123456789"),
        (PERCENT, "[1, 0, 1", "0123456789"),
        (PERCENT, "[99, 0, ", "1"),
        (PERCENT, "[99, 0, 10", "0"),
        (PERCENT, "[50, 0, 5", "123456789"),
        (PERCENT, "[12, 30, 45, 60", "]"),
        (PERCENT, "[12, 30, 45, 60]", "."),
        (PERCENT, "[12, 30, 45, 60].", ""),
        (BoxNotation.per_mille, "[0, 0, 1, 1]", ""),
        (BoxNotation.per_mille, "[999, 0, 1", "0"),
        (BoxNotation.per_mille_yx, "[999, 0, 1", "0"),
        (BoxNotation.pixels(640, 480), "[639, 47", ",0123456789"),
        (BoxNotation.pixels(640, 480), "[639, 479, ", "6"),
        (BoxNotation.loc_tokens, "", " <"),
        (BoxNotation.loc_tokens, "<loc", "01"),
        (BoxNotation.loc_tokens, "<loc1", "0"),
        (BoxNotation.loc_tokens, "<loc102", "012"),
        (BoxNotation.loc_tokens, "<loc1022", ">"),
        (BoxNotation.loc_tokens, "<loc0307><loc0123><loc0", "3456789"),
        (BoxNotation.loc_tokens, "<loc0307><loc0123><loc0614><loc0460>", ""),
    ],
)
def test_what_may_follow(notation: BoxNotation, text: str, following: str) -> None:
    grammar = BoxGrammar(notation)
    state = grammar.advance(grammar.start, text)
    assert state is not None
    assert grammar.next_characters(state) == following


@pytest.mark.parametrize(
    "text",
    ["  [", "[01", "[100", "[-1", "[1,2", "[1 ,", "[5, 0, 5,", "[50, 0, 4", "[1, 2, 3, 4]..", "x"],
)
def test_what_no_box_begins_with(text: str) -> None:
    grammar = BoxGrammar(PERCENT)
    assert grammar.advance(grammar.start, text) is None


def test_the_refusal_is_complete_with_its_full_stop_and_only_where_it_is_allowed() -> None:
    grammar = BoxGrammar(PERCENT, no_zoom=True)
    almost = grammar.advance(grammar.start, " No zoom needed")
    assert almost is not None
    assert not grammar.is_complete(almost)
    whole = grammar.advance(almost, ".")
    assert whole is not None
    assert grammar.is_complete(whole)
    assert grammar.is_final(whole)
    assert BoxGrammar(PERCENT).advance(grammar.start, "N") is None


def test_states_that_differ_in_nothing_to_come_are_one() -> None:
    grammar = BoxGrammar(PERCENT)
    ends = {grammar.advance(grammar.start, f"[{left}, 30, 45, 6") for left in (1, 2, 33)}
    assert len(ends) == 1
    assert len({grammar, BoxGrammar(PERCENT), BoxGrammar(PERCENT, no_zoom=True)}) == 2


def test_pixels_need_a_size() -> None:
    with pytest.raises(BoxError, match="expected size="):
        BoxGrammar(BoxNotation.pixels())
    with pytest.raises(BoxError, match="at least 1 x 1"):
        BoxGrammar(BoxNotation.pixels(), size=(0, 5))
    sized = BoxGrammar(BoxNotation.pixels(), size=(640, 480))
    assert sized.advance(sized.start, "[639, 479, 640, 480]") is not None
    assert sized.advance(sized.start, "[640") is None


# --- tokens


def corpus() -> list[str]:
    dice = random.Random(7)
    lines = []
    for _ in range(400):
        left, top = dice.randrange(99), dice.randrange(99)
        right, bottom = dice.randint(left + 1, 100), dice.randint(top + 1, 100)
        lines.append(f"[{left}, {top}, {right}, {bottom}]. [{left}, {top}, {right}, {bottom}], [")
    return [*lines, *[NO_ZOOM_NEEDED, *PROMPTS] * 40, *HARD * 4000]


def fast(made: tokenizers.Tokenizer, **options: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=made, **options)


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    special = ["<pad>", "<eos>", "<image>", "<end>"]
    if kind == UNIGRAM:
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        made.train_from_iterator(
            corpus(),
            trainers.UnigramTrainer(
                vocab_size=300,
                special_tokens=[*special, "<unk>"],
                unk_token="<unk>",
                initial_alphabet=list(ALPHABET),
                show_progress=False,
            ),
        )
        made.add_tokens([f"<loc{number:04d}>" for number in range(1024)])
    else:
        made = tokenizers.Tokenizer(models.BPE())
        # Without GPT-2's splitting into words merges run across spaces, brackets and commas.
        spelled = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == DIGITS)
        made.pre_tokenizer = (
            pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), spelled])
            if kind == DIGITS
            else spelled
        )
        made.decoder = decoders.ByteLevel()
        made.train_from_iterator(
            corpus(),
            trainers.BpeTrainer(
                vocab_size=600,
                special_tokens=special,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
    return fast(
        made,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<image>", "<end>"],
        padding_side="left",
    )


@cache
def table(kind: str) -> TokenTable:
    return TokenTable(tokenizer(kind))


def decode(kind: str, ids: list[int]) -> str:
    return str(tokenizer(kind).decode(ids))


def ids_of(kind: str, text: str) -> list[int]:
    """The tokens of ``text``, one a character."""
    spelled = {table(kind).text(token): token for token in tokenizer(kind).get_vocab().values()}
    return [spelled[character] for character in text]


def test_the_merged_tokenizer_has_the_tokens_that_are_hard() -> None:
    texts = {table(MERGED).text(token) for token in range(len(tokenizer(MERGED)))}
    assert texts.issuperset(HARD)
    texts = {table(DIGITS).text(token) for token in range(len(tokenizer(DIGITS)))}
    assert {"1", "2", "].", " ["} <= texts
    assert not any(text and len(text) > 1 and text.isdigit() for text in texts)
    texts = {table(UNIGRAM).text(token) for token in range(len(tokenizer(UNIGRAM)))}
    assert {" ", "[", "7", "<loc0000>", "<loc1023>"} <= texts
    assert any(text and text.startswith(" ") and len(text) > 1 for text in texts)


@pytest.mark.parametrize("kind", [MERGED, DIGITS, UNIGRAM])
def test_special_tokens_write_nothing(kind: str) -> None:
    assert not "<end>".strip(ALPHABET)  # its characters alone would pass
    for name in ("<pad>", "<eos>", "<image>", "<end>"):
        assert table(kind).text(tokenizer(kind).get_vocab()[name]) is None


def test_sentencepiece_with_byte_fallback_decodes_to_its_true_text() -> None:
    names = ["<unk>", "</s>", "<0x5B>", "▁", "[", "]", ",", ".", "Ġ", "▁[", "▁1", *"0123456789"]
    made = tokenizers.Tokenizer(
        models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True)
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    found = TokenTable(fast(made, eos_token="</s>", unk_token="<unk>"))
    texts = {name: found.text(i) for i, name in enumerate(names)}
    assert texts["▁"] == " "
    assert texts["▁["] == " ["
    assert texts["▁1"] == " 1"
    assert texts["7"] == "7"
    assert texts["Ġ"] is texts["</s>"] is texts["<unk>"] is None
    grammar = BoxGrammar(PERCENT)
    starts = found.allowed(grammar, grammar.start)
    assert {names[token] for token in starts} == {"▁", "[", "▁["}


@pytest.mark.parametrize("kind", [MERGED, DIGITS, UNIGRAM])
def test_allowed_is_what_decodes_to_a_legal_text(kind: str) -> None:
    made, dice = tokenizer(kind), random.Random(3)
    special = set(made.all_special_ids)
    notations = [PERCENT, BoxNotation.loc_tokens] if kind == UNIGRAM else [PERCENT]
    for notation in notations:
        grammar = BoxGrammar(notation, no_zoom=True)
        state = grammar.advance(grammar.start, "<" if notation.tokens else "[")
        assert state is not None
        ids = ids_of(kind, "<" if notation.tokens else "[")
        while not grammar.is_final(state):
            decoded = made.batch_decode([[*ids, token] for token in range(len(made))])
            expected = tuple(
                token
                for token, text in enumerate(decoded)
                if token not in special and grammar.advance(grammar.start, text) is not None
            )
            assert table(kind).allowed(grammar, state) == expected
            ids.append(dice.choice(expected))
            reached = grammar.advance(grammar.start, decode(kind, ids))
            assert reached is not None
            state = reached


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([MERGED, DIGITS, UNIGRAM]), grammars(), st.randoms(use_true_random=False))
def test_a_walk_over_tokens_is_read_as_it_stands(
    kind: str, grammar: BoxGrammar, dice: random.Random
) -> None:
    state = grammar.start
    ids: list[int] = []
    while not grammar.is_final(state):
        token = dice.choice(table(kind).allowed(grammar, state))
        text = table(kind).text(token)
        assert text is not None
        reached = grammar.advance(state, text)
        assert reached is not None
        state, ids = reached, [*ids, token]
        if grammar.is_complete(state):
            assert_legal(grammar.notation, decode(kind, ids))


def test_a_tokenizer_that_cannot_write_the_box_is_named() -> None:
    vocabulary = {name: i for i, name in enumerate(["<eos>", "[", *"0123456789", ",", " "])}
    made = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    made.decoder = decoders.Fuse()
    found = TokenTable(fast(made, eos_token="<eos>"))
    grammar = BoxGrammar(PERCENT)
    state = grammar.advance(grammar.start, "[1, 2, 3, 10")
    assert state is not None
    assert [found.text(token) for token in found.allowed(grammar, state)] == ["0"]
    state = grammar.advance(state, "0")
    assert state is not None
    with pytest.raises(ModelError, match=r"can write percent boxes.*any of '\]'"):
        found.allowed(grammar, state)
    locs = BoxGrammar(BoxNotation.loc_tokens)
    with pytest.raises(ModelError, match="can write loc_tokens boxes"):
        found.allowed(locs, BoxState(0, " ", ()))
    wordless = tokenizers.Tokenizer(models.BPE({"<eos>": 0, "x": 1}, []))
    with pytest.raises(ModelError, match=r"any of ' \['"):
        TokenTable(fast(wordless, eos_token="<eos>")).allowed(grammar, grammar.start)


# --- generate()


@cache
def language_model(kind: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    made = tokenizer(kind)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(made) + 5,  # models pad their vocabulary
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=256,
            initializer_range=0.5,
            pad_token_id=made.pad_token_id,
            eos_token_id=made.eos_token_id,
            bos_token_id=None,
        )
    )
    model.train(False)
    return model


class Generated:
    """A call of generate() under ``grammar``, one row a prompt and sample."""

    def __init__(
        self,
        kind: str,
        grammar: BoxGrammar | list[BoxGrammar],
        *,
        stop: bool = True,
        **options: object,
    ) -> None:
        made = tokenizer(kind)
        inputs = made(PROMPTS, return_tensors="pt", padding=True)
        length = inputs["input_ids"].shape[1]
        self.inputs = inputs
        self.tracker = BoxTracker(table(kind), grammar, length)
        output = language_model(kind).generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_processor=[BoxLogitsProcessor(self.tracker, made.eos_token_id)],
            stopping_criteria=[BoxStoppingCriteria(self.tracker)] if stop else None,
            return_dict_in_generate=True,
            output_scores=True,
            **{"max_new_tokens": 64, **options},
        )
        self.sequences = output.sequences
        self.scores = output.scores
        self.ids = output.sequences[:, length:]
        self.texts = made.batch_decode(self.ids, skip_special_tokens=True)


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize(
    ("kind", "notation"),
    [
        (MERGED, PERCENT),
        (MERGED, BoxNotation.loc_tokens),
        (DIGITS, PERCENT),
        (DIGITS, BoxNotation.per_mille_yx),
        (UNIGRAM, BoxNotation.loc_tokens),
        (UNIGRAM, PERCENT),
    ],
)
def test_every_generated_row_is_a_box(
    kind: str, notation: BoxNotation, stop: bool, do_sample: bool
) -> None:
    torch.manual_seed(1)
    for no_zoom in (False, True):
        grammar = BoxGrammar(notation, no_zoom=no_zoom)
        got = Generated(kind, grammar, stop=stop, do_sample=do_sample)
        assert len(got.texts) == 3
        for text in got.texts:
            assert_legal(notation, text)
            assert no_zoom or text.strip() != NO_ZOOM_NEEDED
        lengths = [length or 0 for length in got.tracker.lengths(got.ids)]
        eos, pad = tokenizer(kind).eos_token_id, tokenizer(kind).pad_token_id
        for ids, length in zip(got.ids.tolist(), lengths, strict=True):
            assert length
            rest = ids[length:]
            if stop:
                assert set(rest) <= {pad}
            else:
                assert rest.count(eos) == 1
                assert set(rest[rest.index(eos) + 1 :]) <= {pad}
        if stop:
            assert got.ids.shape[1] == max(lengths)


def test_sampling_reaches_the_refusal_and_many_boxes() -> None:
    torch.manual_seed(2)
    got = Generated(
        MERGED, BoxGrammar(PERCENT, no_zoom=True), do_sample=True, num_return_sequences=40, top_k=40
    )
    texts = {text.strip() for text in got.texts}
    assert NO_ZOOM_NEEDED in texts
    assert len(texts) > 40
    for text in texts:
        assert_legal(PERCENT, text)


def test_each_conversation_has_the_pixels_of_its_own_input() -> None:
    torch.manual_seed(3)
    sizes = [(3, 900), (900, 3), (40, 40)]
    grammars = [BoxGrammar(BoxNotation.pixels(), size=size) for size in sizes]
    got = Generated(DIGITS, grammars, do_sample=True, num_return_sequences=8)
    for row, text in enumerate(got.texts):
        assert_legal(BoxNotation.pixels(*sizes[row // 8]), text)
    with pytest.raises(ModelError, match="rows for each of 2 grammars, got 3 rows"):
        Generated(DIGITS, grammars[:2])


def test_a_tracker_serves_another_call_with_a_prompt_of_the_same_length() -> None:
    grammar, made = BoxGrammar(PERCENT), tokenizer(MERGED)
    tracker = BoxTracker(table(MERGED), grammar, 1)
    first = torch.tensor([[made.eos_token_id, *ids_of(MERGED, "[1, 2, 3, 4]")]])
    assert tracker.completed(first) == [True]
    second = torch.tensor([[made.eos_token_id, *ids_of(MERGED, "[5, 2")]])
    assert tracker.completed(second) == [False]
    assert tracker.follow(second)[0][1] == grammar.advance(grammar.start, "[5, 2")
    assert tracker.completed(first.repeat(2, 1)) == [True, True]


def test_eos_may_come_once_the_box_is_closed_and_must_when_nothing_else_may() -> None:
    made, eos = tokenizer(MERGED), [tokenizer(MERGED).eos_token_id, 7]
    processor = BoxLogitsProcessor(BoxTracker(table(MERGED), BoxGrammar(PERCENT), 0), eos)

    def kept(text: str, *after: int) -> set[int]:
        ids = torch.tensor([[*ids_of(MERGED, text), *after]], dtype=torch.long)
        scores = torch.randn(1, len(made))
        masked = processor(ids, scores)
        legal = masked.isfinite()
        assert torch.equal(masked[legal], scores[legal])
        assert masked[~legal].eq(-torch.inf).all()
        return set(legal[0].nonzero()[:, 0].tolist())

    (stop,) = ids_of(MERGED, ".")
    assert not kept("[1, 2, 30, 4") & {*eos, stop}
    assert kept("[1, 2, 3, 4]") == {*eos, stop}
    assert kept("[1, 2, 3, 4].") == set(eos)
    assert kept("[1, 2, 3, 4]", eos[0]) == set(eos)
    assert kept("[1, 2, 3, 4]", made.pad_token_id, made.pad_token_id) == set(eos)


def test_a_row_that_is_led_off_the_grammar_is_an_error() -> None:
    made = tokenizer(MERGED)
    tracker = BoxTracker(table(MERGED), BoxGrammar(PERCENT), 0)
    for stray in (made.eos_token_id, ids_of(MERGED, "]")[0]):
        ids = torch.tensor([[*ids_of(MERGED, "[1, "), stray]])
        with pytest.raises(ModelError, match=f"expected a token of the box grammar.*{stray}"):
            tracker.follow(ids)
    with pytest.raises(ModelError, match="expected a token of the box grammar"):
        Generated(
            MERGED, BoxGrammar(PERCENT), forced_eos_token_id=made.eos_token_id, max_new_tokens=1
        )
    with pytest.raises(ModelError, match="at least one EOS"):
        BoxLogitsProcessor(tracker, [])


# --- the probability of a box


@pytest.mark.parametrize("kind", [MERGED, DIGITS])
def test_the_probabilities_of_all_ways_to_write_a_box_add_up_to_one(kind: str) -> None:
    grammar = BoxGrammar(BoxNotation.pixels(2, 1), no_zoom=False)
    tracker = BoxTracker(table(kind), grammar, 0)
    processor = BoxLogitsProcessor(tracker, tokenizer(kind).eos_token_id)
    logits = torch.randn(40, len(tokenizer(kind)), generator=torch.Generator().manual_seed(0))
    total, ways = 0.0, 0
    ahead: list[tuple[list[int], list[Tensor]]] = [([], [])]
    while ahead:
        ids, scores = ahead.pop()
        generated = torch.tensor([ids], dtype=torch.long)
        if tracker.completed(generated) == [True]:
            total += float(box_log_probabilities(scores, generated, tracker).exp())
            ways += 1
            continue
        step = processor(generated, logits[len(ids)][None])
        legal = step[0].isfinite().nonzero()[:, 0].tolist()
        ahead += [([*ids, token], [*scores, step]) for token in legal]
    assert ways >= 6  # three boxes, with and without the space
    assert total == pytest.approx(1, abs=1e-4)


def test_the_log_probability_agrees_with_the_model_run_over_the_whole_text() -> None:
    torch.manual_seed(5)
    grammar = BoxGrammar(PERCENT)
    got = Generated(MERGED, grammar, stop=False, do_sample=True, top_k=0)
    found = box_log_probabilities(got.scores, got.ids, got.tracker)
    assert found.shape == (3,)
    mask = torch.cat([got.inputs["attention_mask"], torch.ones_like(got.ids)], dim=1)
    with torch.no_grad():
        logits = language_model(MERGED)(input_ids=got.sequences, attention_mask=mask).logits
    start = got.sequences.shape[1] - got.ids.shape[1]
    for row, ids in enumerate(got.ids.tolist()):
        state, total = grammar.start, 0.0
        for step, token in enumerate(ids):
            legal = list(table(MERGED).allowed(grammar, state))
            chances = logits[row, start + step - 1, legal].log_softmax(0)
            total += float(chances[legal.index(token)])
            reached = grammar.advance(state, decode(MERGED, [token]))
            assert reached is not None
            state = reached
            if grammar.is_complete(state):
                break
        assert float(found[row]) == pytest.approx(total, abs=1e-3)


def test_a_box_that_was_never_closed_has_no_probability() -> None:
    tracker = BoxTracker(table(DIGITS), BoxGrammar(PERCENT), 0)
    ids = torch.tensor([ids_of(DIGITS, "[1, 2, 3, 4]"), ids_of(DIGITS, "[1, 2, 30, 4")])
    scores = list(torch.zeros(ids.shape[1], 2, len(tokenizer(DIGITS))))
    found = box_log_probabilities(scores, ids, tracker)
    assert tracker.lengths(ids) == [ids.shape[1], None]
    assert found[0].isfinite()
    assert found[1] == -torch.inf
    with pytest.raises(ValueError, match="zip"):
        box_log_probabilities(scores[:-1], ids, tracker)
