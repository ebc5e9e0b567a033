"""The page of asd score."""

import html
import re

import pytest

from asd.cli import main


@pytest.fixture(scope="module")
def new_folder(make_pump, tmp_path_factory):
    """Four recordings, one of them faulty and one that is none."""
    folder, pump = tmp_path_factory.mktemp("new"), make_pump(1)
    for i in range(3):
        pump.record(folder / f"sub {i}" / "same name.wav", 1.5 + i, "bearing" if i == 2 else "")
    (folder / "<b>empty.wav").write_bytes(b"")
    return folder


def test_asd_score_writes_a_page_with_the_worst_first(
    detector_file, normal_folder, new_folder, tmp_path, capsys
):
    page = tmp_path / "report.html"
    words = [str(detector_file), str(new_folder), "--page", str(page)]
    assert main(["score", *words, "--normal", str(normal_folder)]) == 1  # one cannot be read
    text = page.read_text(encoding="utf-8")
    assert "<h1>pump.asd</h1>" in text
    names = re.findall(r'data-name="([^"]*)"', text)
    told = [re.split(r"(?:normal|anomalous|not read)  +", line)[1]
            for line in capsys.readouterr().out.splitlines()[1:]]  # fmt: skip
    assert [html.unescape(name) for name in names] == [re.split(r" \(|: ", t)[0] for t in told]
    assert text.count("Most similar normal clip") == 3
    assert "Not scored: " in text
    assert re.search(r"p-value 0\.\d+, decided", text)


def test_without_normal_recordings_the_page_shows_the_clips_alone(
    detector_file, new_folder, tmp_path
):
    page = tmp_path / "report.html"
    assert main(["score", str(detector_file), str(new_folder / "sub 0"), "--page", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("This clip") == 1
    assert "Most similar normal clip" not in text
