"""Comparing systems: metrics against known answers, the report, resumption, intervals, confidence and human ratings."""

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu import corpus_bleu as corpus_bleu_of_sacrebleu
from transformers import BertConfig, BertModel

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.prompts import PromptEncoder
from classifier.calibration import HeadCalibration
from classifier.metrics import softmax
from eval.bertscore import bert_score
from eval.bootstrap import Resamples, mcnemar
from eval.compare import CompareOptions, compare
from eval.confidence import confidence_report
from eval.human import make_sheet, score_sheets
from eval.labels import macro_f1_replicates, score_column, tag_scores
from eval.references import nearest_neighbours
from eval.reply_metrics import TrainingReplies
from eval.reply_scores import bucket_of, corpus_bleu, score_replies
from eval.report.blocks import Chart, Table
from eval.report.costs import losses
from eval.report.page import read_report, write_report
from eval.report.verdicts import published
from eval.saved_keys import from_saved, to_saved
from eval.slices import slices_of
from eval.systems import Output
from generator.single_prompt.train import train_baseline
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parent.parent.parent / "shared"
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def comparison(trained_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison") / "out"
    compare(CompareOptions([trained_run.folder], out, timed=1))
    return out


@pytest.fixture(scope="session")
def bert_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder of three layers that knows four words."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "dear"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    config = BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(folder)
    return folder


def test_the_report_holds_every_system_and_section(comparison: Path) -> None:
    record = read_report(comparison)
    assert [system["name"] for system in record["systems"]] == [
        "two-stage",
        "single-prompt",
        "single-prompt, constrained",
        "zero-shot base",
        "nearest neighbour",
        "TF-IDF + logistic regression",
        "majority class",
    ]
    assert len(record["pairs"]) == 7 * 6 / 2
    by_name = {system["name"]: system for system in record["systems"]}
    assert by_name["single-prompt, constrained"]["unparsable"]["value"] == 0
    assert by_name["two-stage"]["unparsable"]["value"] == 0
    assert by_name["zero-shot base"]["unparsable"]["value"] == 1
    assert set(by_name["two-stage"]["confidence"]) == {"type", "queue", "priority"}
    text = (comparison / "report.md").read_text(encoding="utf-8")
    for title in (
        "Summary",
        "Labels",
        "Confidence",
        "Replies",
        "Loss",
        "Cost",
        "Uncertainty",
        "Targets",
        "Worked examples",
    ):
        assert re.search(rf"^## (\d+\. )?{title}$", text, re.M), title
    assert "not computed" in text
    lines = (comparison / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == record["tickets"] == 16
    assert set(json.loads(lines[0])["systems"]) == set(by_name)
    json.loads((comparison / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)  # no NaN


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.outside.append(value)
            if name == "id" and value:
                self.ids.append(value)


def test_answers_and_reports_keep_their_keys(comparison: Path) -> None:
    output = Output("7", {}, unknown_labels={"queue": "Marketing"}, nearest={"queue": "Market"})
    saved = to_saved(output)
    assert saved["foreign"] == {"queue": "Marketing"} and "unknown_labels" not in saved
    assert Output(**from_saved(saved)) == output
    assert all({"foreign", "nearly"} <= system.keys() for system in read_report(comparison)["systems"])


def test_the_page_needs_nothing_but_itself(comparison: Path) -> None:
    page = _Page()
    text = (comparison / "report.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.outside == []
    assert len(page.ids) == len(set(page.ids))
    references = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert references and set(references) <= set(page.ids)
    assert "script" not in page.tags
    assert page.tags.count("svg") >= 8
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert not re.search(r"#0[0-9a-f]030[13]|#020202|#010101", text)  # every drawn colour follows the style sheet


def test_text_of_tickets_stays_text(trained_run: RunConfig, comparison: Path) -> None:
    record = read_report(comparison)
    record["examples"][0]["ticket"]["body"] = "<script>alert(1)</script> | a"
    page = write_report(record, comparison.parent / "hostile")
    assert "<script>" not in page.read_text(encoding="utf-8")


def test_answers_are_kept_and_gone_on_from(
    trained_run: RunConfig, comparison: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_report(comparison)
    path = next((comparison / "answers").glob("two-stage-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # killed in the middle of a line
    compare(CompareOptions([trained_run.folder], comparison, timed=1))
    assert "5 of 16 tickets were answered before" in capsys.readouterr().err
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()] == [json.loads(x)["id"] for x in lines]
    after = read_report(comparison)
    for ours, theirs in zip(before["systems"], after["systems"], strict=True):
        assert {**ours, "cost": None} == {**theirs, "cost": None}
    assert all(system["cost"]["truncated"] == 0 for system in after["systems"])


def test_runs_of_several_ranks_get_a_chart(trained_run: RunConfig, tmp_path: Path, bert_encoder: Path) -> None:
    wide = trained_run.model_copy(
        update={"output": str(tmp_path / "wide"), "lora": trained_run.lora.model_copy(update={"rank": 8})}
    )
    train_baseline(wide)
    out = tmp_path / "out"
    runs = [trained_run.folder, wide.folder]
    compare(CompareOptions(runs, out, limit=4, timed=0, with_zero_shot=False, bertscore_model=bert_encoder))
    names = [system["name"] for system in read_report(out)["systems"]]
    assert names[:3] == ["two-stage", "single-prompt (run)", "single-prompt, constrained (run)"]
    assert "single-prompt (wide)" in names
    assert "against the rank" in (out / "report.html").read_text(encoding="utf-8")
    pair = read_report(out)["pairs"][0]
    assert {"low", "high", "p", "value"} <= set(pair["replies"]["bertscore"])
    assert f"BERTScore: {bert_encoder}, layer 2" in (out / "report.md").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_one_line(trained_run: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        compare(CompareOptions([tmp_path / "nothing"], tmp_path / "out"))
    with pytest.raises(InputError, match=r"report\.json: not readable"):
        compare(CompareOptions([trained_run.folder], tmp_path / "out", beside=tmp_path))
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="run the same `duet compare` again"):
        read_report(tmp_path)


def test_label_scores_of_a_known_table() -> None:
    truth = ["a", "a", "a", "b", "b", "c"]
    given = ["a", "a", "b", "b", None, "d"]
    scores = score_column(truth, given, Resamples(6), macro_f1_replicates(truth, given, Resamples(6)))
    assert scores.accuracy.value == pytest.approx(3 / 6)
    assert scores.classes["a"].precision.value == 1.0
    assert scores.classes["a"].recall.value == pytest.approx(2 / 3)
    assert scores.classes["b"].f1.value == pytest.approx(0.5)
    assert scores.macro_f1.value == pytest.approx((0.8 + 0.5 + 0) / 3)  # over the true classes, the same for everybody
    assert scores.predicted == ("a", "b", "c", "d")
    assert scores.confusion == ((2, 1, 0, 0, 0), (0, 1, 0, 0, 1), (0, 0, 0, 1, 0))
    assert scores.missing == pytest.approx(1 / 6)
    assert scores.accuracy.low <= scores.accuracy.value <= scores.accuracy.high


def test_macro_f1_is_scikit_learns() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, given = (rng.choice(list("abcd"), 300).tolist() for _ in range(2))
    wanted = f1_score(truth, given, average="macro")
    replicates = macro_f1_replicates(truth, given, Resamples(300))
    assert score_column(truth, given, Resamples(300), replicates).macro_f1.value == pytest.approx(wanted)
    assert replicates[-1] == pytest.approx(wanted)
    assert Resamples(300).replicate_difference(replicates, replicates).p == 1.0


def test_tags_count_every_tag() -> None:
    tickets = [Ticket("1", "", "b", tags=("x", "y")), Ticket("2", "", "b", tags=("z",))]
    assert tag_scores(tickets, [("x",), ("q",)], Resamples(2)).value == pytest.approx(2 * 1 / 5)


def test_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        score = Resamples(150).mean(rng.binomial(1, 0.7, 150).astype(float))
        inside += score.low <= 0.7 <= score.high
    assert 180 <= inside <= 198  # 95 % of 200 is 190; five standard deviations of chance would be 15


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(0, 5, 400)
    better = Resamples(400).difference(hard + 0.2 + rng.normal(0, 0.1, 400), hard)
    assert better.p < 0.01  # the tickets' own spread is fifty times the difference, and cancels
    assert Resamples(400).difference(hard, hard).p == 1.0
    gone = Resamples(3).difference(np.array([1.0, np.nan, 2.0]), np.array([0.0, 5.0, 0.0]))
    assert gone.value == pytest.approx(1.5)


def test_mcnemar_counts_what_only_one_has_right() -> None:
    first = np.array([True] * 12 + [False] * 2 + [True] * 50)
    second = np.array([False] * 12 + [True] * 2 + [True] * 50)
    assert mcnemar(first, second) == pytest.approx(0.012939453125)  # binomial(14, 1/2), 2 or fewer, both sides
    assert mcnemar(first, first) == 1.0


def test_reply_metrics_of_known_replies() -> None:
    reference = "Dear <name>, please call <tel_num> about the broken Falcon 9 printer before 12 May."
    tickets = [Ticket("1", "", "The Falcon 9 printer fails since 12 May, please help.", reply=reference)] * 3
    replies = [reference, "", "Größere Störungen: <email>"]
    training = TrainingReplies(["We ask you to " + reference])
    scores = score_replies(tickets, replies, training)
    assert scores.values["rougeL"].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert scores.values["bleu"][0] == pytest.approx(1.0)
    assert scores.values["bleu"][1] == 0.0
    assert scores.values["copied"][0] == 1.0
    assert np.isnan(scores.values["copied"][1])
    assert scores.values["placeholders_kept"].tolist() == [1.0, 0.0, 0.0]
    assert scores.values["placeholders_lost"].tolist() == [0.0, 1.0, 1.0]
    assert scores.values["placeholders_invented"].tolist() == [0.0, 0.0, 1.0]
    assert scores.values["names_own"].tolist() == [1.0, 0.0, 0.0]
    assert scores.values["own_names"].tolist() == [1.0, 0.0, 0.0]
    assert scores.values["own_dates"].tolist() == [1.0, 0.0, 0.0]
    assert scores.values["empty"].tolist() == [0.0, 1.0, 0.0]
    assert scores.bleu_signature.startswith("nrefs:1")
    other = score_replies(tickets[:1], ["Dear [Name], please call {tel_num}; it is 2019."], training)
    assert other.values["placeholders_kept"].tolist() == [1.0]
    assert other.values["own_numbers"].tolist() == [0.0]  # the 9 in 2019 is not the ticket's 9
    assert [bucket_of(value) for value in (0.6, 0.5, 0.3, 0.1)] == ["> 0.5", "0.3-0.5", "0.3-0.5", "< 0.3"]


def test_corpus_bleu_is_sacrebleus(tickets: list[Ticket]) -> None:
    replies = [f"Thank you. {ticket.reply[:60]}" for ticket in tickets[:9]]
    scores = score_replies(tickets[:9], replies, TrainingReplies([]))
    wanted = corpus_bleu_of_sacrebleu(replies, [[ticket.reply for ticket in tickets[:9]]]).score
    assert corpus_bleu(scores.bleu.sum(axis=0)) == pytest.approx(wanted)
    spread = scores.spread([0, 2, 3, 4, 5, 6, 7, 8, 9], 12)  # three tickets without a true reply
    assert corpus_bleu(spread.bleu.sum(axis=0)) == pytest.approx(wanted)
    words, wanted_words = spread.ratios["mean_words_ratio"]
    assert (words.sum(), wanted_words.sum()) == tuple(
        sum(len(text.split()) for text in texts) for texts in (replies, [ticket.reply for ticket in tickets[:9]])
    )


def test_unicode_rouge_sees_umlauts_that_the_published_one_splits() -> None:
    ticket = Ticket("1", "", "b", reply="Müller")
    scores = score_replies([ticket], ["Möller"], TrainingReplies([]))
    assert scores.values["rouge1"][0] > 0  # "m" and "ller"
    assert scores.values["rouge1_unicode"][0] == 0


def test_published_scores_are_those_of_the_reference() -> None:
    path = SHARED / "reference" / "published_results.json"
    if not path.is_file():
        pytest.skip("the published results are not here")
    reference = json.loads(path.read_text(encoding="utf-8"))
    best, ours = reference["systems"]["lora-rank128"], published()["systems"]["7B single prompt, rank 128"]
    assert float(ours["priority"]) == pytest.approx(best["priority_accuracy"], abs=5e-4)
    assert float(ours["queue"]) == pytest.approx(best["queue_accuracy"], abs=5e-4)
    assert float(ours["rougeL"]) == pytest.approx(best["rougeL"], abs=6e-4)
    assert float(ours["low_recall"]) == best["priority_confusion_row_normalised"]["low"]["low"]
    assert list(published()["buckets"].values()) == list(best["rougeL_buckets"].values())
    targets = reference["targets"]
    assert published()["targets"]["priority"] == targets["priority_accuracy"]
    assert published()["targets"]["loss_ratio"] == targets["val_train_loss_ratio"]


def test_published_metrics_are_computed_as_published() -> None:
    """Rank 64's first hundred outputs, cut at 500 characters like their references, must land near its scores."""
    path = SHARED / "reference" / "published_outputs.csv"
    if not path.is_file():
        pytest.skip("the published outputs are not here")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["system"] == "lora-rank64"]
    parts = [[row[name].partition("Response:\n")[2] for row in rows] for name in ("reference", "prediction")]
    tickets = [Ticket(str(i), "", "b", reply=text) for i, text in enumerate(parts[0])]
    scores = score_replies(tickets, parts[1], TrainingReplies([]))
    assert np.mean(scores.values["rougeL"]) == pytest.approx(0.397, abs=0.06)
    assert np.mean(scores.values["rouge1"]) == pytest.approx(0.514, abs=0.06)


def test_calibration_error_before_and_after() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1, (4000, 3))
    targets = [int(rng.choice(3, p=row)) for row in softmax(logits)]
    head = HeadCalibration((0.0, 0.0, 0.0), 4.0, 0.6)  # the model was four times too sure; the temperature mends it
    rows = head.probabilities(logits * 4.0)
    probabilities = [dict(zip("abc", row, strict=True)) for row in rows]
    given = ["abc"[place] for place in rows.argmax(axis=1)]
    report = confidence_report(probabilities, given, ["abc"[t] for t in targets], head, 0.8, Resamples(4000))
    assert report.error_before is not None
    assert report.error_after.value < 0.03 < 0.2 < report.error_before.low < report.error_before.value
    assert report.accuracy_above.low < report.accuracy_above.value < report.accuracy_above.high
    assert report.coverage[-1][0] == 1.0
    assert report.accuracy_above.value > report.coverage[-1][1]
    assert sum(b.tickets for b in report.reliability) == 4000


def test_slices_tell_near_duplicates_apart(tickets: list[Ticket]) -> None:
    test, train = tickets[:40], tickets[60:]
    copies = [replace(ticket, id=f"copy-{ticket.id}") for ticket in test[:15]]
    found = {(group, name): rows for group, name, rows in slices_of(test, [*train, *copies], ["priority"])}
    assert set(found[("near-duplicate in training", "yes")]) >= set(range(15))
    assert ("length", "short third") in found
    assert {group for group, _ in found} >= {"language", "priority", "length"}


def test_labels_with_dollar_signs_can_be_drawn(comparison: Path, tmp_path: Path) -> None:
    text = (comparison / "report.json").read_text(encoding="utf-8").replace('"Incident"', '"$\\\\foo$"')
    page = write_report(json.loads(text), tmp_path)
    assert "$\\foo$" in page.read_text(encoding="utf-8")


def test_the_nearest_neighbour_is_the_ticket_itself(tickets: list[Ticket]) -> None:
    assert [t.id for t in nearest_neighbours(tickets, tickets[10:20])] == [t.id for t in tickets[10:20]]


def test_bertscore_on_a_tiny_encoder(tmp_path: Path, bert_encoder: Path) -> None:
    found = bert_score(["hello world", "", "dear"], ["hello world", "hello", "world"], bert_encoder)
    assert found.layer == 2
    assert found.f1[0] == pytest.approx(1.0, abs=1e-5)
    assert found.f1[1] == 0.0
    assert found.f1[2] < 1.0
    with pytest.raises(InputError, match="has 3 layers"):
        bert_score(["a"], ["b"], bert_encoder, layer=4)
    with pytest.raises(InputError, match="no such folder"):
        bert_score(["a"], ["b"], tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not an encoder"):
        bert_score(["a"], ["b"], tmp_path / "empty")


Fill = Callable[[str, int], list[str]]


def _filled(sheet: Path, out: Path, fill: Fill) -> Path:
    with sheet.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines))
    for i, row in enumerate(rows[1:]):
        row[3:8] = fill(row[0], i)
    with out.open("w", encoding="utf-8-sig", newline="") as lines:
        csv.writer(lines).writerows(rows)
    return out


def test_human_ratings_from_sheet_to_report(
    trained_run: RunConfig, comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = make_sheet(comparison, tickets=8, systems=["two-stage", "single-prompt"])
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    key = json.loads((comparison / "human_eval.key.json").read_text(encoding="utf-8"))
    assert len(key) == 16
    assert {name for entry in key.values() for name in entry["systems"]} == {"two-stage", "single-prompt"}
    text = sheet.read_text(encoding="utf-8-sig")
    assert "two-stage" not in text  # blinded
    first = {entry["systems"][0] for row, entry in key.items() if row.endswith("-A")}
    assert len(first) == 2  # shuffled: either system comes first somewhere

    def ours_better(row: str, _: int) -> list[str]:
        return ["4" if key[row]["systems"] == ["two-stage"] else "2"] * 5

    raters = [_filled(sheet, tmp_path / "a.csv", ours_better)]
    with pytest.raises(InputError, match="one sheet of every rater"):
        score_sheets(raters * 2, comparison)
    raters.append(_filled(sheet, tmp_path / "b.csv", lambda row, i: ours_better(row, i) if i else [""] * 5))
    scores = score_sheets(raters, comparison)
    assert "75 of 80 scores" in capsys.readouterr().err
    assert (scores.raters, scores.tickets) == (2, 8)
    assert scores.systems["two-stage"]["overall"]["value"] == 4
    assert scores.agreement["tone"] == pytest.approx(1.0)
    (win,) = scores.wins
    assert (win["first"], win["second"]) == ("single-prompt", "two-stage")
    assert [win[key]["value"] for key in ("wins", "ties", "losses")] == [0, 0, 1]
    assert scores.rated == {"single-prompt": 8, "two-stage": 8}
    text = (comparison / "report.md").read_text(encoding="utf-8")
    assert "2 raters, 8 tickets, 16 of 16 rows rated" in text
    # ratings stay with their answers, and with no others
    other = shutil.copytree(comparison, tmp_path / "other")
    compare(CompareOptions([trained_run.folder], other, timed=1))
    assert read_report(other)["human"]
    compare(CompareOptions([trained_run.folder], other, timed=0, limit=5))
    assert read_report(other)["human"] is None
    assert "belong to other answers" in capsys.readouterr().err
    with pytest.raises(InputError, match="not of the answers there"):
        score_sheets(raters, other)


def test_what_two_systems_wrote_alike_is_rated_once(comparison: Path, tmp_path: Path) -> None:
    lines = (comparison / "answers.jsonl").read_text(encoding="utf-8").split("\n")
    record = json.loads(lines[0])
    for name, reply in (("two-stage", "Same\u2028text"), ("single-prompt", "Same\u2028text"), ("zero-shot base", "=x")):
        record["systems"][name]["reply"] = reply
    (tmp_path / "answers.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    make_sheet(tmp_path, systems=["two-stage", "single-prompt", "zero-shot base"])
    key = json.loads((tmp_path / "human_eval.key.json").read_text(encoding="utf-8"))
    assert sorted(sorted(entry["systems"]) for entry in key.values()) == [
        ["single-prompt", "two-stage"],
        ["zero-shot base"],
    ]


@pytest.mark.parametrize("kind", ["semicolons", "tabs in UTF-16", "sep line", "code page", "capitals and a short row"])
def test_sheets_are_read_as_spreadsheets_save_them(comparison: Path, tmp_path: Path, kind: str) -> None:
    copy = shutil.copytree(comparison, tmp_path / "copy", ignore=shutil.ignore_patterns("human_eval*"))
    filled = _filled(make_sheet(copy, tickets=4), tmp_path / "a.csv", lambda row, i: [str(i % 5 + 1)] * 5)
    with filled.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines))
    out = io.StringIO(newline="")
    separator = {"tabs in UTF-16": "\t", "capitals and a short row": ","}.get(kind, ";")
    if "capitals" in kind:
        rows[0] = [f" {name.upper()} " for name in rows[0]]
        rows.append(["", "a note"])
    rows[1][-1] = "fünf\x0b"
    csv.writer(out, delimiter=separator).writerows(rows)
    text = ("sep=;\r\n" if kind == "sep line" else "") + out.getvalue()
    encoding = {"tabs in UTF-16": "utf-16", "code page": "cp1252"}.get(kind, "utf-8-sig")
    filled.write_bytes(text.encode(encoding, errors="replace"))
    scores = score_sheets([filled], copy)
    assert scores.rows[0] == scores.rows[1] == len(rows) - 1 - ("capitals" in kind)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda row, i: ["6"] * 5, "found '6', expected a whole number from 1 to 5"),
        (lambda row, i: ["good"] * 5, "found 'good'"),
        (lambda row, i: ["9" * 5000] * 5, "found '99999999999999999999', expected"),
        (lambda row, i: [""] * 5, "holds no score"),
    ],
)
def test_wrong_ratings_are_named(comparison: Path, tmp_path: Path, fill: Fill, message: str) -> None:
    shutil.copytree(comparison, tmp_path / "copy", ignore=shutil.ignore_patterns("human_eval*"))
    sheet = make_sheet(tmp_path / "copy", tickets=4)
    with pytest.raises(InputError, match=message):
        score_sheets([_filled(sheet, tmp_path / "a.csv", fill)], tmp_path / "copy")
    with pytest.raises(InputError, match="filled sheets may go with it"):
        make_sheet(tmp_path / "copy", tickets=5)


