"""The page of scored clips, as text; tests/report/test_browser.py looks at it in a browser."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from asd.errors import UserError
from asd.report.clip_page import (
    NormalScores,
    Page,
    Picture,
    ScoredClip,
    Sound,
    Table,
    ranked,
    render,
    write_page,
)
from asd.report.distribution import LEFT, RIGHT, WIDTH, Scale, draw
from asd.report.pictures import heat_png, spectrogram_png

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 777*11 }}\u202e\ud800.wav"


class Elements(HTMLParser):
    """Start tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag, **wanted):
        return [
            attributes
            for name, attributes in self.found
            if name == tag and all(attributes.get(k) == v for k, v in wanted.items())
        ]


def clip(name, score, machine="fan", **facts):
    return ScoredClip(Sound(name, link=f"./{len(name)}.wav"), machine, score, **facts)


def page(clips, **changes):
    normal = {"fan": NormalScores((1.0, 2.0, 3.0), 3.5)}
    return Page("A page", "MSE", clips, **{"normal": normal, **changes})


def test_clips_are_ranked_with_the_most_anomalous_first():
    found = Elements(render(page([clip("a", 2.0), clip("b", 9.0), clip("c", math.nan)])))
    assert [row["data-name"] for row in found.of("li", role="option")] == ["b", "a", "c"]


def test_machine_types_share_a_ranking_by_the_way_to_the_threshold():
    """From the median 2 to the threshold 3.5 is 1.5; from 200 to 350 is 150."""
    normal = {"fan": NormalScores((1, 2, 3), 3.5), "valve": NormalScores((100, 200, 300), 350.0)}
    assert normal["fan"].deviation(5.0) == 2.0
    assert normal["valve"].deviation(350.0) == 1.0
    clips = [clip("v", 350.0, "valve"), clip("f", 5.0), clip("g", 2.0)]
    assert [each.name for each in ranked(clips, normal)] == ["f", "v", "g"]


@pytest.mark.parametrize(
    ("normal", "expected"),
    [
        (NormalScores(), 7.0),
        (NormalScores((2.0, 2.0)), 5.0),
        (NormalScores((1.0, 2.0, 3.0), -math.inf), 5 / 0.8),
        (NormalScores((-3.0, -2.0, -1.0), -1.0), 9.0),
    ],
)
def test_deviation_is_defined_without_a_threshold(normal, expected):
    assert normal.deviation(7.0) == pytest.approx(expected)


def test_foreign_names_stay_text():
    """In names, attributes, labels, machine types, reasons and tables alike."""
    clips = [
        clip(HOSTILE, 1.0, HOSTILE, section=HOSTILE, domain=HOSTILE, label=HOSTILE,
             attributes=HOSTILE),
        clip(HOSTILE, math.nan, error=HOSTILE),
    ]  # fmt: skip
    text = render(
        page(
            clips,
            facts=((HOSTILE, HOSTILE),),
            notes=(HOSTILE,),
            tables=(Table(HOSTILE, (HOSTILE,), ((HOSTILE,),)),),
            figures=(Picture(HOSTILE, b"x"),),
            footer=HOSTILE,
        )
    )
    found = Elements(text)
    assert len(found.of("script")) == 1
    assert not [a for tag, a in found.found if "onerror" in a or a.get("src") == "x"]
    assert "8547" not in "".join(found.text)
    assert found.of("li", role="option")[0]["data-name"].startswith("<script>alert(1)</script>\"'>")
    assert "\u202e" not in text  # would turn the rest of a line around
    assert text.encode()


def test_only_the_script_of_the_page_may_run_and_nothing_is_loaded():
    import base64
    import hashlib

    text = render(page([clip("a", 1.0)]))
    (policy,) = (each["content"] for each in Elements(text).of("meta") if "http-equiv" in each)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "http://" not in text
    assert "https://" not in text


