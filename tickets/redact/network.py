"""E-mail addresses, URLs that hold a credential, web tokens, and IP addresses."""

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from tickets.redact.kinds import Span

_EMAIL = re.compile(
    r"(?<![\w.+'%&-])[\w+%&][\w.+'%&-]{0,63}[@\uff20](?:[^\W_](?:[\w-]{0,62}\.)){1,8}(?:[^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w-])"
)
_SPELT = re.compile(  # max (at) example (dot) com
    r"(?<![\w.+'%&-])[\w+%&][\w.+'%&-]{0,63}[ ]?[\[(](?:at|ät|@)[\])][ ]?"
    r"(?:[^\W_][\w-]{0,62}(?:\.|[ ]?[\[(](?:dot|punkt|\.)[\])][ ]?)){1,6}[^\W\d_]{2,24}(?![\w-])",
    re.I,
)
_CAPITALS = re.compile(
    r"(?<![\w.+'%&-])[\w+%&][\w.+'%&-]{0,63} AT [^\W_][\w-]{0,62}(?: DOT [^\W_][\w-]{0,62}){1,6}(?![\w-])"
)
_REPOSITORY = re.compile(r":[\w~.-]+/[\w.-]")  # git@example.com:team/tool.git
_TOKEN = re.compile(r"(?<![\w.-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}={0,2}(?![\w-])")
_PICTURE = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif")  # logo@2x.png

_URL = re.compile(
    r"(?<![\w])[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s<>\"„“”«»`|\\^{}]+|(?<![\w/])www\.[^\s<>\"„“”«»`|\\^{}]+"
)
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:token|t|tok|key|apikey|sig|signature|auth|authorization|code|otp|secret|password|passwd|pass|pwd|"
    r"session|sessionid|sid|jwt|ticket|hash|hmac|nonce|credential|credentials|access|accesstoken|refresh|idtoken|magic|"
    r"invite|sas)(?:$|[_.-])|token$|secret$|password$|apikey$|sessionid$|signature$",
    re.I,
)
_SHORTEST_SECRET = 6
_PASSWORD_NAME = re.compile(r"(?:password|passwd|pass|pwd|passcode)", re.I)  # whose value may be short
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])", re.I)
_RANDOM = re.compile(r"(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{20,}")

_FOUR = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_SIX = re.compile(r"(?<![\w:.])(?:[0-9a-f]{1,4}:|::)[0-9a-f:]{3,38}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])", re.I)
_BEFORE = 40  # characters in front of a number that may say what it is
_VERSION = re.compile(
    r"(?:\bv|\bver\.?|version(?:en)?|release|build|client|firmware|bios|driver|treiber(?:version)?|windows|update|patch|"
    r"oracle|software|app|plugin|agent|package|paket|upgrade[sd]? (?:to|from)|auf|aktualisiert)[ \t:=(]*$",
    re.I,
)
_ADDRESSED = re.compile(
    r"\b(?:ip|ips|ipv4|host(?:name)?|server|address|adresse|ping\w*|gateway|dns|router|subnet|netz(?:werk)?|network|"
    r"firewall|route|printer|drucker|from|von|at|unter|login|logged|remote|peer|proxy|vpn|anpingen)\b",
    re.I,
)
_SMALLEST_OCTET = 30  # four numbers below it may be a version: 5.2.1.0


def find_emails(text: str) -> Iterator[Span]:
    """Yield addresses with a top-level domain."""
    for match in _EMAIL.finditer(text):
        if not match[0].lower().endswith(_PICTURE) and not _REPOSITORY.match(text, match.end()):
            yield Span(match.start(), match.end(), "email")


def find_spelt_emails(text: str) -> Iterator[Span]:
    """Yield addresses whose signs are spelt: `max (at) example (dot) com`, `max AT example DOT com`."""
    for pattern in (_SPELT, _CAPITALS):
        for match in pattern.finditer(text):
            yield Span(match.start(), match.end(), "email")


def find_tokens(text: str) -> Iterator[Span]:
    """Yield JSON Web Tokens: three parts in Base64, the first two of them objects."""
    for match in _TOKEN.finditer(text):
        yield Span(match.start(), match.end(), "token")


def find_secret_urls(text: str) -> Iterator[Span]:
    """Yield URLs with a password, a parameter that is named as a secret, or a part that looks random."""
    for match in _URL.finditer(text):
        url = _trimmed(match[0])
        if _holds_secret(url):
            yield Span(match.start(), match.start() + len(url), "url")


def _trimmed(url: str) -> str:
    """Return the URL without the punctuation of the sentence around it."""
    url = url.rstrip(".,;:!?'*_")
    while url.endswith((")", "]")) and url.count(url[-1]) > url.count("(" if url[-1] == ")" else "["):
        url = url[:-1].rstrip(".,;:!?'")
    return url


def _holds_secret(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:  # such as a broken IPv6 host: judged by its characters alone
        return _looks_random(url)
    if "@" in parts.netloc:
        return True
    for name, value in parse_qsl(f"{parts.query}&{parts.fragment}"):
        if _PASSWORD_NAME.fullmatch(name) and value:
            return True
        if len(value) >= _SHORTEST_SECRET and (_SECRET_NAME.search(name) or _looks_random(value)):
            return True
    return any(_looks_random(segment) for segment in re.split(r"[/;=.]", f"{parts.path}/{parts.fragment}"))


def _looks_random(text: str) -> bool:
    """Return whether a UUID, or twenty characters without a dictionary word's shape, are in it."""
    if _UUID.search(text):
        return True
    return any(sum(map(str.isdigit, run)) >= len(run) / 8 and not _is_slug(run) for run in _RANDOM.findall(text))


def _is_slug(run: str) -> bool:
    """Return whether it is words and numbers: `how-to-reset-windows-11`."""
    words = re.split("[_-]", run)
    return len(words) > 2 and all(word.isalpha() or word.isdigit() or len(word) <= 4 for word in words)


def find_ips(text: str) -> Iterator[Span]:
    """Yield IPv4 addresses that are no versions, and IPv6 addresses."""
    for match in _FOUR.finditer(text):
        octets = [int(part) for part in match[0].split(".")]
        if max(octets) <= 255 and _is_address(octets, text[max(0, match.start() - _BEFORE) : match.start()]):
            yield Span(match.start(), match.end(), "ip")
    if text.count(":") > 1:
        for match in _SIX.finditer(text):
            value = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
            if _is_ipv6(value):
                yield Span(match.start(), match.start() + len(value), "ip")


def _is_address(octets: list[int], before: str) -> bool:
    before = before.rpartition("\n")[2]
    if _VERSION.search(before):
        return False
    return octets[0] == 10 or max(octets) >= _SMALLEST_OCTET or _ADDRESSED.search(before) is not None


def _is_ipv6(value: str) -> bool:
    if value.count(":") < 3 or not any(map(str.isdigit, value)):  # 12:34:56, a::b
        return False
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True
