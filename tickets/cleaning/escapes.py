r"""Literal `\n`, `\r` and `\t` in texts: line breaks of a source that writes them so, or part of a path or of code.

The public data set writes its line breaks as two characters. In a ticket about `C:\new\test` the same two characters
are a path. So the question is asked of a source as a whole: does it write line breaks that way?
"""

import re
from collections.abc import Iterable, Iterator

_LITERAL = re.compile(r"\\(?:r\\n|n)")
# behind a line break stands a capital, a space, a sign or another break; behind the `\n` of a path a small letter
_BREAK = re.compile(r"\\n(?=[^a-z0-9_.*+?)\]|$]|$)")
_MARKUP = r"\\(?:newcommand|newline|noindent|nabla|neq|right|rho|textbf|textit|text|times|tau|theta|begin|frac)\b"
_HAS_MARKUP = re.compile(_MARKUP)
_START = r"(?:(?<![\w\\])|(?<=\\[nrt]))"  # of a word, be it behind a literal line break
_CODE = (  # "\n" as a value, print("a\nb"), [\r\n], (\n|\t), ^\d+\t\w+\n$
    r"(?<![\w.!?,;:…])(?P<quote>[\"'`])(?:\\+[nrt])+(?P=quote)"
    r"|(?<=\w)\((?P<text>[\"'`])[^\"'`\s]{0,120}(?P=text)[),]"
    r"|[(\[]\^?(?:\\[nrt]\|?)+[)\]]"
    r"|(?:\\[dwsDWS](?![A-Za-z])|\^(?=[^\s\\]{0,20}\\[dwsDWS]))"
    r"(?:\\[dwsDWS](?![A-Za-z])|\[\^?(?:\\[nrt])+\]|\\[nrt](?=[$+*?)\]|{(\[^]|\\[dwsDWS](?![A-Za-z]))"
    r"|[\^$()\[\]|.+*?{}\d,-])*"
)
_ROOT = (  # what a Windows path, a share or a key of the registry begins with
    rf"{_START}(?:(?P<drive>[C-Zc-z]:)|(?P<sure>HKEY_[A-Z_]+:?|HK(?:LM|CU|CR|CC|U):?|%\w{{1,40}}%|\$env:\w{{1,40}}|~)"
    r"|(?P<weak>[A-Za-z][\w-]{0,60}(?=\\[^\\\s])))"
    r"|(?:(?<![^\s\"'(<=])|(?<=\\[nrt]))(?:(?P<share>\\\\(?![nrt]\\)\w[\w.-]*(?=\\[^\\\s]))|(?P<here>\.{1,2}(?=\\[^\\\s])))"
)
_LOGIN = rf"{_START}[A-Z][A-Z0-9-]{{1,14}}\\[a-z][a-z0-9._-]+(?![\w\\])"  # CORP\nina
_ESCAPE = r"(?<!\\)\\++(?:r\\+n|[nrt])"
_TOKEN = re.compile(rf"(?P<markup>{_MARKUP})|(?P<code>{_CODE})|(?P<login>{_LOGIN})|{_ROOT}|(?P<escape>{_ESCAPE})")
# A folder: its name begins with no `n`, `r` or `t`, or with a small letter behind it; `\nThanks` and `\n\n` are breaks.
_NAME = r"\\(?![nrt](?![a-z]))(?P<name>[^\s\\]+)"
_COMPONENT = re.compile(_NAME)
_FIRST = re.compile(r"\\(?!n(?![a-z])|[rt](?![a-z0-9_]))(?P<name>[^\s\\]+)")
_SPACED = re.compile(  # Program Files, Ida Huber, Files (x86): words of a name with a space, if the path goes on behind
    rf"(?: (?:\([^()\s\\]{{1,20}}\)|[A-Z0-9][^\s\\]{{0,40}}|and|und|&|-)){{1,4}}(?={_NAME.replace('?P<name>', '?:')})"
)
_FILE = re.compile(
    r"\.(?:txt|log|exe|bat|cmd|ps1|vbs|pdf|docx?|xls[xmb]?|pptx?|csv|zip|7z|msi|dll|ini|xml|json|html?|png|jpe?g|gif|py"
    r"|js|sh|dat|tmp|pst|ost|lnk|iso|cfg|conf|bak|mdb|accdb|sys|reg|inf|rdp|eml|msg)\W*$",
    re.I,
)
_ENDS = frozenset(".,;:!?\"')]>}")  # signs that end a path
_DEEPEST = {"weak": 10}  # folders in a path without a sign of one
_FEW = 3  # texts of a source, one of which says enough
_USUAL_TEXTS = 5  # of which most have one line break
_WRITERS = 0.02  # share of the texts that have to write breaks so


def unescape(text: str) -> str:
    r"""Return `text` with literal `\n`, `\r` and `\t` as the whitespace they stand for; paths and code stay."""
    return "".join(piece if not is_escape else " " if piece[-1] == "t" else "\n" for piece, is_escape in _pieces(text))


def writes_escapes(texts: Iterable[str]) -> bool:
    r"""Return whether these texts of one source write line breaks as literal `\n`.

    Only texts without a real line break can say so: who has those does not write them as `\n`. Most of the literal
    ones have to look like line breaks, and somewhere two have to stand together, as between paragraphs, or in one text;
    or most of the texts have one. One text among many says nothing: it may be about code.
    """
    breaks = others = count = writers = broken = 0
    sure = False
    for text in texts:
        count += 1
        if "\n" in text.strip():
            broken += 1
        elif "\\" in text and not _HAS_MARKUP.search(text):
            rest = "".join(piece if is_escape or "\\" not in piece else "x" for piece, is_escape in _pieces(text))
            here = len(_BREAK.findall(rest))
            breaks, others = breaks + here, others + len(_LITERAL.findall(rest)) - here
            writers += here > 0
            sure = sure or here >= 2
    enough = writers >= max(1 if count <= _FEW else 2, _WRITERS * count, broken / 4)
    usual = writers >= _USUAL_TEXTS and writers >= count / 2
    return (sure or usual) and breaks > others and enough


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a text, with whether each is a literal line break or tab."""
    at = 0
    while (match := _TOKEN.search(text, at)) is not None:
        end = match.end()
        kind = match.lastgroup if match.lastgroup not in ("quote", "text") else "code"
        if kind in ("drive", "sure", "weak", "share", "here"):
            end = _path_end(text, end, kind)
        if match.start() > at:
            yield text[at : match.start()], False
        if kind == "escape":
            yield match[0], True
        elif end > match.start():
            yield text[match.start() : end], False
        at = end
    yield text[at:], False


def _path_end(text: str, at: int, kind: str) -> int:
    """Return where the path ends whose root ends at `at`; `at` itself where it is none."""
    end, count, foreign, name = at, 0, False, ""
    while count < _DEEPEST.get(kind, 50) and (
        match := (_COMPONENT if count or kind != "drive" else _FIRST).match(text, end)
    ):
        count, end, name = count + 1, match.end(), match["name"]
        foreign = foreign or name[0] not in "nt"
        if name[-1] in _ENDS or _FILE.search(name[-12:]):
            break
        if spaced := _SPACED.match(text, end):
            end = spaced.end()
    return end if (count >= 2 and foreign) or (count and kind != "weak") else at
