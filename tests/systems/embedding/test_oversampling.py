"""Classes of one size: against the published rows, and against what they were drawn from."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from asd.errors import UserError
from asd.systems.embedding import oversampling
from asd.systems.embedding.crops import JoinedWaves, Waves
from asd.systems.embedding.fill_up import changing, seeded
from asd.systems.embedding.oversampled_set import OversampledSet
from asd.systems.embedding.oversampling import OversamplingRecipe, class_neighbours, rows_to_copy
from asd.systems.embedding.training import TrainingSet

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "khoaphamanh" / "fillup_smote.npz")
LABEL, K, SEED = GOLDEN["label"], 5, int(GOLDEN["numpy_seed"])
WIDTH = 40


def test_the_rows_that_are_copied_are_the_published_ones():
    picked = rows_to_copy(LABEL, K + 1, np.random.RandomState(SEED))
    sizes = np.bincount(LABEL)
    small = np.isin(LABEL, np.flatnonzero(sizes <= K))
    places = np.cumsum(small) - 1
    np.testing.assert_array_equal(places[picked], GOLDEN["picked"])
    filled = np.concatenate([GOLDEN["data"][small], -GOLDEN["data"][picked]])
    np.testing.assert_array_equal(filled, GOLDEN["fill_data"])
    np.testing.assert_array_equal(
        np.concatenate([LABEL[small], LABEL[picked]]), GOLDEN["fill_label"]
    )


def published_start():
    """Rows and classes as SMOTE gets them there."""
    large = ~np.isin(LABEL, np.flatnonzero(np.bincount(LABEL) <= K))
    rows = np.concatenate([GOLDEN["data"][large], GOLDEN["fill_data"]])
    return rows, np.concatenate([LABEL[large], GOLDEN["fill_label"]])


def pieces_of(rows):
    values = torch.from_numpy(rows)
    return lambda numbers, first, samples: values[numbers, first : first + samples]


@pytest.mark.parametrize(("block", "values"), [(1024, 2**24), (4, 30)])
def test_rows_between_neighbours_are_the_published_ones(block, values, monkeypatch):
    """The same, however few rows and samples are held at a time."""
    monkeypatch.setattr(oversampling, "_ROWS_AT_ONCE", block)
    monkeypatch.setattr(oversampling, "_VALUES_AT_ONCE", values)
    rows, classes = published_start()
    near = class_neighbours(pieces_of(rows), torch.from_numpy(classes), rows.shape[1], K).numpy()
    made, largest = [rows], np.bincount(classes).max()
    for number in np.unique(classes):
        own = np.flatnonzero(classes == number)
        random = np.random.RandomState(SEED)
        if missing := largest - len(own):
            drawn = random.randint(0, len(own) * K, missing)
            share = random.uniform(size=missing)[:, None]
            x = rows[own[drawn // K]]
            made.append(x + share * (rows[near[own[drawn // K], drawn % K]] - x))
    np.testing.assert_allclose(np.concatenate(made), GOLDEN["smote_data"], atol=1e-6)


def clips(sizes, length=WIDTH, scale=None, seed=0):
    """Clips of `sizes[c]` per class, of which sample 0 tells the clip."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(sizes)), sizes)
    waves = rng.normal(size=(len(classes), length)).astype(np.float32)
    waves[:, 0] = np.arange(len(classes))
    rows = torch.from_numpy(waves.ravel())
    if scale:
        rows = (rows / scale).round().to(torch.int16)
    starts = torch.arange(len(classes)) * length
    found = Waves(rows, starts, torch.full_like(starts, length), scale)
    return TrainingSet(found, torch.from_numpy(classes), len(sizes), WIDTH)


def negated():
    return lambda samples: -samples


def oversampled(sizes, recipe=None, batch_size=8, **options):
    recipe = recipe or OversamplingRecipe()
    return OversampledSet.of(clips(sizes, **options), recipe, negated, batch_size, SEED)


def test_all_classes_are_drawn_alike():
    """Five standard deviations; and of a class with half of the largest's clips, half are real."""
    data = oversampled([40, 20, 3], OversamplingRecipe(len_factor=100.0))
    rows = data.order(Generator().manual_seed(1))
    assert len(rows) == 100 * 3 * 40
    drawn = data._classes[rows[:, 0]]
    deviation = (1 / 3 * 2 / 3 * len(rows)) ** 0.5
    assert (drawn.bincount() - len(rows) / 3).abs().max() < 5 * deviation
    real = [(rows[:, 0] == rows[:, 1])[drawn == number].double().mean() for number in range(3)]
    assert real == pytest.approx([1.0, 0.5, 6 / 40], abs=5 * 0.5 / 4000**0.5)
    each = rows[drawn == 1, 0].bincount(minlength=60)[40:60] / (drawn == 1).sum()
    assert each.numpy() == pytest.approx(np.full(20, 1 / 20), abs=0.02)


