"""Encodings of tables: code pages of many languages, UTF-16 and UTF-32 with and without a mark, and names asked for."""

import json
from pathlib import Path

import pytest

from tests.test_exports import prepared
from tickets.encodings.code_pages import detect_code_page
from tickets.encodings.detect import detect_encoding, is_broken, text_lines
from tickets.errors import InputError

GERMAN = "Der Drucker läuft nicht, bitte Größe und Schlüssel prüfen; die Tür öffnet auch nicht, schöne Grüße"
FRENCH = "L'imprimante du troisième étage ne démarre pas, où est le réglage ? Ça bloque à côté, êtes-vous sûr ?"
SPANISH = "¿Dónde está la configuración? Mañana necesito el informe, señor, además no veo la página"
POLISH = "Dzień dobry, drukarka na trzecim piętrze nie działa, proszę o pomoc, żółty ekran i błąd, karta też źle"
CZECH = "Dobrý den, tiskárna ve třetím patře netiskne, prosím přidejte kolegyni, žluťoučký kůň a čtečka"
HUNGARIAN = "Jó napot, a nyomtató reggel óta nem működik, kérem vegyék fel az új kolléganőt, eltűnt a közös fájl"
TURKISH = "Merhaba, üçüncü kattaki yazıcı sabahtan beri yazdırmıyor, şifre değişmedi, çalışanı ekleyin, İzmir"
RUSSIAN = "Здравствуйте, принтер на третьем этаже не печатает с утра, пришлите техника"
UKRAINIAN = "Добрий день, принтер на третьому поверсі не працює, надішліть техніка, її ім'я є в базі"
GREEK = "Καλημέρα, ο εκτυπωτής στον τρίτο όροφο δεν λειτουργεί, παρακαλώ στείλτε τεχνικό"
HEBREW = "שלום המדפסת בקומה השלישית לא עובדת מהבוקר, אנא שלחו טכנאי"
ARABIC = "مرحبا، الطابعة في الطابق الثالث لا تعمل منذ الصباح، الرجاء إرسال فني"
THAI = "สวัสดี เครื่องพิมพ์ชั้นสามไม่ทำงานตั้งแต่เช้า กรุณาส่งช่าง"
JAPANESE = "お世話になっております。三階のプリンターが今朝から印刷できません。"
CHINESE = "您好，三楼的打印机从早上起就不能打印了，请派技术人员来，一切无法登录"
KOREAN = "안녕하세요 삼층 프린터가 아침부터 작동하지 않습니다 기술자를 보내 주세요"
CODE_PAGES = [
    *((codec, text) for text in (GERMAN, FRENCH, SPANISH) for codec in ("cp1252", "cp850", "mac_roman")),
    *((codec, text) for text in (POLISH, CZECH, HUNGARIAN) for codec in ("cp1250", "iso8859_2", "cp852")),
    *((codec, TURKISH) for codec in ("cp1254", "cp857")),
    *((codec, RUSSIAN) for codec in ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")),
    *((codec, UKRAINIAN) for codec in ("cp1251", "koi8_u")),
    ("cp1253", GREEK),
    ("cp1255", HEBREW),
    ("cp1256", ARABIC),
    ("cp874", THAI),
    ("cp932", JAPANESE),
    ("euc_jp", JAPANESE),
    ("gb18030", CHINESE),
    ("euc_kr", KOREAN),
]
EVERY = [GERMAN, POLISH, RUSSIAN, GREEK, HEBREW, THAI, JAPANESE, CHINESE, KOREAN, "only ASCII, plain and short"]


def table(text: str) -> str:
    return "id,subject,body\r\n" + "".join(f'{n},s{n},"{text} {n}"\r\n' for n in range(12))


def content_of(path: Path, asked: str | None = None) -> str:
    return "".join(text_lines(path, detect_encoding(path, asked)))


@pytest.mark.parametrize(("codec", "text"), CODE_PAGES)
def test_a_code_page_is_told_by_the_letters_of_a_language(codec: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table(text).encode(codec))
    assert content_of(path) == table(text)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1251", "Здравствуйте, принтер не печатает"),
        ("cp1251", "The order of Спасибо, Иван is late"),
        ("cp1250", "Dziękuję, Łukasz Żak"),
        ("cp850", "Größe"),
        ("cp1252", "Größe"),
        ("cp1252", "costs 50 € – “quoted” … done"),
        ("cp1252", "Müller, Peña, Åse, Ørsted and Conceição"),
    ],
)
def test_a_few_letters_are_enough(codec: str, text: str, tmp_path: Path) -> None:
    got, name, doubt = detect_code_page(text.encode(codec))
    assert text.encode(codec).decode(got) == text
    (tmp_path / "t.csv").write_bytes(text.encode(codec))
    note = detect_encoding(tmp_path / "t.csv").doubt
    assert "only" in doubt and name in doubt and note == f"{doubt}; name another with --encoding"


