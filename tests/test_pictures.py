"""Pictures and tags go; keys, tokens, checksums, paths, addresses, comparisons and words beside them stay."""

import base64
import random
import time

import pytest

from tickets.cleaning.clean import Cleaner

_BYTES = random.Random(1).randbytes(3_000)
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + _BYTES).decode()
PHOTO = base64.b64encode(b"\xff\xd8\xff\xe0" + _BYTES[:1_000]).decode()
URL_SAFE = base64.urlsafe_b64encode(_BYTES[:400]).decode().rstrip("=")


def wrapped(text: str, width: int = 76) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize("picture", [PICTURE, PHOTO])
@pytest.mark.parametrize("width", [64, 76, 100, 10_000])
@pytest.mark.parametrize("below", ["The screen stays white.", "Regards", "Best", "Mit freundlichen Grüßen", "- one"])
def test_a_lump_goes_and_the_words_around_it_stay(picture: str, width: int, below: str) -> None:
    text = f"See my screen:\n{wrapped(picture, width)}\n{below}"
    assert Cleaner().clean(text) == f"See my screen:\n[image]\n{below}"
    whole = picture[: len(picture) // width * width] if width < 1_000 else picture  # the last line is full
    assert Cleaner().clean(f"Look:\n{wrapped(whole, width)}\n{below}") == f"Look:\n[image]\n{below}"


@pytest.mark.parametrize("picture", [PICTURE, wrapped(PICTURE)])
def test_a_data_uri_goes_with_its_last_line(picture: str) -> None:
    uri = f"data:image/png;base64,{picture}"
    assert Cleaner().clean(f"Hello,<img src='{uri}'> the screen") == "Hello, the screen"
    assert Cleaner().clean(f"Hello {uri} the screen").startswith("Hello data:image")
    assert Cleaner().clean(f"Hello {uri}\nthe screen").endswith("\nthe screen")


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN CERTIFICATE-----\n{wrapped(PICTURE, 64)}\n-----END CERTIFICATE-----\nThis is refused.",
        f"-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{wrapped(PICTURE, 64)}\n-----END PRIVATE KEY-----",
        "My key is MII" + PICTURE[:600],
        "My key is ssh-rsa AAAAB3NzaC1yc2E" + PICTURE[:500] + " ida@x",
        f"Token eyJhbGciOiJSUzI1NiJ9.eyJ{PICTURE[:250].replace('/', 'a')}.{URL_SAFE} refused",
        "Token eyJ" + "abcDEF123" * 40 + " refused",
        f"Cookie {URL_SAFE} is refused",
        "Sums:\n" + "\n".join(f"{7**70 + n * 13**50:064x}" for n in range(5)) + "\nPlease check.",
        "Sum " + "0123456789abcdef" * 16 + " is wrong",
        "Sequence " + "ACGT" * 60 + " is cut off",
        "Protein " + "MKVLAAGIVGLLLAQPSFA" * 12 + " is cut off",
        "The file /srv/" + "department/Projects/archive2/" * 10 + "final is locked",
        "See https://ex.com/" + "abcDEF123/" * 25 + "end please",
        "See https://ex.com/x?q=" + PICTURE[:300].replace("/", "a").replace("+", "b") + " please",
        "the data:a,b and more data: 1,2 stay",
    ],
)
def test_what_a_ticket_is_about_stays(text: str) -> None:
    cleaner = Cleaner()
    assert cleaner.clean(text) == text
    assert cleaner.counts["images"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM t WHERE qty<a AND status=1 AND price>10 returns nothing",
        "WHERE x<b AND c='open' AND d>5 is slow",
        "if i<p and q>0 then",
        "for (i<a; j>b) and Map<String, List<Integer>>",
        "x<i & y>j, x<u or y=2>z",
    ],
)
def test_comparisons_are_no_tags(text: str) -> None:
    assert Cleaner().clean(text) == text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<![CDATA[The text & more]]>", "The text & more"),
        ("<p><![CDATA[one]]> and <![CDATA[two]]></p>", "one and two"),
        ("<style>/*<![CDATA[*/ p{} /*]]>*/</style>Text", "Text"),
        ("<![if !supportLists]>Text<![endif]>", "Text"),
        ("<a href=x>link</a> <td nowrap>cell</td> <input disabled name=q>", "link cell"),
        ("<p class=MsoNormal>one<br clear=all>two</p>", "one\ntwo"),
        ('<div odd>one</div><p\nclass="a">two</p >', "one\n\ntwo"),
        ("<br /><hr/><img src='x' alt=''/>one", "one"),
    ],
)
def test_tags_go_and_their_texts_stay(raw: str, clean: str) -> None:
    assert Cleaner().clean(raw) == clean


@pytest.mark.parametrize(
    "piece",
    ["A" * 70 + "\n", "a/B1" * 60 + " ", "data:a/b,", "<a b", "<![CDATA[", "-----BEGIN ", "eyJ" + "aB1" * 70 + "\n"],
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    start = time.thread_time()
    Cleaner().clean(piece * (300_000 // len(piece)))
    assert time.thread_time() - start < 5
