"""The page that asd test and asd run write, and that of any scored recordings."""

import base64
import io
import logging
import re

import numpy as np
import pytest
import soundfile

import asd
from asd.cli import main
from asd.pages.clip_page import PageLimits, PageText, ScoredSet, write_clip_page
from asd.pages.heard import link_of


@pytest.fixture(scope="module")
def run_page(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run_page")
    words = ["run", "-d", "--dataset_directory", str(tiny_data), "--machine_types", "fan",
             "ToyCar", "--epochs", "1", "--n_mels", "16", "--result_directory", str(folder / "r"),
             "--score", "MSE", "--page", str(folder / "page.html")]  # fmt: skip
    assert main(words) == 0
    return (folder / "page.html").read_text(encoding="utf-8")


def test_a_run_writes_a_page_of_its_clips_tables_and_figures(run_page):
    assert "<h1>DCASE2023T2 dev: DCASE2023T2-AE</h1>" in run_page
    assert run_page.count('role="option"') == 16
    assert re.findall(r"<caption>(.*?)</caption>", run_page) == ["Official score", "Metrics"]
    assert run_page.count("<figcaption>") == 4  # scores and ROC curves of two machine types
    assert "Most similar normal clip" in run_page
    assert "threshold" in run_page


def test_sounds_in_the_page_are_the_recordings(run_page):
    sounds = re.findall(r"data:audio/flac;base64,([^\"]+)", run_page)
    assert len(sounds) == 2 * 16
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0])))
    assert (rate, len(wave)) == (16000, 8000)
    assert np.abs(wave).max() <= 0.91


def test_asd_test_writes_the_page_of_an_embedding_system(tiny_data, tmp_path):
    words = ["-d", "--dataset_directory", str(tiny_data), "--machine_types", "fan", "--model",
             "raw_spec", "--result_directory", str(tmp_path / "r")]  # fmt: skip
    quick = ["--set", "backends.KMEANS.n_clusters=2"]
    assert main(["train", *words, *quick]) == 0
    scoring = ["--decision_threshold", "none", "--page", str(tmp_path / "p.html")]
    assert main(["test", *words, *quick, *scoring]) == 0
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Clips are ranked by" in text
    assert text.count("Nearest normal clip") == 8
    assert "What raises the score most" in text


@pytest.fixture(scope="module")
def scored(tiny_data):
    fan = asd.load_challenge("DCASE2023T2", tiny_data).dev["fan"]
    model = asd.create("ae", epochs=1, n_mels=16).fit(fan.train, progress=False)
    values = model.score(fan.test, ["MSE"])["MSE"]
    return ScoredSet(model, fan.test, "MSE", values, {"fan": float(np.median(values))})


def test_sounds_beyond_the_size_are_linked_the_most_anomalous_kept(scored, tmp_path):
    one = 8000 * 2  # bytes of half a second; FLAC takes a little less or more
    limits = PageLimits(details=6, sound_bytes=int(2.5 * one))
    write_clip_page(tmp_path / "p.html", [scored], PageText("A page"), limits=limits)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    articles = re.split(r"<article ", text)[1:]
    assert len(articles) == 7  # six clips, and the one for all others
    assert ["data:audio" in each for each in articles[:6]] == [True, True, *[False] * 4]
    assert all('src="../' in each or 'src="./' in each for each in articles[2:6])


def test_other_facts_are_taken_as_they_are_given(scored, tmp_path):
    from dataclasses import replace

    facts = replace(scored, p_values=np.full(8, 0.125), decisions=np.ones(8, dtype=bool))
    write_clip_page(tmp_path / "p.html", [facts], PageText("A page", (("clips", "8"),)),
                    failed=[("silent.wav", "holds no sound")])  # fmt: skip
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count('data-decision="anomalous"') == 8
    assert "p-value 0.125, decided anomalous" in text
    assert "Not scored: holds no sound" in text


def test_a_recording_that_is_gone_is_told_and_the_others_shown(scored, tmp_path, caplog):
    from dataclasses import replace
    from pathlib import Path

    from asd.audio.clip_set import ClipSet

    clips = [*scored.clips[:7], replace(scored.clips[7], path=Path("gone.wav"))]
    source = scored.clips._source
    moved = replace(scored, clips=ClipSet(clips, lambda _, feature: source(scored.clips, feature)))
    with caplog.at_level(logging.WARNING):
        write_clip_page(tmp_path / "p.html", [moved], PageText("A page"))
    assert "gone.wav" in caplog.text
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count('role="option"') == 8
    assert len(re.split(r"<article ", text)) == 9


def test_links_lead_from_the_page_to_the_file(tmp_path):
    (tmp_path / "a b").mkdir()
    odd = tmp_path / "a b" / "x:y #1?.wav"
    assert link_of(odd, tmp_path) == "./a%20b/x%3Ay%20%231%3F.wav"
    assert link_of(odd, tmp_path / "pages") == "./../a%20b/x%3Ay%20%231%3F.wav"
