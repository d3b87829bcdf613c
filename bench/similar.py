"""Which vectors find the most useful resolved tickets, and what a search costs.

    python bench/similar.py                       # TF-IDF, BM25, and both fused
    python bench/similar.py --base smollm2        # also the middle states of a plain base: minutes
    python bench/similar.py --rows 100000         # time of a search among so many synthetic tickets

Real English tickets, three splits with disjoint test parts (bench/folds.py). For every test ticket the nearest training
ticket is found. It is useful where its labels and its reply are those of the test ticket. Tables are Markdown, on
stdout.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from tqdm import tqdm

from backbone.dataset import load_part
from bench.folds import SEEDS, prepare_fold
from classifier.tfidf import tfidf_features
from generator.rouge import rouge_l
from memory.memory import open_memory, write_memory
from memory.terms import Idf, count_terms
from tickets.schema import Ticket

Similarities = npt.NDArray[np.float64]  # (test tickets, training tickets)
COLUMNS = ("type", "queue", "priority")
_K1, _B = 1.2, 0.75  # of BM25 (Robertson and Zaragoza 2009)
_RANK_OFFSET = 60  # of reciprocal rank fusion (Cormack et al. 2009)
_DIMENSIONS = 256


def main() -> None:
    """Print the table that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="base whose middle states are compared too")
    parser.add_argument("--rows", type=int, action="append", help="measure searches among so many tickets")
    arguments = parser.parse_args()
    if arguments.rows:
        _measure_searches(arguments.rows)
    else:
        _compare(arguments.base)


def _compare(base: str | None) -> None:
    scores: dict[str, list[tuple[float, ...]]] = {}
    for fold in range(len(SEEDS)):
        folder = prepare_fold(fold)
        train, test = load_part(folder, "train"), load_part(folder, "test")
        ways = {
            "TF-IDF, hashed words and pairs (duet)": hashed_similarities(train, test),
            "TF-IDF, words, pairs and letters": _cosines(*tfidf_features(train, test)),
            "BM25, words": _bm25(train, test),
        }
        if base:
            ways[f"middle states of {base}, PCA"] = _states(base, train, test)
        first, *_ = ways.values()
        ways["first and last, ranks fused"] = _fused(first, list(ways.values())[-1])
        for name, similarities in ways.items():
            scores.setdefault(name, []).extend(_use(train, test, similarities))
    columns = ("vectors", "Type", "Queue", "Priority", "all three", "ROUGE-L of its reply")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, rows in scores.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in np.mean(rows, axis=0))} |")
    print(
        f"\n{len(next(iter(scores.values())))} test tickets; standard error about 0.016 for all three, "
        "0.005 for ROUGE-L"
    )


def _use(train: Sequence[Ticket], test: Sequence[Ticket], similarities: Similarities) -> list[tuple[float, ...]]:
    """Return for every test ticket: whether the nearest one's labels are its own, by column and all, and ROUGE-L."""
    rows = []
    for ticket, nearest in zip(test, similarities.argmax(axis=1), strict=True):
        other = train[int(nearest)]
        right = [ticket.labels.get(column) == other.labels.get(column) for column in COLUMNS]
        rows.append((*map(float, right), float(all(right)), rouge_l([other.reply], [ticket.reply])))
    return rows


def _cosines(train: Any, test: Any) -> Similarities:
    return np.asarray((test @ train.T).todense())


def hashed_similarities(train: Sequence[Ticket], test: Sequence[Ticket]) -> Similarities:
    """Return the similarities of the memory's own vectors, (test tickets, training tickets)."""
    counts = count_terms([ticket.text for ticket in train])
    idf = Idf.of(counts)
    return _cosines(idf.weigh(counts), idf.weigh(count_terms([ticket.text for ticket in test])))


def _bm25(train: Sequence[Ticket], test: Sequence[Ticket]) -> Similarities:
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer()
    counts = vectorizer.fit_transform([ticket.text for ticket in train]).astype(np.float64).tocsr()
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    norms = _K1 * (1 - _B + _B * lengths / lengths.mean())
    holding = np.bincount(counts.indices, minlength=counts.shape[1])
    inverse = np.log(1 + (len(train) - holding + 0.5) / (holding + 0.5))
    rows = np.repeat(np.arange(len(train)), np.diff(counts.indptr))
    counts.data = inverse[counts.indices] * counts.data * (_K1 + 1) / (counts.data + norms[rows])
    asked = vectorizer.transform([ticket.text for ticket in test])
    return _cosines(counts, (asked > 0).astype(np.float64))


def _states(base: str, train: Sequence[Ticket], test: Sequence[Ticket]) -> Similarities:
    """Return similarities of the mean states after half the base's blocks, whitened by PCA of the training tickets."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from backbone.base import find_base

    folder = find_base(base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16)
    middle = model.config.num_hidden_layers // 2
    model.layers = model.layers[:middle]
    model.norm = torch.nn.Identity()
    states = []
    with torch.inference_mode():
        for ticket in tqdm([*train, *test], desc="states"):
            ids = tokenizer(ticket.text, return_tensors="pt", truncation=True, max_length=512)
            states.append(model(**ids).last_hidden_state[0].float().mean(0).numpy())
    vectors = PCA(_DIMENSIONS, whiten=True, random_state=0).fit(states[: len(train)]).transform(states)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities: Similarities = vectors[len(train) :] @ vectors[: len(train)].T
    return similarities


def _fused(*ways: Similarities) -> Similarities:
    ranks = [(-way).argsort(axis=1).argsort(axis=1) for way in ways]
    total: Similarities = np.sum([1 / (_RANK_OFFSET + rank) for rank in ranks], axis=0)
    return total


def _measure_searches(sizes: Sequence[int]) -> None:
    tickets = load_part(prepare_fold(0), "train")
    words = [ticket.text.split() for ticket in tickets]
    chance = random.Random(0)

    def synthetic(number: int) -> Ticket:
        text = [chance.choice(one) for one in chance.choices(words, k=4) for _ in range(25)]
        return Ticket(str(number), "", " ".join(text), reply="Done.")

    print("| tickets | writing, s | MB | open, s | a search, ms |\n|" + " --- |" * 5)
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "memory"
            start = time.perf_counter()
            write_memory(folder, [synthetic(number) for number in range(size)])
            written = time.perf_counter() - start
            megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            start = time.perf_counter()
            memory = open_memory(folder)
            memory.search(tickets[0].text, 3)
            opened = time.perf_counter() - start
            times = []
            for ticket in tickets[1:51]:
                start = time.perf_counter()
                memory.search(ticket.text, 3)
                times.append(time.perf_counter() - start)
        print(f"| {size:,} | {written:.1f} | {megabytes:.0f} | {opened:.2f} | {1000 * statistics.median(times):.1f} |")


if __name__ == "__main__":
    main()
