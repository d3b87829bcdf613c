"""What mail programs do to a text: several parts, stubs, attachments, and charsets declared wrongly or not at all."""

import time
from email.message import EmailMessage
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from tests.test_mail import HEAD, as_prepare_reads, mail, read
from tickets.encodings.charsets import codec_of, decode_content
from tickets.formats.mail import mail_row
from tickets.formats.readers import read_rows
from tickets.formats.text_file import read_text
from tickets.raw import ReadLog

RUSSIAN = "Здравствуйте, принтер не печатает с утра, помогите"
FIRST, SECOND = "Hello, this is the screen:", "As you see the total is wrong by ten euros."
LIFT = "The lift in building C stops between two floors every day."
PICTURE = MIMEImage(b"\x89PNG\r\n\x1a\n" + b"0" * 50, "png")
SIGNATURE = "\n\n-- \nIda Example\n" + "Example Industries Ltd, Example Street 12, 12345 Exampletown\n" * 4


def multipart(kind: str, *parts: MIMEBase) -> MIMEMultipart:
    message = MIMEMultipart(kind)
    message["From"], message["Subject"] = "ida@example.com", "s"
    for part in parts:
        message.attach(part)
    return message


def plain(text: str) -> MIMEText:
    return MIMEText(text, "plain", "utf-8")


def rich(text: str) -> MIMEText:
    return MIMEText(f"<p>{text}</p>", "html", "utf-8")


def declared(charset: str, content: bytes, kind: str = "text/plain") -> bytes:
    label = f"; charset={charset}" if charset else ""
    return HEAD + f"MIME-Version: 1.0\r\nContent-Type: {kind}{label}\r\n\r\n".encode() + content


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (multipart("mixed", plain(FIRST), PICTURE, plain(SECOND)), f"{FIRST}\n\n{SECOND}"),
        (multipart("mixed", rich(FIRST), PICTURE, rich(SECOND)), f"{FIRST}\n\n{SECOND}"),
        (multipart("mixed", plain(FIRST), rich(SECOND)), f"{FIRST}\n\n{SECOND}"),
        (multipart("mixed", plain(LIFT), rich(LIFT)), LIFT),
        (
            multipart("alternative", plain(FIRST), multipart("mixed", rich(FIRST), PICTURE, rich(SECOND))),
            FIRST,
        ),
        (multipart("alternative", plain("Your mail program cannot show HTML mails."), rich(LIFT)), LIFT),
        (multipart("alternative", plain("Ihr Programm zeigt kein HTML: https://x.de/1"), rich(LIFT)), LIFT),
        (multipart("alternative", plain(LIFT), rich(f"{LIFT} <b>Ida</b>")), LIFT),
        (multipart("alternative", plain(" \n"), multipart("related", rich(LIFT), PICTURE)), LIFT),
        (multipart("signed", multipart("mixed", plain(LIFT)), MIMEText("seal", "x-pgp")), LIFT),
        (multipart("mixed", multipart("alternative", plain(FIRST), rich(FIRST)), PICTURE, plain(SECOND)), ""),
    ],
)
def test_a_text_is_read_from_all_its_parts(message: MIMEMultipart, body: str, tmp_path: Path) -> None:
    body = body or f"{FIRST}\n\n{SECOND}"
    assert read(bytes(message), tmp_path).body == body
    assert as_prepare_reads(tmp_path / "m.eml")[1] == body


def with_attachment(text: str, attached: EmailMessage | str, name: str = "") -> bytes:
    outer = mail(text)
    if isinstance(attached, str):
        outer.add_attachment(attached, filename=name)
    else:
        outer.add_attachment(attached)
    return bytes(outer)


def test_what_is_attached_to_a_short_text_is_part_of_it(tmp_path: Path) -> None:
    for text in ("Please handle.", f"Please handle.{SIGNATURE}"):
        body = read(with_attachment(text, mail(LIFT, 7)), tmp_path).body
        assert body.startswith("Please handle.") and body.endswith(LIFT) and "Drucker 7" in body
    assert read(with_attachment("See there.", LIFT, "lift.txt"), tmp_path).body == f"See there.\n\nlift.txt:\n{LIFT}"
    saved = MIMEBase("application", "octet-stream")
    saved.set_payload(bytes(mail(LIFT, 8)))
    saved.add_header("Content-Disposition", "attachment", filename="saved.eml")
    body = read(bytes(multipart("mixed", plain("See there."), saved)), tmp_path).body
    assert body.endswith(LIFT) and "Drucker 8" in body


