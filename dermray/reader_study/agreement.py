"""How much readers agree, beyond what chance gives. Numbers of classes; a negative one is no answer."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score


def agreement(names: Sequence[str], said: np.ndarray, classes: int) -> dict[str, Any]:
    """Cohen's kappa of every two readers, Fleiss' of all on the images that all answered, Krippendorff's alpha on all.

    Args:
        said: (R, N) int64, R > 1.

    Returns:
        pairs, fleiss {kappa, images}, krippendorff {alpha, images}. A coefficient is None where it has no value: only
        one answer was ever given, or no image was answered twice.
    """
    pairs = []
    for i, j in itertools.combinations(range(len(names)), 2):
        both = (said[i] >= 0) & (said[j] >= 0)
        found = {"readers": [names[i], names[j]], "images": int(both.sum())}
        same = float(np.mean(said[i][both] == said[j][both])) if both.any() else None
        pairs.append(found | {"same": same, "kappa": _cohen(said[i][both], said[j][both])})
    complete, paired = (said >= 0).all(axis=0), (said >= 0).sum(axis=0) > 1
    return {
        "pairs": pairs,
        "fleiss": {"kappa": fleiss(said[:, complete], classes), "images": int(complete.sum())},
        "krippendorff": {"alpha": krippendorff(said), "images": int(paired.sum())},
    }


def _cohen(first: np.ndarray, second: np.ndarray) -> float | None:
    if len(np.union1d(first, second)) < 2:
        return None
    return float(cohen_kappa_score(first, second))


def fleiss(said: np.ndarray, classes: int) -> float | None:
    """Fleiss' kappa (1971) of (R, N) complete answers."""
    from statsmodels.stats.inter_rater import fleiss_kappa

    if len(np.unique(said)) < 2:
        return None
    counts = (said.T[:, :, None] == np.arange(classes)).sum(axis=1)  # (N, C)
    return float(fleiss_kappa(counts))


def krippendorff(said: np.ndarray) -> float | None:
    """Krippendorff's alpha of nominal answers, (R, N), with gaps (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section C). The one package of it is under the GPL."""
    values = np.unique(said[said >= 0])
    counts = (said.T[:, :, None] == values).sum(axis=1).astype(float)  # (N, V)
    answers = counts.sum(axis=1)
    counts, answers = counts[answers > 1], answers[answers > 1]  # one answer alone agrees with nothing
    if not len(counts):
        return None
    # coincidences: of an image with m answers each ordered pair of them counts 1 / (m - 1)
    pairs = np.einsum("nv,nw->nvw", counts, counts) - counts[:, :, None] * np.eye(len(values))
    coincidences = (pairs / (answers - 1)[:, None, None]).sum(axis=0)
    by_value = coincidences.sum(axis=1)
    total = by_value.sum()
    expected = total**2 - (by_value**2).sum()  # of disagreement, times n - 1 below
    if not expected:
        return None
    return float(1 - (total - 1) * (total - np.trace(coincidences)) / expected)


def require_statsmodels() -> None:
    """Say early that agreement cannot be computed.

    Raises:
        ImportError: statsmodels is not there.
    """
    try:
        import statsmodels  # noqa: F401
    except ImportError:
        raise ImportError("agreement of readers needs statsmodels: pip install 'dermray[reader-study]'") from None
