r"""Literal `\n`, `\r` and `\t` in texts: line breaks of a source that writes them so, or part of a path.

The public data set writes its line breaks as two characters. In a ticket about `C:\new\test` the same two characters
are a path. So the question is asked of a source as a whole: does it write line breaks that way?
"""

import re
from collections.abc import Iterable

# A Windows path (C:\new\test), a share (\\nas\new) and a login (CORP\nina) keep their backslashes; `C:\n\n` is prose.
_ESCAPE = re.compile(
    r"((?<!\w)[C-Zc-z]:\\(?:(?!n\\n)\w[^\s\\]*(?:\\[^\s\\]+)+|t\w+)"
    r"|(?<!\S)\\\\\w[\w.-]*\\\S+"
    r"|(?<!\w)[A-Z][A-Z0-9-]{1,14}\\[a-z][a-z0-9._-]+(?![\w\\]))"
    r"|(?<!\\)\\++(?:r\\+n|[nrt])"
)
_LITERAL = re.compile(r"\\(?:r\\n|n)")
# behind a line break stands a capital, a space, a sign or another break; behind the `\n` of a path a small letter
_BREAK = re.compile(r"\\n(?=[^a-z0-9_.*+?)\]|$]|$)")
_MARKUP = re.compile(
    r"\\(?:newcommand|newline|noindent|nabla|neq|right|rho|textbf|textit|text|times|tau|theta|begin|frac)\b"
)


def unescape(text: str) -> str:
    r"""Return `text` with literal `\n`, `\r` and `\t` as the whitespace they stand for; Windows paths stay."""
    return _ESCAPE.sub(lambda match: match[1] or (" " if match[0][-1] == "t" else "\n"), text)


def writes_escapes(texts: Iterable[str]) -> bool:
    r"""Whether these texts of one source write line breaks as literal `\n`.

    Only texts without a real line break can say so: who has those does not write them as `\n`. Most of the literal
    ones have to look like line breaks, and somewhere two have to stand together, as between paragraphs, or in one text.
    """
    breaks = others = 0
    sure = False
    for text in texts:
        if "\\" not in text or "\n" in text.strip() or _MARKUP.search(text):
            continue
        here = len(_BREAK.findall(text))
        breaks, others = breaks + here, others + len(_LITERAL.findall(text)) - here
        sure = sure or here >= 2
    return sure and breaks > others