def test_what_is_attached_and_not_read_is_named() -> None:
    long = " ".join(f"word{n}" for n in range(60))
    fields = mail_row(with_attachment(long, LIFT, "lift.txt"), 1).fields
    assert (fields["Body"].strip(), fields["Attachments"]) == (long, "lift.txt")
    assert mail_row(with_attachment(long, mail(LIFT, 7)), 1).fields["Attachments"] == "Drucker 7.eml"
    log = "line\n" * 4_000
    fields = mail_row(with_attachment("See there.", log, "all.log"), 1).fields
    assert (fields["Body"].strip(), fields["Attachments"]) == ("See there.", "all.log")
    assert "Attachments" not in mail_row(bytes(mail(long)), 1).fields


def test_a_name_on_the_only_part_makes_it_no_attachment(tmp_path: Path) -> None:
    content = HEAD + b'Content-Type: text/plain; name="a.txt"\r\nContent-Disposition: attachment\r\n\r\nmy text'
    assert read(content, tmp_path).body == "my text"


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("iso-8859-1", "cp1252", "50 € – laut „Preisliste“ … Größe"),
        ("us-ascii", "cp1252", "Größe"),
        ("gb2312", "gbk", "您好，朱镕基的邮箱无法登录"),
        ("shift_jis", "cp932", "①プリンターが動きません。㈱髙橋商店"),
        ("x-sjis", "cp932", "プリンターが動きません"),
        ("euc-kr", "cp949", "프린터가 작동하지 않습니다 뷁"),
        ("ks_c_5601-1987", "cp949", "프린터가 작동하지 않습니다 뷁"),
        ("iso-8859-8-i", "iso8859_8", "שלום המדפסת לא עובדת"),
        ("windows-874", "cp874", "เครื่องพิมพ์ไม่ทำงาน"),
        ("iso-8859-9", "cp1254", "yazıcı çalışmıyor €"),
        ("big5", "big5hkscs", "印表機壞了 𠝹"),
        ("iso-2022-jp", "iso2022_jp", "プリンターが動きません。"),
        ("unicode-1-1-utf-7", "utf-7", "Größe"),
        ("utf-16", "utf-16-le", "Größe"),
        ("iso-8859-1", "utf-8", "Größe"),
        ("utf-8", "cp1251", RUSSIAN),
        ("utf-8", "cp1252", "Größe"),
        ("x-unknown", "cp1251", RUSSIAN),
        ("", "cp1251", RUSSIAN),
        ("", "koi8_r", RUSSIAN),
        ("", "iso2022_jp", "プリンターが動きません。"),
        ("", "utf-8", "Größe"),
        ("base64", "utf-8", "Größe"),
        ("idna", "utf-8", "Größe"),
    ],
)
def test_charsets_mean_what_programs_write_under_them(charset: str, codec: str, text: str, tmp_path: Path) -> None:
    assert read(declared(charset, text.encode(codec)), tmp_path).body == text
    assert as_prepare_reads(tmp_path / "m.eml")[1] == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Die Größe ".encode() + b"\xff" + " stört uns täglich".encode(), "Die Größe \ufffd stört uns täglich"),
        (
            "Die Übersicht stört, schöne Grüße aus Köl".encode() + b"\xc3",
            "Die Übersicht stört, schöne Grüße aus Köl\ufffd",
        ),
        ("\ufeffGröße".encode(), "Größe"),
    ],
)
def test_a_bad_byte_costs_one_letter(content: bytes, text: str, tmp_path: Path) -> None:
    for charset in ("utf-8", "", "iso-8859-1"):
        assert read(declared(charset, content), tmp_path).body == text, charset


def test_characters_of_nec_and_ibm_in_japanese_mails() -> None:
    assert decode_content(b"\x1b$B-!\x1b(B and \x1b$B%W\x1b(B", "iso-2022-jp")[0] == "① and プ"
    assert decode_content(b"\x1b(I1\x1b(B\x1b$B-!\x1b(B", "iso-2022-jp")[0] == "ア①".replace("ア", "ｱ")