def test_a_dimension_nobody_rated_is_left_open(comparison: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(comparison, tmp_path / "copy", ignore=shutil.ignore_patterns("human_eval*"))
    sheet = make_sheet(copy, tickets=4)
    score_sheets([_filled(sheet, tmp_path / "a.csv", lambda row, i: ["3", "4", "", "5", ""])], copy)
    json.loads((copy / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert "nan [" not in (copy / "report.md").read_text(encoding="utf-8")


def test_formulas_in_a_sheet_are_text(comparison: Path, tmp_path: Path) -> None:
    lines = (comparison / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(lines[0])
    record["systems"]["two-stage"]["reply"] = '=HYPERLINK("http://example.org")'
    for wrong in ("", "{}", "null"):
        (tmp_path / "answers.jsonl").write_text(wrong, encoding="utf-8")
        with pytest.raises(InputError, match="expected what `duet compare` writes"):
            make_sheet(tmp_path)
    (tmp_path / "answers.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    with make_sheet(tmp_path).open(encoding="utf-8-sig", newline="") as rows:
        cells = [cell for row in csv.reader(rows) for cell in row]
    assert '\'=HYPERLINK("http://example.org")' in cells
    with pytest.raises(InputError, match="expected systems of"):
        make_sheet(tmp_path, systems=["mine"])


FULL = bool(os.environ.get("DUET_PUBLISHED"))


@pytest.mark.timeout(1500 if FULL else 900)
def test_make_published_runs_its_file_end_to_end(tiny_base: Path, tickets: list[Ticket], tmp_path: Path) -> None:
    """The published configuration as it stands, but for base, data and steps, by the very make target."""
    source = tmp_path / "tickets.csv"
    queues = ("Technical Support", "Billing and Payments")
    with source.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["subject", "body", "answer", "type", "queue", "priority", "language", "tag_1"])
        for i, ticket in enumerate(tickets[:120]):
            labels = ("Incident" if i % 3 else "Request", queues[i % 2], ("low", "medium", "high")[i % 3])
            writer.writerow([ticket.subject, ticket.body, ticket.reply, *labels, "en", "Tag"])
    overrides = [f"base.path={tiny_base}", "decoding.max_new_tokens=8", "baseline.block_tokens=8", "lora.rank=4"]
    for stage in ("classifier", "generator", "baseline"):
        overrides += [f"{stage}.training.max_steps=2", f"{stage}.training.accumulation=1"]
    overrides += ["generator.rouge_sample=1", "baseline.rouge_sample=1"]
    published = tmp_path / "run"
    variables = {
        "INSTALLED": "",
        "PUBLISHED_SOURCE": str(source),
        "PUBLISHED": str(published),
        "PUBLISHED_SET": " ".join(f"--set {override}" for override in overrides),
        "DOUBLE_RANK": "8",
    }
    command = ["make", "published-full" if FULL else "published", *(f"{k}={v}" for k, v in variables.items())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    record = read_report(published / "comparison")
    assert record["tickets"] == 18
    config = load_config(published / "classifier" / "config.yaml")
    assert PromptEncoder(published / "baseline", config.prompt.instruction).vocabulary_size > 0
    if FULL:
        record = read_report(published / "comparison-full")
        names = [system["name"] for system in record["systems"]]
        assert names[:2] == ["two-stage", "single-prompt (run)"]
        assert {"single-prompt (run-rank)", "single-prompt (run-epochs)"} <= set(names)
        assert record["beside"]["data"] == str(tmp_path / "run-grouped" / "data")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "answered before" in again.stderr


def test_a_full_disk_leaves_the_report_and_its_ratings(comparison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (comparison / "report.json").read_bytes()
    record = read_report(comparison)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("backbone.runs.files.flush", full)
    with pytest.raises(WorkError, match="disk is full"):
        write_report({**record, "tickets": 1}, comparison)
    assert (comparison / "report.json").read_bytes() == before


def test_places_that_cannot_be_written_are_one_line(trained_run: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="choose another --out"):
            compare(CompareOptions([trained_run.folder], out, limit=2, timed=0, with_zero_shot=False))
    with pytest.raises(InputError, match="expected each once"):
        compare(CompareOptions([trained_run.folder, trained_run.folder], tmp_path / "out"))
    with pytest.raises(InputError, match="without --bertscore-model"):
        compare(CompareOptions([trained_run.folder], tmp_path / "out", bertscore_layer=3))


def test_damaged_files_of_a_comparison_are_made_again(
    trained_run: RunConfig, comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(comparison, tmp_path / "copy")
    (copy / "report.json").write_text("{", encoding="utf-8")
    for times in (copy / "answers").glob("*.times.json"):
        times.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="run the same `duet compare` again"):
        read_report(copy)
    compare(CompareOptions([trained_run.folder], copy, timed=0, part="validation", limit=4, with_zero_shot=False))
    assert read_report(copy)["tickets"] == 4
    told = capsys.readouterr().err
    assert "will be replaced" in told
    assert "warning: the systems were chosen and calibrated on the validation part" in told


def test_ranks_end_in_one_table_and_chart(comparison: Path, tmp_path: Path) -> None:
    record = read_report(comparison)
    free = next(system for system in record["systems"] if system["name"] == "single-prompt")
    larger = json.loads(json.dumps({**free, "name": "single-prompt (larger)"}))
    larger["training"][0]["rank"] *= 2
    record["systems"].append(larger)
    part = losses(record)
    table = next(block for block in part.blocks if isinstance(block, Table) and block.head[0] == "by rank")
    assert [row[0] for row in table.rows] == ["single-prompt", "single-prompt (larger)"]
    assert {"type accuracy", "priority macro-F1", "ROUGE-L", "validation loss"} <= set(table.head)
    assert isinstance(part.blocks[-1], Chart)
    assert not [b for b in losses(read_report(comparison)).blocks if isinstance(b, Table) and b.head[0] == "by rank"]
