"""Taking from a reply what judges prefer for its looks: Markdown, greeting and closing formula."""

import re

_LINE_MARKS = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+\u2022][ \t]+|\d{1,2}[.)][ \t]+|```.*$|-{3,}[ \t]*$)", re.M
)
_LINK = re.compile(r"!?\[([^\]\n]*)\]\(([^)\s]*)\)")
_EMPHASIS = re.compile(r"(\*\*|__|\*|`|~~)(?=\S)([^\n]+?)(?<=\S)\1")
_GREETING = re.compile(
    r"\A\s*(?:dear|hello|hi|hey|good (?:morning|day|afternoon|evening)|greetings|sehr geehrte[rs]?|liebe[rs]?|hallo|"
    r"guten (?:morgen|tag|abend))\b[^,!:.\n]{0,60}(?:[,!:.]|\n)[ \t]*",
    re.I,
)
_CLOSING = re.compile(
    r"(?:\A|\n|(?<=[.!?]))\s*(?:(?:with )?(?:best|kind|warm|many|sincere)(?:est)? (?:regards|wishes|thanks)|regards|"
    r"yours (?:sincerely|faithfully|truly)|sincerely|cheers|(?:mit )?(?:freundliche[nr]?|beste[nr]?|viele[nr]?|"
    r"herzliche[nr]?) gr(?:ü|ue)(?:ß|ss)en?)\b[^\n.?!]{0,60}[.!]?(?:\n[^\n]{0,60}){0,5}\Z",
    re.I,
)


def without_markdown(reply: str) -> str:
    """Return a reply's words without marks of Markdown; line breaks stay."""
    text = _LINE_MARKS.sub("", reply)
    text = _LINK.sub(r"\1 (\2)", text)
    for _ in range(2):  # bold around italics
        text = _EMPHASIS.sub(r"\2", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def without_greeting_and_closing(text: str) -> str:
    """Return a text without its greeting, closing formula and signature, in English or German."""
    return _CLOSING.sub("", _GREETING.sub("", text)).strip()
