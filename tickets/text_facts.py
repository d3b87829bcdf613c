"""What two wordings of one ticket must have in common: language, placeholders, numbers and codes."""

import re
import unicodedata
from collections import Counter

_PLACEHOLDER = re.compile(r"<[a-z][\w ]{0,30}>|\[[a-z][\w ]{0,30}\]|\{\{[^{}\n]{1,40}\}\}|\{[a-z_]{1,30}\}", re.I)
_FACTS = (
    re.compile(r"https?://[^\s<>\"']*[\w/]"),
    re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"),
    re.compile(r"\b[A-Z][A-Z0-9]{0,9}[-_/]\d[\w-]*"),  # INV-2024-03
    re.compile(r"\w*\d\w*"),  # 24, v2, XPS13
)
_WORD = re.compile(r"\b[^\W\d_]+\b")  # not the letters of a code
_FEWEST, _AHEAD = 2, 1.5  # function words that name a language, and how many times those of the next one
_FUNCTION_WORDS = {
    "en": "the and is are was with have has this that from your our you we not been when please would which it's i'm",
    "de": "der die das und ist sind nicht mit wir ich ein eine einen bitte auf für haben werden wurde bei dass sich",
    "fr": "le les des est une nous vous avec dans pour pas sur que qui merci votre notre avons sont cette je",
    "es": "el los las es una con por para que está están nuestro nuestra hemos favor se su como pero muy",
    "it": "il gli della è una con per che sono non abbiamo nostro nostra grazie questo questa dei alla nel come",
    "nl": "het een en van is niet met wij we voor dat zijn hebben onze kunt graag bij wordt deze naar",
    "pt": "os uma com para que não está são nosso nossa temos por favor isso seu sua mas foi pelo ao",
    "pl": "nie jest się na do że w z są proszę nasz nasza przez oraz jak tylko przy od czy dla",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _LANGUAGES_OF.setdefault(_word, []).append(_language)


def placeholders(text: str) -> set[str]:
    """Return placeholders such as <name>, [image] or {{order}}, lower-cased."""
    return {found.lower() for found in _PLACEHOLDER.findall(text)}


def facts(text: str) -> set[str]:
    """Return numbers, codes, web and e-mail addresses, lower-cased."""
    return {found.lower() for pattern in _FACTS for found in pattern.findall(_PLACEHOLDER.sub(" ", text))}


def language_of(text: str) -> str:
    """Guess the language by its function words, or by its script where that is not Latin; empty where neither tells.

    It knows eight languages, and is meant to tell whether two texts are in the same one.
    """
    script = _script(text)
    if script != "LATIN":
        return script
    counts: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        counts.update(_LANGUAGES_OF.get(word, ()))
    (first, most), (_, second) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    return first if most >= _FEWEST and most >= _AHEAD * second else ""


def _script(text: str) -> str:
    """Return the script of most letters, such as LATIN or CYRILLIC; empty for a text without letters."""
    letters = [letter for letter in text[:2_000] if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "?").split()[0] for letter in letters)
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > len(letters) / 10:  # one text mixes three scripts
        return "JAPANESE"
    return scripts.most_common(1)[0][0] if scripts else ""