def test_filters_are_of_what_there_is_more_than_one_of():
    clips = [clip("a", 1, domain="source", label="normal"), clip("b", 2, domain="target")]
    found = Elements(render(page(clips)))
    assert [each["data-filter"] for each in found.of("select")] == ["domain", "label"]
    assert [each["value"] for each in found.of("option")][1:3] == ["source", "target"]


def test_what_is_said_of_a_clip():
    text = render(page([clip("a", 3.0, decision=False, p_value=0.04)]))
    said = "MSE 3, threshold 3.5, higher than 2 of 3 normal clips, p-value 0.04, decided normal"
    assert said in text


def test_a_recording_that_was_not_scored_says_why():
    text = render(page([clip("a", math.nan, error="holds no sound (0 samples)")]))
    assert "Not scored: holds no sound (0 samples)" in text


def test_pages_without_clips_and_with_tables_alone_can_be_written(tmp_path):
    table = Table("Metrics", ("machine", "AUC"), (("fan", "0.9000"),))
    write_page(tmp_path / "sub" / "a.html", page([], tables=(table,)))
    found = Elements((tmp_path / "sub" / "a.html").read_text(encoding="utf-8"))
    assert "".join(found.text).count("0.9000") == 1
    assert not found.of("li", role="option")


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.html: cannot be written"):
        write_page(tmp_path / "file" / "a.html", page([]))


def test_two_thousand_clips_make_a_page_of_little_size():
    clips = [clip(f"section_00_{i:04}.wav", i / 7, label="normal") for i in range(2000)]
    text = render(page(clips))
    assert len(text) < 2_500_000
    assert len(Elements(text).of("li", role="option")) == 2000


def test_scores_lie_where_they_belong_on_a_straight_scale():
    scale = Scale.of(np.array([0.0, 10.0]))
    assert not scale.is_log
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert scale.place(5.0) == pytest.approx(middle, abs=0.1)
    assert scale.place(-99.0) == LEFT
    assert scale.place(99.0) == WIDTH - RIGHT


def test_scores_that_span_decades_get_a_logarithmic_scale():
    scale = Scale.of(np.array([1.0, 10000.0]))
    assert scale.is_log
    assert scale.place(100.0) == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=0.1)
    assert [tick.text for tick in scale.ticks()][:2] == ["1", "10"]


def test_bars_count_normal_scores():
    drawing = draw("fan", "MSE", [1, 1, 1, 2], {"normal": [1.5], "anomaly": []}, 2.5)
    assert drawing.count == 4
    assert len(drawing.bars) == 2
    assert drawing.bars[0].height == pytest.approx(3 * drawing.bars[1].height, abs=0.1)
    assert [row.kind for row in drawing.rows] == ["normal"]
    assert drawing.scale.place(2.5) == drawing.threshold
    assert "threshold 2.5" in drawing.text


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf]])
def test_no_drawing_without_a_finite_score(values):
    assert draw("fan", "MSE", values, {"normal": values}, None) is None


@pytest.mark.parametrize("value", [0.0, -5.0, 1e-300, 1e300])
def test_a_single_score_can_be_drawn(value):
    drawing = draw("fan", "MSE", [value], {"unlabelled": [value]}, value)
    assert LEFT <= drawing.threshold <= WIDTH - RIGHT


def _pixels(png):
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def test_low_frequencies_are_at_the_bottom_and_loud_ones_are_bright():
    levels = np.full((4, 3), -60.0)
    levels[1, 0] = 0.0
    pixels = _pixels(spectrogram_png(levels, 0.0))
    assert pixels.shape == (3, 4, 4)
    brightness = pixels[..., :3].sum(axis=2)
    assert np.unravel_index(brightness.argmax(), brightness.shape) == (2, 1)
    assert brightness[0, 0] < 20


def test_what_raises_nothing_is_transparent():
    values = np.zeros((4, 3))
    values[2, 2] = 0.5
    alpha = _pixels(heat_png(values))[..., 3]
    assert alpha[0, 2] == 215
    assert alpha.sum() == 215
    assert heat_png(-values) == b""
