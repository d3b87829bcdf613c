"""How long scoring and reporting take at the published size: 4,240 test tickets, replies of real length.

    python bench/compare.py --source ../shared/data/tickets.csv

Real tickets, repeated to 4,240; as replies, the true replies of other tickets. Prints seconds of the reply metrics, of
all scores of one system, and of building the report for seven systems.
"""

import argparse
import tempfile
import time
from pathlib import Path

from backbone.dataset import load_part
from backbone.shipped import mini_folder
from eval.answers import Cost, SystemAnswers
from eval.bootstrap import Resamples, Score
from eval.compare import Comparison
from eval.reply_metrics import TrainingReplies
from eval.report.page import write_report
from eval.saved_keys import to_saved
from eval.scoring import TestSet, compare_pair, f1_replicates, pick_examples, reply_scores, score_slices, system_report
from eval.systems import NEAREST, TFIDF, Output, ReferenceSystem
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import Ticket

_TICKETS, _SYSTEMS = 4_240, 7
_COLUMNS = ("type", "queue", "priority")


def main() -> None:
    """Time each step once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="../shared/data/tickets.csv")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = mini_folder() / "base" / "tokenizer.json"
        prepare(PrepareOptions(parser.parse_args().source, Path(folder) / "data", tokenizer=tokenizer))
        tickets = load_part(Path(folder) / "data", "train")
    test = (tickets * (_TICKETS // len(tickets) + 1))[:_TICKETS]
    data = TestSet(test, tickets, _COLUMNS, Resamples(len(test)))
    answered = [_answered(i, test) for i in range(_SYSTEMS)]
    training = TrainingReplies([ticket.reply for ticket in tickets])
    start = time.perf_counter()
    replies = reply_scores(answered[0], data, training)
    print(f"reply metrics of {len(test):,} pairs   {time.perf_counter() - start:6.1f} s")
    scores = {answers.system.name: replies for answers in answered}
    start = time.perf_counter()
    f1 = {answers.system.name: f1_replicates(answers, data) for answers in answered}
    reports = [system_report(answers, data, replies, f1[answers.system.name]) for answers in answered]
    print(f"scores of {_SYSTEMS} systems              {time.perf_counter() - start:6.1f} s")
    start = time.perf_counter()
    pairs = [compare_pair(a, b, data, scores, f1) for i, a in enumerate(answered) for b in answered[i + 1 :]]
    print(f"{len(pairs)} pairs                         {time.perf_counter() - start:6.1f} s")
    start = time.perf_counter()
    slices = score_slices(answered, data, scores)
    print(f"{len(slices)} slices                        {time.perf_counter() - start:6.1f} s")
    start = time.perf_counter()
    examples = pick_examples(answered, data, scores)
    record = Comparison("bench", "test", len(test), _COLUMNS, reports, pairs, slices, examples, "", [], "", {})
    with tempfile.TemporaryDirectory() as folder:
        size = write_report(to_saved(record), Path(folder)).stat().st_size
    print(f"report ({size / 1e6:.1f} MB)               {time.perf_counter() - start:6.1f} s")


def _answered(shift: int, tickets: list[Ticket]) -> SystemAnswers:
    """Return a system that gives every ticket what another one has."""
    others = tickets[shift + 1 :] + tickets[: shift + 1]
    system = ReferenceSystem(NEAREST if shift % 2 else TFIDF, tickets, _COLUMNS)
    system.name = f"system {shift}"
    outputs = [Output(t.id, o.labels, o.reply, o.tags) for t, o in zip(tickets, others, strict=True)]
    return SystemAnswers(system, outputs, Cost(None, None, Score(1.0, 1.0, 1.0), None, 0.0, 0.0, 0.0))


if __name__ == "__main__":
    main()