def test_rows_have_the_distribution_of_the_array_of_imbalanced_learn():
    """Mean and deviation of every value in every class, each within the error of both samples."""
    imblearn = pytest.importorskip("imblearn.over_sampling")
    sizes = [300, 40, 12]
    data = oversampled(sizes, OversamplingRecipe(len_factor=4.0))
    rows = data.order(Generator().manual_seed(2))
    ours, labels = data.batch(rows, Generator().manual_seed(3))
    start = data._pieces(torch.arange(sum(sizes)), 0, WIDTH).numpy()
    theirs, classes = imblearn.SMOTE(random_state=0, k_neighbors=K).fit_resample(
        start, data._classes.numpy()
    )
    for number in range(3):
        a, b = ours[labels.argmax(dim=1) == number].numpy(), theirs[classes == number]
        assert np.abs(a[:, 1:].mean(axis=0) - b[:, 1:].mean(axis=0)).max() < 0.3
        assert (a[:, 1:].std(axis=0) / b[:, 1:].std(axis=0)).mean() == pytest.approx(1, abs=0.03)


def test_a_row_lies_between_a_clip_and_a_neighbour_of_its_class():
    data = oversampled([9, 2], scale=1e-3)
    rows = data.order(Generator().manual_seed(0))
    waves, labels = data.batch(rows, Generator().manual_seed(4))
    own, near = (data._pieces(part, 0, WIDTH) for part in rows.unbind(dim=1))
    along = near - own
    share = ((waves - own) * along).sum(dim=1) / along.square().sum(dim=1).clamp(min=1e-9)
    torch.testing.assert_close(waves, own + share[:, None] * along, atol=1e-4, rtol=1e-4)
    assert ((share >= 0) & (share <= 1)).all()
    assert share[rows[:, 0] != rows[:, 1]].std() > 0.1
    torch.testing.assert_close(labels.argmax(dim=1), data._classes[rows[:, 1]])
    assert data.clips_of(rows).max() <= 10  # copies are those of their clips


def test_copies_are_changed_clips():
    data = oversampled([9, 2])
    assert len(data.copies) == 4
    torch.testing.assert_close(data.copies, -data.clips.pieces(data.copied, 0, WIDTH))
    assert set(data.copied.tolist()) <= {9, 10}


def test_no_copy_no_augmentation():
    def never():
        raise AssertionError

    OversampledSet.of(clips([6, 9]), OversamplingRecipe(), never, 8, SEED)


@pytest.mark.parametrize(
    ("len_factor", "batch_size", "rows"), [(0.5, 9, 20), (0.5, 19, 21), (0.01, 8, 2)]
)
def test_rows_of_an_epoch(len_factor, batch_size, rows):
    """One more where a batch of one would be left."""
    data = oversampled([20, 8], OversamplingRecipe(len_factor=len_factor), batch_size)
    assert len(data.order(Generator())) == rows


def test_clips_cut_once_stay_so():
    data = clips([4, 4], length=3 * WIDTH).cut_once(7)
    first, _ = data.batch(torch.arange(8), Generator().manual_seed(0))
    again, _ = data.batch(torch.arange(8), Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, clips([4, 4], length=3 * WIDTH).cut_once(8).pieces(
        torch.arange(8), 0, WIDTH))  # fmt: skip
    whole = clips([4, 4], length=3 * WIDTH).waves.rows.view(8, -1)
    assert all((wave.unfold(0, WIDTH, 1) == crop).all(dim=1).any()
               for wave, crop in zip(whole, first, strict=True))  # fmt: skip


def test_short_clips_are_repeated_from_their_start():
    data = clips([2, 2], length=WIDTH // 4 * 3).cut_once(7)
    crops, _ = data.batch(torch.arange(4), Generator())
    own = data.waves.rows.view(4, -1)
    torch.testing.assert_close(crops, torch.cat([own, own], dim=1)[:, :WIDTH])


def test_two_sets_of_clips_are_cut_once_too():
    a, b = clips([3], length=2 * WIDTH).waves, clips([2], length=3 * WIDTH, scale=1e-3).waves
    data = TrainingSet(JoinedWaves(a, b), torch.tensor([0, 0, 0, 1, 1]), 2, WIDTH).cut_once(0)
    found = data.pieces(torch.tensor([4, 0]), 0, WIDTH)
    assert torch.equal(found[0], data.waves.second.first_crops(torch.tensor([1]), WIDTH)[0])
    assert torch.equal(found[1], data.waves.first.first_crops(torch.tensor([0]), WIDTH)[0])


def test_audiomentations_changes_clips_alike_for_a_seed():
    pytest.importorskip("audiomentations")
    t = np.arange(8000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 500 * t)).astype(np.float32)
    state = np.random.get_state()[1].copy()
    found = []
    for seed in (1, 1, 2):
        with seeded(seed):
            found.append([changing(16000)(tone) for _ in range(3)])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert np.shape(found) == (3, 3, 8000)
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_audiomentations_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(UserError, match=r"not installed; run: pip install 'asd\[smote\]'"):
        changing(16000)