@pytest.mark.parametrize("tag", ['<meta charset="windows-1251">', "<META content='text/html; charset=windows-1251'>"])
def test_an_html_part_names_its_charset_itself(tag: str, tmp_path: Path) -> None:
    page = f"<html><head>{tag}</head><body>Принтер</body></html>".encode("cp1251")
    for charset in ("", "us-ascii"):
        assert read(declared(charset, page, "text/html"), tmp_path).body == "Принтер"


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"=?UTF-8?B?R3LDtsOf?= =?UTF-8?B?ZSDDvGI=?=\r\n =?UTF-8?Q?er_=C3?= =?UTF-8?Q?=A4rger?=", "Größe über ärger"),
        (b"=?gb2312?B?" + b"1uzpRrv5" + b"?=", "朱镕基"),
        (b"=?iso-8859-1?Q?50_=80?= each", "50 € each"),
        (b"=?unknown-8bit?Q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        (b"a =?utf-8?q?b?= =?iso-8859-1?q?c?= d", "a bc d"),
        (b"=?utf-8?b?%%%?= x", "x"),
        (b"100 =? of ?= what", "100 =? of ?= what"),
        (b"\xcf\xf0\xe8\xed\xf2\xe5\xf0 \xed\xe5 \xef\xe5\xf7\xe0\xf2\xe0\xe5\xf2", "Принтер не печатает"),
    ],
)
def test_headers_are_decoded_alike(header: bytes, subject: str, tmp_path: Path) -> None:
    if header.startswith(b"=?gb2312"):
        import base64

        header = b"=?gb2312?B?" + base64.b64encode("朱镕基".encode("gbk")) + b"?="
    assert read(HEAD.replace(b"Drucker", header) + b"\r\nx", tmp_path).subject == subject


def test_a_text_file_in_a_code_page_is_read_and_doubted(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    for codec, text in (("cp1251", RUSSIAN), ("cp1250", "Dziękuję, żółty błąd"), ("cp1252", "Größe")):
        path.write_bytes(text.encode(codec))
        assert read_text(path).body == text
    read_as = "not Unicode, and only 2 bytes are beyond ASCII; read as Windows-1252 (Western European)"
    assert read_text(path).doubt == f"{read_as}; save it as UTF-8 if that is wrong"
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "iso2022_jp"):
        path.write_bytes("Subject: プリンター\n\nお世話になっております".encode(codec))
        assert (read_text(path).subject, read_text(path).doubt) == ("プリンター", "")


@pytest.mark.parametrize("label", ["", " ", "\x00", "a" * 10_000, "idna", "zlib_codec", "rot13", "undefined", "mbcs"])
def test_labels_that_mean_nothing(label: str) -> None:
    assert codec_of(label) is None
    assert decode_content("Größe".encode(), label)[0] == "Größe"


def test_many_parts_take_linear_time() -> None:
    message = multipart("mixed", *[(plain if n % 2 else rich)(f"word{n} other{n}") for n in range(3_000)])
    content = bytes(message)
    start = time.thread_time()
    row = mail_row(content, 1)
    assert time.thread_time() - start < 10
    assert "word0 " in row.fields["Body"] and "word2999 " in row.fields["Body"]


def test_the_report_counts_mails_whose_attachments_were_not_read(tmp_path: Path) -> None:
    for name, message in (
        ("a", with_attachment("word " * 99, mail(LIFT, 7))),
        ("b", bytes(mail("A text of its own."))),
    ):
        (tmp_path / f"{name}.eml").write_bytes(message)
    log = ReadLog()
    assert len(list(read_rows(str(tmp_path), log=log))) == 2
    assert "Attachments of 1 mails were not read." in log.all_notes()


@pytest.mark.parametrize(
    ("parameters", "body", "text"),
    [
        ("; format=flowed", "It fails \r\nsince \r\nMonday.\r\n\r\n From here\r\n-- \r\nIda", "It fails since Monday."),
        (
            "; format=flowed; delsp=yes",
            "see https://example.com/lo \r\nng/path now\r\n",
            "https://example.com/long/path",
        ),
        ("; format=flowed", "On 4 Mar 2024 a@b.org wrote:\r\n> old \r\n> line \r\nAnswer \r\nbelow", "Answer below"),
        ("", "It fails \r\nsince Monday", "It fails \r\nsince Monday"),
    ],
)
def test_soft_line_breaks_of_flowed_text_are_undone(parameters: str, body: str, text: str, tmp_path: Path) -> None:
    head = f"Subject: s\r\nFrom: a@example.com\r\nContent-Type: text/plain; charset=utf-8{parameters}\r\n\r\n"
    row = mail_row((head + body).encode(), 1)
    assert text in row.fields["Body"]
    assert ("-- \nIda" in row.fields["Body"]) == ("-- " in body)
