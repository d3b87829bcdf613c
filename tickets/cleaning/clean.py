"""Ticket text as people read it: escapes, HTML and quoted threads undone, each step counted and optional.

HTML is recognised by known tag names. A parser would also remove `<name>`, a placeholder of the public dataset, `a < b`
and `<max@firma.de>`. Every pattern here runs in linear time, so a hostile ticket cannot stall a run.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable

from tickets.cleaning.escapes import unescape, writes_escapes
from tickets.cleaning.pictures import strip_images
from tickets.cleaning.quotes import QUOTE_END, QUOTE_START, mark_quoted, strip_quotes
from tickets.cleaning.signatures import cut_signatures

STEPS = ("escapes", "images", "html", "quotes", "signatures")
_MOST_EXAMPLES, _EXAMPLE_LENGTH = 3, 240

_TAG = re.compile(
    r"<(/?)([a-z][a-z0-9]*(?::[a-z]+)?)((?:\s(?:[^<>\"']|\"[^\"<]{0,4000}\"|'[^'<]{0,4000}')*+)?/?)>", re.I
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.I)
_SELECTOR = r"[@.#]?[\w.:#*-]{1,60}+(?:\s*+,\s*+[.#]?[\w.:#*-]{1,60}+){0,40}+(?: \w{1,40})?"
_STYLES = re.compile(  # what Word and Outlook leave above a text: P {margin-top:0;} and @font-face {...}
    r"\A\s*+(?=[^{}]{0,600}\{[^{}]{0,2000}(?:margin-(?:top|bottom|left):|mso-|font-family:|Mso))"
    rf"(?:(?:<!--|-->|/\*[^*]{{0,200}}\*/|{_SELECTOR}\s*+\{{[^{{}}]{{0,2000}}\}})[ \t]*+(?:\n\s*+|\Z))++"
)
_ESCAPED_TAG = re.compile(r"&(?:amp;)*(?:lt|#0*60|#x0*3c);(/?)([a-z][a-z0-9]*)", re.I)
_MOST_ESCAPES = 3  # times that HTML was escaped
_DECLARATION = re.compile(r"<![a-z\[][^<>]{0,400}>|<\?xml[^<>]{0,400}>", re.I)
_NAMES = re.compile(r"\S+")
_BREAKS = frozenset(_NAMES.findall("br p div tr li ul ol table h1 h2 h3 h4 h5 h6 hr blockquote pre"))
_SURE = _BREAKS | frozenset(
    _NAMES.findall("html head body span strong em font td th tbody thead meta style script img o:p")
)
# These are also words in angle brackets: they count as HTML only with attributes or with a closing tag.
_UNSURE = frozenset(
    _NAMES.findall(
        "a b i u s q em code label title link address time data form input button section article header footer main "
        "nav small big sub sup center object video audio picture figure caption summary details dl dt dd col colgroup "
        "tfoot del ins mark kbd samp var cite abbr base iframe svg path area map select option textarea tt strike"
    )
)
# what may stand behind a tag's name: an attribute with a value, or one of those that need none
_ATTRIBUTE = re.compile(
    r"\s*+(?:/?$|[a-z_@:*#\[(][\w:.*#@()\[\]-]{0,80}\s*=|(?:checked|disabled|selected|required|readonly|multiple|controls"
    r"|autoplay|loop|muted|open|nowrap|noshade|hidden|download|async|defer|allowfullscreen|novalidate|reversed|ismap"
    r"|data-[\w-]{1,60}|v-[\w-]{1,60}|itemscope|compact|border)(?![\w-]))",
    re.I,
)
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")
_HIDDEN = ("script", "style", "head")

_SPACES = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")  # leaves single spaces, the common case, untouched
_EDGES = re.compile(r" ?\n ?")
_GAPS = re.compile(r"\n{3,}")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_DROPPED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\ud800-\udfff]")


class Cleaner:
    """Cleans texts; `counts` says how many texts each of `STEPS` changed, `examples` holds what it removed."""

    def __init__(
        self, escapes: bool | None = True, html: bool = True, quotes: bool = True, signatures: bool = False
    ) -> None:
        """Switch single steps off; images, whitespace and control characters are always cleaned.

        Args:
            escapes: None: `decide_escapes` sets it; until then escapes are kept.
        """
        self.escapes, self.html, self.quotes, self.signatures = escapes, html, quotes, signatures
        self.counts: Counter[str] = Counter(dict.fromkeys(STEPS, 0))
        self.examples: dict[str, list[str]] = {step: [] for step in STEPS}

    def decide_escapes(self, texts: Iterable[str]) -> None:
        r"""Detect whether `\n` means a line break in this source, unless `escapes` was given."""
        if self.escapes is None:
            self.escapes = writes_escapes(texts)

    def clean(self, text: str, thread: bool = True, subject: str = "") -> str:
        """Return `text` cleaned.

        Args:
            thread: whether it may hold a quoted thread, as bodies and replies do.
            subject: that of the ticket, which may say that a mail was passed on.
        """
        text = _as_lines(text)
        if self.escapes and "\\" in text:
            text = self._counted("escapes", text, unescape(text))
        text = self._counted("images", text, strip_images(text))
        if self.html and "{" in text:
            text = self._counted("html", text, _STYLES.sub("", text))
        if self.html and ("<" in text or "&" in text):
            plain = mark_quoted(strip_html(text, marked=True)) if self.quotes and thread else strip_html(text)
            text = self._counted("html", text, plain)
        if self.quotes and thread and ("\n" in text or "@" in text):
            text = self._counted("quotes", text, strip_quotes(text, subject))
        if self.signatures and thread and "\n" in text:
            text = self._counted("signatures", text, cut_signatures(text))
        return normalise(text)

    def _counted(self, step: str, before: str, after: str) -> str:
        if before != after:
            self.counts[step] += 1
            if len(self.examples[step]) < _MOST_EXAMPLES:
                self.examples[step].append(_changed_part(before, after))
        return after


def _changed_part(before: str, after: str) -> str:
    """Return `before` from its first difference to `after`, cut to one short line."""
    shortest = min(len(before), len(after))
    start = next((place for place in range(shortest) if before[place] != after[place]), shortest)
    while start < len(before) and start and not before[start].isspace() and not before[start - 1].isspace():
        start -= 1
    return " ".join(before[start : start + _EXAMPLE_LENGTH].split())


def normalise(text: str) -> str:
    """Return `text` without control characters, runs of spaces and more than one blank line in a row."""
    if text.isprintable():  # one line without any control character
        return " ".join(text.split())
    text = _as_lines(text)
    return _GAPS.sub("\n\n", _EDGES.sub("\n", _SPACES.sub(" ", text))).strip()


def _as_lines(text: str) -> str:
    """Return `text` with `\\n` for every kind of line end, and without control characters."""
    if text.replace("\n", "").isprintable():
        return text
    return _DROPPED.sub("", _LINE_ENDS.sub("\n", text))


def strip_html(text: str, marked: bool = False) -> str:
    """Return `text` without HTML tags and entities; angle brackets that are no HTML stay.

    Args:
        marked: write `QUOTE_START` and `QUOTE_END` where a quotation begins and ends.
    """
    if "&" in text and _is_escaped_html(text):
        for _ in range(_MOST_ESCAPES):
            text = _unescaped(text) if _ESCAPED_TAG.search(text) else text
    if "<" in text:
        lowered = text.lower()
        for name in _HIDDEN:
            if f"<{name}" in lowered:
                text = _without_spans(text, f"<{name}", f"</{name}>")
        if "<!--" in text:
            text = _without_spans(text, "<!--", "-->")
        if "<![CDATA[" in text:
            text = _CDATA.sub("", text)
        if "<!" in text or "<?" in text:
            text = _DECLARATION.sub("", text)
        text = _without_tags(text, marked)
    return _unescaped(text) if "&" in text else text


def _unescaped(text: str) -> str:
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def _is_escaped_html(text: str) -> bool:
    """Return whether a text is HTML with `&lt;p&gt;` for its tags, as GLPI writes it, and not a text about HTML."""
    tags = [(name.lower(), bool(slash)) for slash, name in _ESCAPED_TAG.findall(text) if name.lower() in _BREAKS]
    closed = {name for name, closes in tags if closes}
    is_paired = any(name in closed for name, closes in tags if not closes)
    breaks = sum(name == "br" for name, _ in tags)
    return (is_paired or breaks > 1) and _without_tags(text, marked=False) == text


def _without_tags(text: str, marked: bool) -> str:
    closed = {name.lower() for name in re.findall(r"</([a-zA-Z][a-zA-Z0-9]*)\s*>", text)}

    def replace(match: re.Match[str]) -> str:
        name, rest = match[2].lower(), match[3]
        if name not in closed and not _ATTRIBUTE.match(rest):  # `a<b AND c=1 AND d>2` is no tag
            return match[0]
        if name in _SURE or (name in _UNSURE and (name in closed or "=" in rest)):
            if name == "blockquote" and marked:
                return f"\n{QUOTE_END}" if match[1] else f"{QUOTE_START}\n"
            if name == "li" and not match[1]:
                return "\n- "
            return "\n" if name in _BREAKS else " " if name in ("td", "th") else ""
        return match[0]

    return _TAG.sub(replace, text)


def _without_spans(text: str, opening: str, closing: str) -> str:
    """Return `text` without everything from `opening` to the next `closing`; one pass, whatever the text holds."""
    lowered, kept, at = text.lower(), [], 0
    if len(lowered) != len(text):  # a few letters grow when lower-cased, and positions would shift
        return text
    while (start := lowered.find(opening, at)) >= 0 and (end := lowered.find(closing, start)) >= 0:
        kept.append(text[at:start])
        at = end + len(closing)
    return "".join(kept) + text[at:]
