import numpy as np
import pytest

from asd.audio.channels import choose_channels, plain_channel
from asd.errors import UserError

WAVE = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("left", [[0, 1, 2]]), ("1", [[0, 1, 2]]), ("right", [[3, 4, 5]]), ("2", [[3, 4, 5]]),
        ("3", [[6, 7, 8]]), ("4", [[9, 10, 11]]), ("mix", [[4.5, 5.5, 6.5]]),
        ("all", WAVE.tolist()),
    ],
)  # fmt: skip
def test_the_channel_asked_for_is_taken(channel, expected):
    chosen = choose_channels(WAVE, channel)
    assert chosen.tolist() == expected
    assert chosen.dtype == np.float32


def test_the_mix_of_one_channel_is_that_channel():
    assert np.array_equal(choose_channels(WAVE[:1], "mix"), WAVE[:1])


@pytest.mark.parametrize(
    ("count", "channel", "expected"),
    [
        (1, "right", "has 1 channel(s), so there is no channel right; set --channel left"),
        (1, "3", "has 1 channel(s), so there is no channel 3; set --channel left"),
        (4, "5", "has 4 channel(s), so there is no channel 5; set --channel a number up to 4, or "
         "mix"),
    ],
)  # fmt: skip
def test_a_missing_channel_is_told_with_one_that_is_there(count, channel, expected):
    with pytest.raises(UserError) as caught:
        choose_channels(WAVE[:count], channel)
    assert str(caught.value) == expected


@pytest.mark.parametrize("word", ["0", "-1", "03", "1.0", "٣", "Left", "", "12345", "middle"])
def test_other_words_are_refused(word):
    with pytest.raises(UserError, match="--channel: expected left, right, mix, all, canc"):
        plain_channel(word)


def test_one_choice_has_one_spelling():
    words = ["left", "1", "right", "2", "3", "mix", "all", "cancellation"]
    expected = ["left", "left", "right", "right", "3", "mix", "all", "cancellation"]
    assert [plain_channel(word) for word in words] == expected