def test_old_code_pages_are_named_in_a_note(tmp_path: Path) -> None:
    for codec, named in (("cp850", "IBM 850"), ("mac_roman", "Mac Roman"), ("cp1252", "Windows-1252")):
        (tmp_path / "t.csv").write_bytes(table(GERMAN).encode(codec))
        report, _ = prepared(tmp_path / "t.csv", split="random")
        assert [note for note in report.notes if named in note and "--encoding" in note], codec


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-8", "utf-8-sig"])
def test_unicode_is_read_with_and_without_a_mark_and_when_asked_for(codec: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table(text).encode(codec))
    for asked in (None, codec, codec.removesuffix("-le").removesuffix("-be").removesuffix("-sig")):
        assert content_of(path, asked) == table(text), asked


@pytest.mark.parametrize("asked", ["utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_a_mark_is_no_part_of_the_first_column(asked: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(("\ufeff" + table(CHINESE)).encode(asked if asked != "utf-16" else "utf-16-be"))
    assert content_of(path, asked) == table(CHINESE)


def test_japanese_of_mails_is_told_by_its_escape_sequences(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table(JAPANESE).encode("iso2022_jp"))
    assert content_of(path) == content_of(path, "iso-2022-jp") == table(JAPANESE)
    path.write_bytes(b"id,body\r\n1,\x1b[31mred\x1b[0m log\r\n")
    assert detect_encoding(path).codec == "utf-8"


@pytest.mark.parametrize(
    ("asked", "codec", "text"),
    [
        ("latin-1", "cp1252", "costs 50 € – “quoted”…"),
        ("iso-8859-1", "cp1252", "50 €"),
        ("gb2312", "gbk", "朱镕基"),
        ("shift_jis", "cp932", "①㈱髙橋"),
        ("euc-kr", "cp949", "뷁"),
        ("ks_c_5601-1987", "cp949", "뷁"),
        ("windows-874", "cp874", THAI),
        ("iso-8859-8-i", "iso8859_8", "שלום"),
        ("x-sjis", "cp932", JAPANESE),
        ("big5", "cp950", "印表機"),
    ],
)
def test_a_label_means_the_wider_code_page(asked: str, codec: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table(text).encode(codec))
    assert content_of(path, asked) == table(text)


def test_every_byte_of_latin_1_has_a_meaning(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"body\r\na \x81 b\r\n")
    assert not is_broken(content_of(tmp_path / "t.csv", "latin-1"))
    assert is_broken(content_of(tmp_path / "t.csv", "cp1252"))


@pytest.mark.parametrize(
    "asked",
    ["idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "base64", "rot13", "zlib", "\x00", " "],
)
def test_what_is_no_encoding_of_a_file_is_refused(asked: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table("plain"))
    with pytest.raises(InputError, match=r"found --encoding .*expected a name such as"):
        prepared(tmp_path / "t.csv", encoding=asked)


@pytest.mark.parametrize(
    ("asked", "codec"),
    [
        ("utf-16", "utf-8"),
        ("utf-16-le", "utf-8"),
        ("utf-16-be", "utf-16-le"),
        ("utf-32", "utf-16"),
        ("utf-32", "utf-8"),
    ],
)
def test_an_encoding_that_the_file_is_not_in_is_refused(asked: str, codec: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(table("plain text").encode(codec))
    with pytest.raises(InputError, match="which this file is not in") as caught:
        prepared(tmp_path / "t.csv", encoding=asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("asked", ["iso-2022-jp", "utf-7", "hz", "gb18030", "cp932", "utf-8", "utf-16"])
def test_bytes_that_an_encoding_does_not_know_cost_their_rows_alone(asked: str, tmp_path: Path) -> None:
    good = table("plain text").encode("utf-16" if asked == "utf-16" else "ascii")
    bad = b"\xd8\x00x" if asked == "utf-16" else b'90,s,"a \x1b$B\xff\xff +// ~{\x80 x"\r\n'
    (tmp_path / "t.csv").write_bytes(good + bad)
    lines = list(text_lines(tmp_path / "t.csv", detect_encoding(tmp_path / "t.csv", asked)))
    assert lines[:13] == table("plain text").splitlines(keepends=True)


@pytest.mark.parametrize("noise", [bytes(range(256)) * 20, b"\x01\x00\x02\x00" * 900, b"\x00\x3f\x80\xc1" * 900])
def test_binary_data_is_no_utf_16(noise: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(noise)
    with pytest.raises(InputError, match="binary data"):
        detect_encoding(tmp_path / "t.csv")


def test_stray_nuls_make_no_utf_16(tmp_path: Path) -> None:
    text = table("a longer line of plain text with words")
    (tmp_path / "t.csv").write_bytes(text.replace("plain", "pl\x00a\x00\x00in").encode())
    assert content_of(tmp_path / "t.csv") == text


def test_half_a_character_in_names_and_values_ends_in_no_traceback(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{n}\ud800",
            "subject": f"s{n}\udcff",
            "body": f"printer{n} \ud83d door{n} lamp{n} chair{n}",
            "queue\ud800": "AB"[n % 2],
            "created": f"2024-03-{n + 1:02d}\udc00",
            "tags": ["a\ud800"],
            "user\udcff": {"name\ud800": "Ida\ud800"},
        }
        for n in range(16)
    ]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    report, tickets = prepared(tmp_path / "t.json", maps=("queue=queue\ud800",), redact=True)
    assert report.kept == 16 and {ticket.labels["queue"] for ticket in tickets} == {"A", "B"}
    saved = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert saved["columns"]["queue"] == "queue\ud800"
