"""Running text: sentences for letters and notes, and pages crammed with words to learn reading on."""

from __future__ import annotations

import random
import string
from collections import Counter

from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.invent import (
    amount_text,
    code_text,
    date_text,
    invented_word,
    person,
    phone_text,
    time_text,
)
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.sheet import Page, Sheet, Span, line_height
from cropvlm_core.training.pages.wordings import is_held_out

WORDS = (
    "a able about above accept account across action add address after again against agree air all "
    "allow also amount an and annual another answer any apply are area arrange as ask at attach "
    "attention available back bank be because become been before begin below benefit best between "
    "board book both branch bring budget build building business but buy by call can care carry "
    "case cause change charge check child choose city claim class clear client close code collect "
    "come comment committee common community company complete condition confirm consider contact "
    "contain continue contract control copy cost could country course cover create credit current "
    "customer cut daily damage data date day deal decide deliver delivery department describe "
    "design detail develop different direct director discuss do document does door down draft "
    "draw drive due during duty each early east easy effect either email employ enclose end enter "
    "entire equipment establish even event every exact example expect expense explain express "
    "extend face fact fail family far fast favour feel field figure file fill final find finish "
    "firm first five fix follow for force form former forward found free from full function fund "
    "future gather general get give go good goods government great group grow guide had half hand "
    "happen has have head health hear help her here high him his hold home hope hour house how "
    "however if important improve in include income increase indicate industry information inside "
    "instead insurance interest into invoice issue it item its job join just keep key kind know "
    "label land large last late law lead learn least leave legal less letter level licence life "
    "light like limit line list little local long look loss lot low machine made mail main make "
    "manage manager many market material matter may mean measure medical meet meeting member "
    "message method might mind minute model money month more most move much must name near need "
    "never new next night no normal north not note notice now number of off offer office officer "
    "old on once one only open operate option or order other our out over own owner page paper "
    "part party pass pay payment people per period permit person phone place plan plant please "
    "point policy position possible post power prepare present price print private problem process "
    "produce product program project property provide public purchase purpose put quality quarter "
    "question quick quite rate reach read ready real reason receive recent record reduce refer "
    "refund regard region regular reject relate release remain remember remove repair reply report "
    "request require research reserve result return review right risk road room rule run safe "
    "sale same sample save say schedule school science season second section security see sell "
    "send service set several shall share sheet ship short should show side sign since site size "
    "small so some soon south special staff stand standard start state station still stock stop "
    "store street study subject such supply support sure system table take task tax team tell "
    "term test text than thank that the their them then there these they thing this those three "
    "through time to today together too total town trade train travel treat trial true try turn "
    "two type under unit until up upon use usual valid value very view visit wait want warranty "
    "was water way we week weight well were west what when where which while who whole why will "
    "wish with within without word work world would write year yes yet you young your zone"
).split()
_FOREIGN = (
    "für über müssen Straße Grüße Änderung möglich schön Größe wäre Prüfung Zahlung Lieferung nach "
    "été français société numéro adresse où déjà reçu première être à très façon réponse même "
    "año señor número dirección teléfono mañana factura fecha también según está pequeño más "
    "perché città qualità società però così data importo pagamento cliente indirizzo più è "
    "het een voor niet datum bedrag betaling klant geen straat één ook hoeveelheid "
    "não endereço data valor pagamento você número ação são informação também já à "
    "tarikh jumlah alamat nombor bayaran pelanggan sila terima kasih untuk dengan daripada"
).split()


