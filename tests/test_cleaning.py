"""Cleaning: what is undone, what must survive, what is counted."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickets.cleaning.clean import Cleaner
from tickets.cleaning.quotes import strip_quotes

ANSWER = "Thank you.\n\nWe have restarted the server.\nIt works again."
MAIL = "The VPN client refuses my token since this morning."
FORWARDS = {  # as Gmail, Apple Mail, Outlook and Thunderbird write them, in their languages
    "gmail": "---------- Forwarded message ---------\nFrom: Ida <ida@example.com>\nDate: Mon, 4 Mar 2024 at 09:12\n"
    "Subject: token\nTo: <help@example.com>\n\n\n",
    "apple": "Begin forwarded message:\n\nFrom: Ida <ida@example.com>\nSubject: token\nDate: 4 March\nTo: Help\n\n",
    "outlook": "From: Ida\nSent: Monday, March 4, 2024 9:12 AM\nTo: Help\nSubject: token\n\n",
    "outlook-de": "Von: Ida\nGesendet: Montag, 4. März 2024 09:12\nAn: Hilfe\nBetreff: token\n\n",
    "outlook-fr": "De : Ida\nEnvoyé : lundi 4 mars 2024 09:12\nÀ : Aide\nObjet : token\n\n",
    "outlook-es": "De: Ida\nEnviado el: lunes, 4 de marzo de 2024 9:12\nPara: Ayuda\nAsunto: token\n\n",
    "outlook-it": "Da: Ida\nInviato: lunedì 4 marzo 2024 09:12\nA: Aiuto\nOggetto: token\n\n",
    "outlook-nl": "Van: Ida\nVerzonden: maandag 4 maart 2024 09:12\nAan: Hulp\nOnderwerp: token\n\n",
    "outlook-pt": "De: Ida\nEnviada em: segunda-feira, 4 de março de 2024 09:12\nPara: Ajuda\nAssunto: token\n\n",
    "outlook-pl": "Od: Ida\nWysłano: poniedziałek, 4 marca 2024 09:12\nDo: Pomoc\nTemat: token\n\n",
    "thunderbird-de": "-------- Weitergeleitete Nachricht --------\nBetreff: \ttoken\nDatum: \tMon, 4 Mar 2024\n"
    "Von: \tIda <ida@example.com>\nAn: \thelp@example.com\n\n",
    "old-outlook": "-----Original Message-----\nFrom: Ida\nSent: Monday\nTo: Help\nSubject: token\n\n",
}
ATTRIBUTIONS = [
    "On Mon, 3 Mar 2025 at 10:00, Max <m@x.de> wrote:",
    "Am 03.03.2025 um 10:00 schrieb Max Muster <m@x.de>:",
    "Le lun. 3 mars 2025 à 10:00, Max <m@x.de> a écrit :",
    "El lun, 3 mar 2025 a las 10:00, Max (<m@x.de>) escribió:",
    "Il giorno lun 3 mar 2025 alle ore 10:00 Max <m@x.de> ha scritto:",
    "Op ma 3 mrt 2025 om 10:00 schreef Max <m@x.de>:",
    "Em seg., 3 de mar. de 2025 às 10:00, Max <m@x.de> escreveu:",
    "W dniu 3.03.2025 o 10:00, Max pisze:",
]


@pytest.mark.parametrize("note", ["", "FYI\n\n", "Please take this one.\nThanks\n\n"])
@pytest.mark.parametrize("kind", FORWARDS)
def test_a_mail_that_is_passed_on_is_the_ticket(kind: str, note: str) -> None:
    clean = strip_quotes(note + FORWARDS[kind] + MAIL)
    assert clean.endswith(MAIL)
    assert clean.startswith(note.strip())
    assert "token" in clean.removesuffix(MAIL), "its subject is kept"


@pytest.mark.parametrize("kind", [kind for kind in FORWARDS if kind.startswith(("outlook", "old"))])
def test_an_earlier_mail_below_an_answer_is_cut(kind: str) -> None:
    assert strip_quotes(f"{ANSWER}\n\n{FORWARDS[kind]}{MAIL}").strip() == ANSWER


def test_an_answer_inside_a_mail_that_is_passed_on_is_cut() -> None:
    text = f"FYI\n\n{FORWARDS['outlook']}{MAIL}\n\n{ATTRIBUTIONS[0]}\n> old\n> text"
    assert strip_quotes(text).strip().endswith(MAIL)


@pytest.mark.parametrize("line", ATTRIBUTIONS)
def test_attributions_of_eight_languages(line: str) -> None:
    assert strip_quotes(f"{ANSWER}\n\n{line}\n> old\n> text").strip() == ANSWER
    assert strip_quotes(f"{ANSWER}\n\n{line}\n\nold text").strip() == ANSWER


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "Hello <name>, call <tel_num> or <Tel Nummer>",
        "write to <max@firma.de> or <https://firma.de/a?b=1&copy=2>",
        "R&D; AT&T &",
        "see <a> and <code>",
        r"C:\new\test and \\nas01\temp and CORP\nina",
        "Am Montag schrieb ich alles auf: es fehlt viel",
        "> only a quotation",
        "> does it work?\nYes.",
        "$ diff a b\n> new line\n< old line\nWhat is that?",
        "From: Hamburg\nTo: Berlin\nThe parcel is late",
        "From: Monday\nno printing is possible",
        "4f2a9c1e8b7d6f5a4c3b2e1d0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a",
    ],
)
def test_what_is_not_markup_survives(text: str) -> None:
    cleaner = Cleaner()
    assert cleaner.clean(text) == text
    assert sum(cleaner.counts.values()) == 0


@pytest.mark.parametrize(
    ("raw", "clean", "step"),
    [
        (r"Dear team,\n\nI am\tlate.\r\nBye", "Dear team,\n\nI am late.\nBye", "escapes"),
        (r"Team:\n\nHello", "Team:\n\nHello", "escapes"),
        ("one<br>two<br/>three", "one\ntwo\nthree", "html"),
        ('<p class="a>b">Hi&nbsp;<b>you</b> &amp; me</p>', "Hi you & me", "html"),
        ("<html><head><title>x</title></head><style>p{}</style><ul><li>a</li><li>b</li></ul>", "- a\n\n- b", "html"),
        ("<p>Hi <name></p>", "Hi <name>", "html"),
        ("Thanks.\n\nOn Mon, 3 Mar 2025 at 10:00, Max <m@x.de> wrote:\n> old\n> text", "Thanks.", "quotes"),
        ("Danke.\nAm 03.03.2025 um 10:00 schrieb Max Muster <m@x.de>:\nalt", "Danke.", "quotes"),
        ("Hi\n-----Original Message-----\nFrom: a", "Hi", "quotes"),
        (f"{ANSWER}\n\nVon: A\nGesendet: Montag\nAn: B\nBetreff: C\n\nalt", ANSWER, "quotes"),
        ("On 3 Mar 2025, Max wrote:\n> old\n\nMy answer below", "My answer below", "quotes"),
        (f'<img src="data:image/png;base64,{"iVBORw0KGgo" * 500}">Hello', "Hello", "html"),
    ],
)
def test_each_step_cleans_counts_and_can_be_switched_off(raw: str, clean: str, step: str) -> None:
    cleaner = Cleaner()
    assert cleaner.clean(raw) == clean
    assert cleaner.counts[step] == 1
    off = Cleaner(**{step: False})
    assert off.clean(raw) != clean or raw.count("\n") == 0
    assert off.counts[step] == 0


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (f"Look: data:image/png;base64,{'iVBORw0KGgo' * 500} here", "Look: data:image here"),
        ("Look: ![shot](data:image/png;base64,iVBORw0KGgo=) and [cid:image001.png@01D9]", "Look: [image] and [image]"),
        (f"Log:\n{'QUJDREVG' * 40}\nend", "Log:\n[image]\nend"),
        ("\n".join(["Photo:", *["QUJDREVGR0hJSktM" * 4] * 5, "QUJDRA==", "Regards"]), "Photo:\n[image]\nRegards"),
    ],
)
def test_pictures_written_into_a_text_become_a_few_characters(raw: str, clean: str) -> None:
    assert Cleaner().clean(raw) == clean


PATHS = [
    r"npm is not found: C:\Program Files\nodejs\npm.cmd",
    r"I cannot save to D:\reports any more",
    r'The share "\\nas01\reports\new" is gone',
    r"Key HKLM\SYSTEM\CurrentControlSet\Services\tcpip\Parameters is missing",
    r"I start .\run.bat in ..\node_modules and nothing happens",
    r"Profile %USERPROFILE%\ntuser.dat is locked",
    r"The pattern ^\s*[\r\n]+$ and (\n|\t) match too much",
    r"LaTeX: \nabla f = \tau \times \rho and \newline",
    "a real break\nand the pattern \\n\\n in one text",
]
PROSE = [
    r"Dear team,\n\nI am late.\nBye",
    r"Hallo,\nich kann mich nicht anmelden.\nViele Grüße\nAnna",
    r"One line without any",
]


def test_a_source_with_paths_keeps_its_backslashes() -> None:
    cleaner = Cleaner(escapes=None)
    cleaner.decide_escapes(PATHS)
    assert [cleaner.clean(text) for text in PATHS] == PATHS


def test_a_source_that_writes_line_breaks_so_gets_them() -> None:
    cleaner = Cleaner(escapes=None)
    cleaner.decide_escapes([*PROSE, *PATHS[:2]])
    assert cleaner.clean(PROSE[0]) == "Dear team,\n\nI am late.\nBye"
    assert cleaner.clean(PROSE[1]) == "Hallo,\nich kann mich nicht anmelden.\nViele Grüße\nAnna"


def test_what_the_user_says_goes_before_what_the_source_looks_like() -> None:
    for asked in (True, False):
        cleaner = Cleaner(escapes=asked)
        cleaner.decide_escapes(PATHS if asked else PROSE)
        assert cleaner.escapes is asked


def test_a_thread_without_own_words_is_kept_whole() -> None:
    thread = "-----Original Message-----\nFrom: a\nplease help"
    assert strip_quotes(thread) == thread


def test_whitespace_and_control_characters() -> None:
    assert Cleaner().clean(" a\x00\x07  b\r\n\r\n\r\n\r\nc\u200b\ufeff \ud800 ") == "a b\n\nc"


@given(st.text(alphabet=st.sampled_from("ab<>&;/\\nrt\n \"'=:-pOn1\ud800\x00"), max_size=200))
def test_cleaning_never_fails_and_always_gives_plain_text(text: str) -> None:
    clean = Cleaner().clean(text)
    assert clean == clean.strip() and "\x00" not in clean
    clean.encode("utf-8")


@pytest.mark.parametrize(
    "piece",
    [
        "<script>",
        "<a ",
        '<p "',
        "<!--",
        "\\",
        "On 1 ",
        ">",
        "&#",
        "C:\\a",
        "From: a\n",
        "\n>",
        "\n",
        "A" * 70 + "\n",
        "data:a,",
        "![a](",
    ]
    + [text for kind, text in FORWARDS.items() if kind in ("gmail", "outlook")],
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    start = time.thread_time()
    Cleaner().clean(piece * (300_000 // len(piece)))
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("&lt;p&gt;Hello &amp;amp; bye&lt;br/&gt;all&lt;/p&gt;", "Hello & bye\nall"),
        ("&#60;div&#62;a &#38;lt; b&#60;/div&#62;", "a < b"),
        ("&amp;lt;p&amp;gt;Twice&amp;lt;/p&amp;gt;", "Twice"),
        ("Hello,&lt;br /&gt;&lt;br /&gt;it fails", "Hello,\n\nit fails"),
        ("<p>Use &lt;p&gt;x&lt;/p&gt; here</p>", "Use <p>x</p> here"),
        ("the tag &lt;br&gt; is shown", "the tag <br> is shown"),
        ("write &lt;b&gt;this&lt;/b&gt; for bold", "write <b>this</b> for bold"),
    ],
)
def test_html_that_was_escaped_is_html_and_a_text_about_it_is_not(text: str, plain: str) -> None:
    assert Cleaner().clean(text) == plain


WORD = (
    "/* Font Definitions */\n@font-face\n\t{font-family:Calibri;\n\tpanose-1:2 15 5 2;}\n"
    "p.MsoNormal, li.MsoNormal, div.MsoNormal\n\t{margin:0cm;\n\tfont-size:11.0pt;}\n"
    "@page WordSection1\n\t{size:612pt;}\n"
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("P {margin-top:0;margin-bottom:0;}\n\nHello, it fails.", "Hello, it fails."),
        (f"{WORD}-->\nHello, the printer {{A3}} fails.", "Hello, the printer {A3} fails."),
        ("The rule P {margin-top:0}\nhas no effect", "The rule P {margin-top:0}\nhas no effect"),
        ("P {margin-top:0} has no effect", "P {margin-top:0} has no effect"),
        ("body {color: red}\nis ignored", "body {color: red}\nis ignored"),
    ],
)
def test_styles_above_a_text_are_markup(text: str, plain: str) -> None:
    assert Cleaner().clean(text) == plain
    assert Cleaner(html=False).clean(text).startswith(text[:6].strip())
