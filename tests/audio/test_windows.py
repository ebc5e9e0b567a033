import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from asd.audio.windows import gather_windows, rows_tensor


def rows_of(frames, mels=3):
    return torch.arange(frames * mels, dtype=torch.float32).reshape(frames, mels)


def one_by_one(rows, starts, width):
    return torch.stack([torch.cat([rows[s + k] for k in range(width)]) for s in starts])


def test_rows_are_shared_not_read_or_copied(tmp_path):
    path = tmp_path / "rows"
    np.arange(12, dtype=np.float32).tofile(path)
    stored = np.memmap(path, dtype=np.float32, mode="r", shape=(4, 3))
    rows = rows_tensor(stored)
    assert rows.data_ptr() == stored.ctypes.data
    assert torch.equal(rows, rows_of(4))


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
