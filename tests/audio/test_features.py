import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asd.audio.features import Features


def features_of(lengths, mels=2):
    lengths = np.array(lengths, dtype=np.int64)
    rows = np.arange(lengths.sum() * mels, dtype=np.float32).reshape(-1, mels)
    return Features(rows, np.cumsum(lengths) - lengths, lengths, 16000)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 5))
def test_windows_are_those_of_each_clip_alone(lengths, width, hop):
    features = features_of(lengths)
    expected, counts, row = [], [], 0
    for length in lengths:
        own = [row + s for s in range(0, length, hop) if s + width <= length]
        expected += own
        counts.append(len(own))
        row += length
    assert features.window_starts(width, hop).tolist() == expected
    assert features.window_counts(width, hop).tolist() == counts


@given(st.data(), st.lists(st.integers(0, 9), min_size=2, max_size=6), st.integers(1, 4))
def test_selected_clips_keep_their_rows_and_windows(data, lengths, width):
    features = features_of(lengths)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=5))
    selected = features.select(chosen)
    assert len(selected) == len(chosen)
    for place, index in enumerate(chosen):
        assert np.array_equal(selected.clip(place), features.clip(index))
    starts = selected.window_starts(width)
    expected = [
        features.starts[i] + s for i in chosen for s in range(max(lengths[i] - width + 1, 0))
    ]
    assert starts.tolist() == expected


def test_a_clip_is_a_view():
    features = features_of([3, 4])
    clip = features.clip(1)
    assert clip.shape == (4, 2)
    assert np.shares_memory(clip, features.rows)
    assert clip[0, 0] == 6
