"""Statistics with known answers."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from scansynth.downstream.statistics import (
    Measured,
    auroc,
    average_precision,
    brier,
    calibration_error,
    holm,
    measured,
)
from scansynth.evaluate.bootstrap import multiplicities


def scored(n=80, seed=0, ties=False):
    random = np.random.default_rng(seed)
    shown = np.arange(n) % 3 == 0
    scores = 1 / (1 + np.exp(-random.normal(shown * 1.0, 1)))
    return (scores.round(1) if ties else scores), shown, random.multinomial(n, np.full(n, 1 / n), 5).astype(float)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(auroc, roc_auc_score), (average_precision, average_precision_score), (brier, brier_score_loss)],
)
def test_metrics_are_scikit_learn_s_in_every_replicate(ours, theirs, ties):
    scores, shown, weights = scored(ties=ties)
    expected = [theirs(shown, scores, sample_weight=times) for times in weights]
    assert ours(scores, shown, weights) == pytest.approx(expected, abs=1e-12)


def test_a_replicate_without_the_class_has_no_area():
    scores, shown, _ = scored()
    weights = np.stack([shown, ~shown, np.ones(80)]).astype(float)
    assert np.isnan(auroc(scores, shown, weights)).tolist() == [True, True, False]
    assert np.isnan(average_precision(scores, shown, weights)).tolist() == [False, True, False]


def test_calibration_error_is_the_gap_in_each_bin():
    scores = np.repeat([0.05, 0.85, 1.0], [50, 30, 20])
    shown = np.r_[np.arange(50) < 10, np.arange(30) < 15, np.ones(20, bool)]
    # Shown in 20%, 50% and 100%: gaps of 15, 35 and 0 points, by the bins' shares; 0.85 and 1.0 lie in two bins.
    assert calibration_error(scores, shown, np.ones((1, 100)))[0] == pytest.approx(0.5 * 0.15 + 0.3 * 0.35)


def delong(first, second, shown):
    """The difference of two areas and its variance (DeLong et al. 1988), pair by pair."""
    wins = [
        (score[shown][:, None] > score[~shown]) + 0.5 * (score[shown][:, None] == score[~shown])
        for score in (first, second)
    ]
    difference = wins[0] - wins[1]
    of_positive, of_negative = difference.mean(1), difference.mean(0)
    variance = of_positive.var(ddof=1) / len(of_positive) + of_negative.var(ddof=1) / len(of_negative)
    return difference.mean(), np.sqrt(variance)


def test_the_error_of_a_paired_difference_is_delong_s():
    first, shown, _ = scored(400, 1)
    second = np.clip(first + np.random.default_rng(2).normal(0, 0.15, 400), 0, 1)
    weights = multiplicities(np.random.default_rng(3), np.arange(400), 4000)
    value, error = delong(first, second, shown)
    both = [measured("auroc", np.stack([score, score]), shown, weights) for score in (first, second)]
    found = both[0] - both[1]
    assert found.value == pytest.approx(value)
    assert found.error == pytest.approx(error, rel=0.05)  # the seeds agree: all of it is of the patients
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(value) / error), rel=0.3)
    unpaired = np.hypot(both[0].error, both[1].error)
    assert found.error < 0.6 * unpaired


def test_images_of_a_patient_are_one_piece_of_evidence():
    scores, shown, _ = scored(60)
    widths = {}
    for name, groups in {"images": np.arange(300), "patients": np.repeat(np.arange(60), 5)}.items():
        weights = multiplicities(np.random.default_rng(0), groups, 1000)
        found = measured("auroc", np.tile(scores.repeat(5), (2, 1)), shown.repeat(5), weights)
        widths[name] = found.error
    assert widths["patients"] / widths["images"] == pytest.approx(np.sqrt(5), rel=0.15)


def test_seeds_count_and_are_few():
    still = np.random.default_rng(0).normal(0, 1e-9, 1000)
    found = Measured(np.array([0.1, 0.2, 0.3]), still)
    assert found.value == pytest.approx(0.2) and found.error == pytest.approx(0.1 / np.sqrt(3))
    assert found.freedom == pytest.approx(2)
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.3], 0).pvalue)
    assert found.interval == pytest.approx(stats.t.interval(0.95, 2, 0.2, 0.1 / np.sqrt(3)))
    agreeing = Measured(np.full(3, 0.2), np.random.default_rng(0).normal(0.2, 0.1, 100_000))
    assert agreeing.interval == pytest.approx((0.2 - 0.196, 0.2 + 0.196), abs=2e-3)
    assert Measured(np.zeros(3), np.zeros(9)).p == 1


def test_a_detectable_difference_is_found_four_times_in_five():
    """By simulation: true differences of that size, each measured with its error."""
    random, error, comparisons = np.random.default_rng(0), 0.03, 4
    replicates = random.normal(0, error, 20_000)
    replicates *= error / replicates.std(ddof=1)
    size = Measured(np.zeros(3), replicates).detectable(comparisons)
    measured_differences = random.normal(size, error, 20_000)
    p = 2 * stats.norm.sf(np.abs(measured_differences) / error)
    assert (p < 0.05 / comparisons).mean() == pytest.approx(0.8, abs=0.01)


def test_nothing_is_found_more_often_than_it_should_be_where_nothing_is():
    """Classifiers of one quality, whose seeds differ: the interval of their difference covers 0."""
    covered = []
    for trial in range(150):
        random = np.random.default_rng([trial, 7])
        shown = random.random(150) < 0.4
        weights = multiplicities(random, np.arange(150), 150)
        patients = random.normal(shown, 1)  # what is hard for one classifier is hard for all
        arms = [
            measured("auroc", stats.norm.cdf(patients + random.normal(0, 0.7, (3, 150))), shown, weights)
            for _ in range(2)
        ]
        low, high = (arms[0] - arms[1]).interval
        covered.append(low < 0 < high)
    assert np.mean(covered) > 0.92


def test_holm_corrects_in_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
