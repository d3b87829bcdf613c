"""Headers in many languages, repeated columns, empty cells, and columns that are left out: none without a word."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tickets.cell_text import text_or_empty
from tickets.columns.choose import choose_columns
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.preparation.rows import Source

PARTS = ["id", "subject", "body", "queue", "priority", "reply", "created", "tags"]


def write(tmp_path: Path, header: list[str], *rows: list[str], name: str = "t.csv") -> Path:
    with (tmp_path / name).open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    return tmp_path / name


def read(path: Path, *maps: str) -> tuple[Source, list[Any]]:
    source = Source.open(str(path), maps=maps)
    return source, [source.cells(row) for row in source.rows if not row.fault]


@pytest.mark.parametrize(
    "header",
    [
        ["Ticket-Nr.", "Betreff", "Fehlerbeschreibung", "Bearbeitergruppe", "Dringlichkeit", "Lösungsbeschreibung"],
        [
            "RequestID",
            "Request Subject",
            "Request Description",
            "Group",
            "Priority",
            "Resolution",
            "Created Time",
            "Tags",
        ],
        ["Clé de ticket", "Résumé", "Description", "Équipe", "Priorité", "Réponse", "Création", "Étiquettes"],
        ["Nummer", "Kurzbeschreibung", "Beschreibung", "Zuweisungsgruppe", "Priorität", "Lösungsnotizen", "Geöffnet"],
        ["Numéro", "Objet", "Description", "Groupe", "Priorité", "Réponse", "Créé le", "Étiquettes"],
        ["Número", "Asunto", "Descripción", "Grupo", "Prioridad", "Respuesta", "Fecha de creación", "Etiquetas"],
        ["Numero", "Oggetto", "Descrizione", "Gruppo", "Priorità", "Risposta", "Data di creazione", "Tag"],
        ["Nummer", "Onderwerp", "Omschrijving", "Groep", "Prioriteit", "Antwoord", "Aangemaakt op", "Labels"],
        ["Numer", "Temat", "Opis", "Grupa", "Priorytet", "Odpowiedź", "Utworzono", "Tagi"],
        ["Número", "Assunto", "Descrição", "Departamento", "Prioridade", "Resposta", "Data de criação", "Etiquetas"],
        ["Номер", "Тема", "Описание", "Группа", "Приоритет", "Ответ", "Создано", "Теги"],
        ["Ticket ID", "Ticket name", "Ticket description", "Group", "Priority", "Response", "Create date", "Tags"],
    ],
)
def test_headers_of_nine_languages(header: list[str]) -> None:
    columns = choose_columns(header)
    single = [columns.id, columns.subject, columns.body, columns.labels["queue"], columns.labels["priority"]]
    assert [*single, columns.reply, columns.created, *columns.tags][: len(header)] == header


def test_german_jira(tmp_path: Path) -> None:
    header = ["Zusammenfassung", "Vorgangsschlüssel", "Vorgangstyp", "Priorität", "Stichwörter", "Stichwörter"]
    path = write(tmp_path, [*header, "Beschreibung"], ["s", "S-1", "Fehler", "Hoch", "vpn", "druck", "text"])
    source, cells = read(path)
    assert (source.columns.preset, cells[0].tags) == ("jira", ("vpn", "druck"))
    assert (cells[0].parts["id"], cells[0].parts["subject"]) == ("S-1", "s")


def test_repeated_columns_are_combined(tmp_path: Path) -> None:
    path = write(tmp_path, ["Subject", "Message", "Message"], ["s", "one", "two"], ["s", "", "two"], ["s", "a", "a"])
    source, cells = read(path)
    assert [cell.parts["body"] for cell in cells] == ["one\n\ntwo", "two", "a"]
    assert source.part_columns["body"] == "Message, Message.2"


def test_the_first_filled_candidate_of_every_row_is_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, ["id", "description", "details"], ["1", "one", ""], ["2", "nan", "two"], ["3", "three", "x"])
    source, cells = read(path)
    assert [cell.parts["body"] for cell in cells] == ["one", "two", "three"]
    assert "The body of 1 tickets is in the column 'details'" in " ".join(source.notes())
    assert [cell.parts["body"] for cell in read(path, "body=description")[1]] == ["one", "", "three"]


def test_an_error_among_pages_takes_no_column_over(tmp_path: Path) -> None:
    page = {"tickets": [{"id": n, "subject": "s", "body": f"text {n}"} for n in range(4)]}
    lines = [page, {"error": "RateLimited", "description": "Too many requests"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [cell.parts["body"] for cell in read(tmp_path / "t.jsonl")[1]][:4] == [f"text {n}" for n in range(4)]


def test_files_of_an_archive_may_name_their_columns_differently(tmp_path: Path) -> None:
    first = write(tmp_path, ["id", "subject", "body", "queue"], *(["1", "s", "one", "A"] for _ in range(1100)))
    second = write(tmp_path, ["id", "Betreff", "Beschreibung", "Gruppe"], ["2", "t", "two", "B"], name="u.csv")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(first, "a.csv")
        archive.write(second, "b.csv")
    source, cells = read(tmp_path / "t.zip")
    assert (cells[-1].parts["subject"], cells[-1].parts["body"], cells[-1].labels["queue"]) == ("t", "two", "B")
    assert "'Beschreibung'" in " ".join(source.notes())


@pytest.mark.parametrize("cell", ["nan", "None", "NULL", "-", "n/a", "N/A", r"\N", "--", ".", "#N/A", "<NA>", " "])
def test_what_stands_for_an_empty_cell_is_no_text(tmp_path: Path, cell: str) -> None:
    assert text_or_empty(cell).strip() == ""
    header = ["id", "subject", "body", "answer", "tags"]
    cells = read(write(tmp_path, header, ["1", cell, cell, cell, cell], ["2", "s", "b", "An answer.", "vpn"]))[1]
    parts = cells[0].parts
    assert (parts["subject"].strip(), parts["body"].strip(), parts["reply"].strip(), cells[0].tags) == ("", "", "", ())


@pytest.mark.parametrize("text", ["No", "None of them works", "na ja", "?", "0", "NaN in the report"])
def test_what_looks_like_an_empty_cell_and_is_a_text(text: str) -> None:
    assert text_or_empty(text) == text


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-{:02d} 10:05",
        "{:02d}.03.2024",
        "{}.50",
        "{} h 20 min",
        "0{}:30:00",
        "Mar {:02d}, 2024 9:12 AM",
        "KB{:04d}",
    ],
)
def test_dates_and_numbers_are_no_replies(tmp_path: Path, value: str) -> None:
    rows = [[f"text {n}", value.format(n)] for n in range(1, 9)]
    source, cells = read(write(tmp_path, ["body", "resolution"], *rows))
    assert source.columns.reply is None
    assert "it holds dates or numbers" in " ".join(source.notes())
    assert all("reply" not in cell.parts for cell in cells)


@pytest.mark.parametrize("value", ["Restarted {}", "Siehe KB {}", "重新启动打印机 {}", "Use port {}"])
def test_short_answers_are_replies(tmp_path: Path, value: str) -> None:
    rows = [[f"text {n}", value.format(n)] for n in range(20)]
    assert read(write(tmp_path, ["body", "answer"], *rows))[0].columns.reply == "answer"


def test_a_heading_alone_is_a_ticket(tmp_path: Path) -> None:
    source, cells = read(write(tmp_path, ["id", "subject"], ["1", "It does not print"], ["2", "No sound"]))
    assert (cells[0].parts["subject"], cells[0].parts["body"]) == ("It does not print", "")
    assert "their headings are all of it" in " ".join(source.notes())


def test_texts_that_are_not_used_are_named(tmp_path: Path) -> None:
    rows = [[f"text {n}", f"what I found out is number {n}", "A"] for n in range(4)]
    source, _ = read(write(tmp_path, ["body", "Analysis", "queue"], *rows))
    assert "Texts that are not used: Analysis;" in " ".join(source.notes())


@pytest.mark.parametrize(
    "tags",
    [
        {"tags": [{"id": 1, "tag": "vpn"}, {"id": 2, "tag": "printer"}]},
        {"labels": {"nodes": [{"name": "vpn"}, {"name": "printer"}]}},
        {"labels": {"edges": [{"node": {"name": "vpn"}}, {"node": {"name": "printer"}}]}},
        {"tags": {"type": "tag.list", "tags": [{"id": 1, "name": "vpn"}, {"id": 2, "name": "printer"}]}},
        {"tags": {"tags": ["vpn", "printer"]}},
        {"labels": [{"title": "vpn"}, {"title": "printer"}]},
    ],
)
def test_tags_that_are_objects(tmp_path: Path, tags: dict[str, Any]) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"id": n, "subject": "s", "body": "b", **tags} for n in range(3)]))
    assert [cell.tags for cell in read(tmp_path / "t.json")[1]] == [("vpn", "printer")] * 3


def test_a_table_without_names_says_what_to_write_above(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("17,VPN,It stopped working after the update,high\n18,Printer,It jams with every page,low\n")
    with pytest.raises(InputError, match=r"first line looks like a ticket .*such as id,subject,body,queue"):
        prepare(PrepareOptions(str(path), tmp_path / "d"))
