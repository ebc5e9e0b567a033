import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asd.audio.windows import gather_windows, window_view


def rows_of(frames, mels=3):
    return torch.arange(frames * mels, dtype=torch.float32).reshape(frames, mels)


def one_by_one(rows, starts, width):
    return torch.stack([torch.cat([rows[s + k] for k in range(width)]) for s in starts])


@pytest.mark.parametrize("width", [1, 2, 5])
def test_view_holds_every_window_oldest_frame_first(width):
    rows = rows_of(5)
    assert torch.equal(window_view(rows, width), one_by_one(rows, range(6 - width), width))


def test_view_shares_memory():
    rows = rows_of(6)
    windows = window_view(rows, 5)
    assert windows.untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()
    rows[3] = -1
    assert (windows[0, 9:12] == -1).all()
    assert (windows[1, 6:9] == -1).all()


def test_view_of_a_part_begins_where_the_part_begins():
    rows = rows_of(9)
    assert torch.equal(window_view(rows[4:], 2), one_by_one(rows[4:], range(4), 2))


@given(st.data(), st.integers(1, 5), st.integers(5, 20))
def test_gathering_equals_a_loop(data, width, frames):
    starts = data.draw(st.lists(st.integers(0, frames - width), min_size=1, max_size=8))
    rows = rows_of(frames)
    assert torch.equal(
        gather_windows(rows, torch.tensor(starts), width), one_by_one(rows, starts, width)
    )


def test_gathering_copies_from_a_slice_of_a_wider_array():
    rows = rows_of(8, mels=6)[:, 1:4]
    starts = torch.tensor([5, 0])
    assert torch.equal(gather_windows(rows, starts, 3), one_by_one(rows, starts, 3))
