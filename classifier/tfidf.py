"""Features of tickets that need no language model."""

from collections.abc import Sequence

from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union

from tickets.schema import Ticket


def tfidf_features(train: Sequence[Ticket], *others: Sequence[Ticket]) -> list[sparse.csr_matrix]:
    """Return TF-IDF of words (1-2) and characters (3-5) of the training tickets, and of others in the same terms."""
    vectorizer = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2),
    )
    features = vectorizer.fit_transform([ticket.text for ticket in train])
    return [features, *(vectorizer.transform([ticket.text for ticket in tickets]) for tickets in others)]
