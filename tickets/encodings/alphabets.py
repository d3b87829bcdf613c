"""How well a text reads as one language: its letters beyond ASCII, where they stand in words, and how common they are.

A file in the wrong code page has letters that no single language has, symbols inside words, capitals behind small
letters, or rare letters where common ones should be.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

_LATIN = {
    "German": "äöüß",
    "French": "àâæçéèêëîïôœùûüÿ",
    "Spanish": "áéíñóúüçàèòï",
    "Italian": "àèéìíîòóùú",
    "Portuguese": "áâãàçéêíóôõúü",
    "Dutch": "áèéëíïóöúü",
    "Swedish": "åäöéü",
    "Danish": "æøåéäöü",
    "Icelandic": "áðéíóúýþæö",
    "Polish": "ąćęłńóśźż",
    "Czech": "áčďéěíňóřšťúůýž",
    "Slovak": "áäčďéíĺľňóôŕšťúýž",
    "Hungarian": "áéíóöőúüű",
    "Croatian": "čćđšž",
    "Romanian": "ăâîșțşţ",
    "Turkish": "çğıİöşüâîû",
    "Estonian": "äõöüšž",
    "Latvian": "āčēģīķļņšūž",
    "Lithuanian": "ąčęėįšųūž",
}
# with the letters that make up over half of any text, because every byte of a wrong code page may be some letter too
_OTHERS = {
    "Russian": ("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", "оеаинтсрвл"),
    "Ukrainian": ("абвгґдеєжзиіїйклмнопрстуфхцчшщьюя", "оаниевірткс"),
    "Serbian": ("абвгдђежзијклљмнњопрстћуфхцчџш", "аоеинрстук"),
    "Greek": ("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ", "αοιετσνηρκπς"),
    "Hebrew": ("אבגדהוזחטיךכלםמןנסעףפץצקרשת", "יוהלאתמרבשנ"),
    "Arabic": ("ءآأؤإئابةتثجحخدذرزسشصضطظعغـفقكلمنهوىيًٌٍَُِّْ", "اليمونرتبه"),
    "Thai": ("".join(map(chr, range(0x0E01, 0x0E3B))) + "".join(map(chr, range(0x0E3F, 0x0E5C))), "านรอกเงมยลวดทส่้ี"),
}
_FEWEST_COMMON = 0.5
# what stands around words in texts of every language, and the apostrophe and hyphen in them
_AROUND = "\xa0€–—―…•·„“”‚‘’«»‹›§©®™°²³¹ªºµ½¼¾±×÷¿¡£¥¢№†‰´¨¦¶\xad\ufeff"
_JOINERS = frozenset("’\xa0–—·\xad")
_RUN = re.compile("[A-Za-z\x80-\U0010ffff]*[\x80-\U0010ffff][A-Za-z\x80-\U0010ffff]*")
_LONGEST_FOREIGN = 3  # letters in a row without one of ASCII; longer ones are no word in a Latin alphabet


@dataclass(frozen=True)
class LetterFit:
    """How a text reads: the share of its characters beyond ASCII that are in place, and the best language for them."""

    share: float
    language: str
    letters: int


def read_as(text: str) -> LetterFit:
    """Read a text as the language that explains most of its characters beyond ASCII."""
    latin: Counter[str] = Counter()
    other: Counter[str] = Counter()
    neutral = misplaced = 0
    for run in _RUN.findall(text):
        word = run.strip(_AROUND)
        neutral += len(run) - len(word)
        foreign = sum(character > "\x7f" for character in word)
        joined = sum(character in _JOINERS for character in word)
        neutral, letters = neutral + joined, foreign - joined
        misplaced += sum(second > "\x7f" and second.isupper() and first.islower() for first, second in pairwise(word))
        counts = Counter(character for character in word if character > "\x7f" and character not in _JOINERS)
        if letters == len(word) - joined:
            other.update(counts)
            if letters <= _LONGEST_FOREIGN:
                latin.update(counts)
        else:
            latin.update(counts)
    total = neutral + sum((latin | other).values())
    best = LetterFit(0.0, "", 0)
    for language, alphabet in _LATIN.items():
        good = sum(count for letter, count in latin.items() if letter in alphabet or letter.lower() in alphabet)
        best = _better(best, language, good, neutral, misplaced, total)
    for language, (alphabet, common) in _OTHERS.items():
        good = sum(count for letter, count in other.items() if letter.lower() in alphabet)
        often = sum(count for letter, count in other.items() if letter.lower() in common)
        if often >= _FEWEST_COMMON * good:
            best = _better(best, language, good, neutral, misplaced, total)
    return best


def _better(best: LetterFit, language: str, good: int, neutral: int, misplaced: int, total: int) -> LetterFit:
    share = max(0, good + neutral - misplaced) / total if total else 1.0
    return LetterFit(share, language if good else "", good) if share > best.share else best