def sentence(rng: random.Random, low: int = 6, high: int = 16) -> str:
    """A grammarless sentence of everyday words, with a name, date or number now and then."""
    words = rng.choices(WORDS, k=rng.randint(low, high))
    if rng.random() < 0.2:
        words[rng.randrange(len(words))] = rng.choice((date_text, person, code_text, time_text))(
            rng
        )
    if len(words) > 8 and rng.random() < 0.4:
        words[len(words) // 2] += ","
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."


def paragraph(rng: random.Random, low: int = 2, high: int = 5) -> str:
    """A few sentences."""
    return " ".join(sentence(rng) for _ in range(rng.randint(low, high)))


def any_token(rng: random.Random) -> str:
    """One printed token of any sort: word, name, number, code, amount, mere letters."""
    draw = rng.random()
    if draw < 0.42:
        word = rng.choice(WORDS)
        style = rng.random()
        return word if style < 0.5 else word.capitalize() if style < 0.75 else word.upper()
    if draw < 0.58:
        word = invented_word(rng)
        return word.upper() if rng.random() < 0.3 else word
    if draw < 0.64:
        word = rng.choice(_FOREIGN)
        return word.upper() if rng.random() < 0.2 and "ß" not in word else word
    if draw < 0.74:
        return str(rng.randrange(10 ** rng.randint(1, 9)))
    if draw < 0.83:
        cents = rng.randrange(10 ** rng.randint(2, 8))
        mark = rng.choice(("", "", "", "$", "€", "RM", "£"))
        separator, point = rng.choice(((",", "."), (",", "."), (".", ","), ("", ".")))
        return mark + amount_text(cents, separator=separator, point=point)
    if draw < 0.88:
        return code_text(rng)
    if draw < 0.92:
        return rng.choice((date_text, time_text, phone_text))(rng)
    if draw < 0.97:
        letters = string.ascii_letters + string.digits
        return "".join(rng.choices(letters, k=rng.randint(1, 9)))
    word = rng.choice(WORDS)
    return rng.choice(
        (f"({word})", f"{word}:", f"{word},", f"“{word}”", f"{word}/{word[::-1]}", f"{word}-{word[:3]}",
         f"{rng.randint(1, 100)}%", f"{rng.randint(1, 99)}.{rng.randint(0, 9)}%", "&", "@", "–", "No.",
         f"{word}@{word[:4]}.com", f"#{rng.randint(1, 999)}", f"{word}_{rng.randint(1, 9)}",
         f"{word}?", f"{word}!", f"*{word}", f"{word};", f"[{rng.randint(1, 50)}]", "+", "=")
    )  # fmt: skip


def lines(rng: random.Random, *, held_out: bool = False) -> Page:
    """A page crammed with random words, numbers and codes in many sizes; a few words are asked for."""
    wide, tall = rng.choice(((780, 1050), (900, 1160), (700, 900), (1050, 800), (520, 700)))
    paper = rng.choice((255, 255, 255, 240, 220))
    sheet = Press(wide + rng.randint(-40, 40), tall + rng.randint(-40, 40), rng, paper)
    margin = rng.randint(8, 60)
    columns = rng.choice((1, 1, 1, 2, 2, 3))
    gutter = rng.randint(14, 40)
    room = (sheet.width - 2 * margin - gutter * (columns - 1)) / columns
    base = rng.choice((10, 11, 12, 12, 13, 14, 15, 16, 18, 20, 24))
    for column in range(columns):
        left = margin + column * (room + gutter)
        y = float(margin)
        while y < sheet.height - margin - 12:
            y = _block(sheet, rng, left, y, left + room, base, sheet.height - margin)
    if columns > 1 and rng.random() < 0.4:
        for column in range(1, columns):
            x = margin + column * (room + gutter) - gutter / 2
            sheet.draw.line((x, margin, x, sheet.height - margin), fill=rng.choice((0, 120)))
    _ask_words(sheet, rng, held_out=held_out)
    return sheet.page("lines")


def _block(
    sheet: Sheet, rng: random.Random, left: float, y: float, right: float, base: int, bottom: float
) -> float:
    """Some lines in one type; returns where the next block starts."""
    face = pick_face(rng)
    size = (
        base if rng.random() < 0.6 else rng.choice((9, 10, 11, 12, 13, 14, 16, 19, 22, 27, 34, 48))
    )
    font = face.at(size)
    step = line_height(font) * rng.uniform(0.95, 1.5)
    count = max(1, round(rng.randint(1, 14) * min(1.0, 14 / size)))
    count = min(count, int((bottom - y) / step))
    if count < 1:
        return bottom
    ink, look = rng.choice((0, 0, 0, 30, 70, 110)), rng.random()
    pad = 0
    if look < 0.12:  # light print on a dark block, or print on grey
        dark = rng.random() < 0.6
        ink, shade = (255, rng.choice((0, 40, 80))) if dark else (0, rng.choice((190, 215)))
        pad = 5
        sheet.draw.rectangle((left, y, right, y + count * step + 4), fill=shade)
    elif look < 0.2:
        pad = 5
        sheet.draw.rectangle((left, y, right, y + count * step + 4), outline=rng.choice((0, 120)))
    space = text_length(font, " ") * rng.choice((1.0, 1.0, 1.0, 1.5, 3.0))
    ruled = rng.random() < 0.1
    for _ in range(count):
        x = left + pad
        while True:
            token = any_token(rng)
            length = text_length(font, token)
            if x + length > right - pad:
                break
            sheet.text(x, y + pad / 2, token, font, ink=ink)
            x += length + (space if rng.random() < 0.93 else space * rng.uniform(2, 8))
        y += step
        if ruled:
            sheet.rule(y - 1, left + pad, right - pad, ink=rng.choice((0, 150)))
    return y + pad + step * rng.choice((0.1, 0.2, 0.6, 1.2))


_SPOT = (
    "Where is the word {w}?|Find the word {w}.|the word {w}|Where does it say {w}?|{w}|{w}?|"
    'Point at {w}.|Where is {w} printed?|Show me {w}|Find "{w}".|Locate {w} on the page.'
).split("|")
_STARTS = (
    "the word beginning with {w}|Which word begins with {w}?|Which word starts with {w}?|"
    "Find the word that starts with {w}.|What is the word beginning with {w}?"
).split("|")
_ENDS = (
    "the word ending in {w}|Which word ends in {w}?|Find the word that ends with {w}.|"
    "What is the word ending with {w}?"
).split("|")


def _ask_words(sheet: Sheet, rng: random.Random, count: int = 6, *, held_out: bool = False) -> None:
    """Ask for single words, by themselves, by how they begin or by how they end."""
    good = [w for w in sheet.words if len(w.text) >= 4 and w.text.isalnum()]
    folded = [w.text.casefold() for w in sheet.words]
    seen = Counter(folded)
    whole = "\n" + "\n".join(folded) + "\n"
    for word in rng.sample(good, min(count, len(good))):
        text = word.text.casefold()
        if seen[text] > 1:
            continue
        span: Span = word.span
        length = rng.randint(2, max(2, min(4, len(text) - 1)))
        draw = rng.random()
        if draw < 0.3 and whole.count("\n" + text[:length]) == 1:
            forms, part = _STARTS, word.text[:length]
        elif draw < 0.5 and whole.count(text[-length:] + "\n") == 1:
            forms, part = _ENDS, word.text[-length:]
        else:
            forms, part = _SPOT, word.text
        allowed = [form for form in forms if is_held_out(form) == held_out]
        if allowed:
            sheet.ask(rng.choice(allowed).format(w=part), word.text, span, "word")
