import struct
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from asd.report.page import DARK, FAINT, PALE, STRONG, label, new_figure, same_jitter, save_figure


def test_png_has_the_width_of_the_page(tmp_path):
    save_figure(new_figure(8.0, "title"), tmp_path / "new" / "figure.png")
    header = (tmp_path / "new" / "figure.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:24])
    assert (width, height) == (1133, 566)  # 16 cm and 8 cm at 180 dots per inch
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["figure.png"]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_figure(new_figure(4.0, "title"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_long_title_is_broken_into_lines():
    figure = new_figure(4.0, "machine " * 30)
    lines = figure.get_suptitle().split("\n")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80


def test_colours_differ_in_grey():
    grey = [sum(w * c for w, c in zip((0.3, 0.59, 0.11), to_rgb(colour), strict=True))
            for colour in (DARK, STRONG, PALE, FAINT)]  # fmt: skip
    assert all(later - earlier > 0.13 for earlier, later in pairwise(grey))


def test_no_global_state_is_touched(tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(new_figure(4.0), tmp_path / "figure.png")
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib._pylab_helpers.Gcf.get_all_fig_managers()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fan", "fan"),
        (r"$\foo_{$", r"\$\foo_{\$"),
        ("a\nb", r"a\nb"),
        ("caf\udce9", r"caf\udce9"),
        ("_hidden", " _hidden"),
        ("a" * 20 + "z" * 20, "a" * 11 + "…" + "z" * 12),
    ],
)
def test_labels_can_be_drawn(name, expected):
    assert label(name) == expected


def test_what_is_drawn_is_the_name_itself(tmp_path):
    """matplotlib takes the escapes off again."""
    figure = new_figure(4.0)
    (text,) = [figure.text(0.5, 0.5, label(r"$a$ and \$b"))]
    assert text._preprocess_math(text.get_text()) == (r"$a$ and \$b", False)
    save_figure(figure, tmp_path / "figure.png")


def test_jitter_is_the_same_every_time_and_leaves_others_random_numbers_alone():
    found = []
    for seed in (5, 6):
        np.random.seed(seed)
        with same_jitter():
            found.append(np.random.random(4).tolist())
        after = np.random.random(3)
        np.random.seed(seed)
        np.testing.assert_array_equal(np.random.random(3), after)
    assert found[0] == found[1]
