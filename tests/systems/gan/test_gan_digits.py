"""The MNIST experiment on made-up digits, and the figures of single images."""

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve

from asd.errors import UserError
from asd.systems.gan.digits import load_mnist, score_digits, split_digits
from asd.systems.gan.judging import constant_score_area, judge, precision_recall_area


def drawn_digits(count, seed=0):
    """Noisy images of 28 x 28 values of a byte; digit k has a bright bar at a row of its own."""
    random = np.random.default_rng(seed)
    digits = random.integers(0, 4, count)
    images = random.integers(0, 60, (count, 28, 28))
    for image, digit in zip(images, digits, strict=True):
        image[4 + 6 * digit : 8 + 6 * digit] += 180
    return images.astype(np.uint8), digits


def test_the_published_arrays_are_read(tmp_path):
    images, digits = drawn_digits(10)
    file = tmp_path / "mnist.npz"
    parts = {"train": slice(6), "test": slice(6, 9), "valid": slice(9, 10)}
    arrays = {f"x_{name}": images[part] for name, part in parts.items()}
    arrays |= {f"y_{name}": digits[part] for name, part in parts.items()}
    np.savez(file, **arrays)
    x, y = load_mnist(file)
    np.testing.assert_allclose(x, images.reshape(10, 784) / 255, rtol=1e-6)
    assert y.tolist() == digits.tolist()
    np.savez(file, x=images / 255, y=digits.astype(str))
    np.testing.assert_allclose(load_mnist(file)[0], x, rtol=1e-6)


def test_files_that_are_not_mnist_are_refused_in_one_line(tmp_path):
    file = tmp_path / "mnist.npz"
    with pytest.raises(UserError, match=r"mnist\.npz: cannot be read as MNIST"):
        load_mnist(file)
    np.savez(file, a=np.zeros(3))
    with pytest.raises(UserError, match="has no arrays x_train and y_train, nor x and y"):
        load_mnist(file)
    np.savez(file, x=np.zeros((3, 5)), y=np.zeros(3))
    with pytest.raises(UserError, match="expected images of 28 x 28 and a digit for each, got 5"):
        load_mnist(file)
    np.savez(file, x=np.array([{}], dtype=object), y=np.zeros(1))
    with pytest.raises(UserError, match="cannot be read as MNIST"):
        load_mnist(file)


def test_failed_download_is_explained(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", refuse)
    with pytest.raises(UserError, match=r"failed \(no route to host\); .* local file with --file"):
        load_mnist(None)


def test_no_image_is_both_learned_from_and_tested():
    digits = np.repeat(np.arange(4), 25)
    images = np.arange(100, dtype=np.float32)[:, None]
    table = split_digits(images, digits, 2)
    train, test = table.x_train[:, 0].astype(int), table.x_test[:, 0].astype(int)
    assert len(train) == 60
    assert not set(train) & set(test)
    assert sorted([*train, *test]) == list(range(100))
    assert (digits[train] != 2).all()
    np.testing.assert_array_equal(table.y_test, digits[test] == 2)
    # The published draw, of RandomState(42).
    normal = np.flatnonzero(digits != 2)
    np.testing.assert_array_equal(train, normal[np.random.RandomState(42).permutation(75)[:60]])


def test_a_digit_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="--label 7: expected one of the digits 0, 1, 2, 3"):
        split_digits(np.zeros((8, 1), np.float32), np.repeat(np.arange(4), 2), 7)


def test_an_unseen_digit_is_found():
    images, digits = drawn_digits(160)
    x = images.reshape(160, 784).astype(np.float32) / 255
    table = split_digits(x, digits, 3)
    scores = score_digits(
        table, epochs=8, batch_size=20, learning_rate=1e-3, cycle=50.0, ema_warm_up=True
    )
    assert precision_recall_area(scores, table.y_test) > 0.95
    with pytest.raises(UserError, match="'vae' is not known"):
        score_digits(table, model="vae")


def test_a_constant_score_gets_three_quarters_of_the_precision_recall_area():
    """So an "AUC" of 0.72 or 0.75 of this kind tells nothing."""
    is_anomaly = np.repeat([False, True], 50)
    assert precision_recall_area(np.ones(100), is_anomaly) == 0.75
    assert constant_score_area(is_anomaly) == 0.75
    assert np.isnan(precision_recall_area(np.ones(3), np.zeros(3, bool)))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: any(anomaly for _, anomaly in rows)
    )
)
def test_precision_recall_area_is_scikit_learns(rows):
    scores = np.array([float(score) for score, _ in rows])
    is_anomaly = np.array([anomaly for _, anomaly in rows])
    precision, recall, _ = precision_recall_curve(is_anomaly, scores)
    found = precision_recall_area(scores, is_anomaly)
    assert found == pytest.approx(auc(recall, precision), abs=1e-12)


def test_judge_by_hand():
    # The 0.8 quantile of 0 ... 9 is 7.2: rows 8 and 9 are called anomalies.
    is_anomaly = np.isin(np.arange(10), [4, 5, 9])
    detection = judge(np.arange(10.0), is_anomaly, 0.2)
    assert (detection.precision, detection.recall) == (1 / 2, 1 / 3)
    assert detection.f1 == pytest.approx(2 / 5)
    assert judge(np.arange(10.0), np.arange(10) < 1, 0.2).f1 == 0
