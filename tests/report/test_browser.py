"""The page in a real browser, where there is one."""

import io
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from asd.report.clip_page import AxisTick, Box, NormalScores, Page, ScoredClip, Sound, write_page
from asd.report.pictures import heat_png, spectrogram_png

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright, which drives a browser: pip install playwright"
)
BROWSER = os.environ.get("ASD_TEST_BROWSER") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium: apt-get install chromium")

HOSTILE = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


def tone(hz):
    file = io.BytesIO()
    wave = 0.1 * np.sin(2 * np.pi * hz * np.arange(8000) / 16000)
    soundfile.write(file, wave, 16000, "PCM_16", format="FLAC")
    return file.getvalue()


def sound(name, with_audio=True):
    levels = np.random.default_rng(0).normal(-40, 10, (40, 20))
    ticks = (AxisTick(50.0, "1 kHz"),)
    audio = tone(440) if with_audio else b""
    return Sound(name, 0.5, "./there.flac", audio, "audio/flac", spectrogram_png(levels, 0), ticks)


def clips(count, details):
    for i in range(count):
        clip = ScoredClip(
            Sound(f"clip {i:04}.wav", link="./there.flac"), "fan" if i % 2 else "pump", i / 10,
            label="anomaly" if i > count / 2 else "normal", domain="source",
            decision=i > count / 2,
        )  # fmt: skip
        if i >= count - details:
            heat = heat_png(np.eye(40, 20))
            boxes = (Box(10, 20, 30, 40),)
            clip = replace(clip, sound=sound(clip.name), heat=heat, boxes=boxes,
                           normal=sound("normal.wav"))  # fmt: skip
        yield clip


def write(path, entries):
    normal = {name: NormalScores(tuple(np.linspace(0, 1, 30)), 0.9) for name in ("fan", "pump")}
    write_page(path, Page("A page", "MSE", list(entries), normal, footer="The end."))


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page of some clips; whatever the browser complains of fails the test."""
    complaints = []

    def visit(entries, **options):
        write(tmp_path / "page.html", entries)
        (tmp_path / "there.flac").write_bytes(tone(880))
        tab = browser.new_page(**options)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: _refuse_network(request.url))
        tab.goto((tmp_path / "page.html").as_uri())
        tab.wait_for_selector("body.scripted")
        return tab

    def _refuse_network(url):
        if not url.startswith(("file:", "data:")):
            complaints.append(url)

    yield visit
    assert complaints == []


def selected(tab):
    return tab.locator("[aria-selected=true] .name").get_attribute("title")


def test_the_most_anomalous_clip_is_shown_first_with_a_normal_one_beside(visit):
    tab = visit(clips(20, 20))
    assert selected(tab) == "clip 0019.wav"
    article = tab.locator("article:visible")
    assert article.count() == 1
    assert article.locator("h2").inner_text() == "clip 0019.wav"
    assert article.locator(".spectrogram").count() == 2
    assert article.locator(".part").count() == 1
    assert tab.locator(".distribution:visible").get_attribute("data-machine") == "fan"


def test_arrow_keys_choose_clips_and_the_space_bar_plays_them(visit):
    tab = visit(clips(20, 20))
    tab.focus("#ranking li")
    for key, expected in [("ArrowDown", 18), ("ArrowDown", 17), ("ArrowUp", 18), ("End", 0),
                          ("Home", 19), ("PageDown", 9)]:  # fmt: skip
        tab.keyboard.press(key)
        assert selected(tab) == f"clip {expected:04}.wav"
        assert tab.evaluate("document.activeElement.dataset.name") == f"clip {expected:04}.wav"
    for key, number in ((" ", 0), ("n", 1)):
        tab.keyboard.press(key)
        audio = tab.locator("article:visible audio").nth(number)
        tab.wait_for_function("each => each.currentTime > 0", arg=audio.element_handle())


def test_tab_goes_from_the_filters_to_the_list_to_the_players(visit):
    tab = visit(clips(4, 4))
    order = []
    for _ in range(8):
        tab.keyboard.press("Tab")
        order.append(
            tab.evaluate("document.activeElement.dataset.filter || document.activeElement.tagName")
        )
    assert order[:6] == ["machine", "label", "decision", "INPUT", "INPUT", "LI"]
    assert order[6] == "AUDIO"


def test_filters_and_search_hide_other_clips(visit):
    tab = visit(clips(20, 20))
    tab.select_option("[data-filter=machine]", "pump")
    assert tab.locator("#ranking li:visible").count() == 10
    assert tab.locator("#count").inner_text() == "10 of 20 clips"
    assert selected(tab) == "clip 0018.wav"
    tab.select_option("[data-filter=label]", "normal")
    tab.fill("#search", "0004")
    assert tab.locator("#ranking li:visible").count() == 1
    tab.fill("#search", "no such clip")
    assert tab.locator("#nothing").is_visible()
    assert tab.locator("article:visible").count() == 0


def test_marks_can_be_taken_away(visit):
    tab = visit(clips(3, 3))
    assert tab.locator("article:visible .part").is_visible()
    tab.uncheck("#marks")
    assert not tab.locator("article:visible .part").is_visible()


def test_a_hostile_name_stays_a_name(visit):
    name = HOSTILE
    tab = visit([*clips(3, 3), ScoredClip(sound(name), name, 99.0, label=name, attributes=name)])
    assert selected(tab) == name
    assert tab.locator("article:visible h2").inner_text() == name
    assert tab.title() == "A page"


def test_clips_without_pictures_are_shown_with_their_file(visit):
    tab = visit(clips(30, 2))
    tab.focus("#ranking li")
    tab.keyboard.press("End")
    article = tab.locator("article:visible")
    assert article.locator("h2").inner_text() == "clip 0000.wav"
    assert article.locator("a").get_attribute("href") == "./there.flac"
    tab.keyboard.press(" ")
    audio = article.locator("audio").element_handle()
    tab.wait_for_function("each => each.currentTime > 0", arg=audio)


def test_two_thousand_clips_are_quick_to_go_through(visit):
    tab = visit(clips(2000, 50))
    assert tab.locator("#ranking li").count() == 2000
    tab.focus("#ranking li")
    took_ms = tab.evaluate("""() => {
        const list = document.getElementById('ranking');
        const start = performance.now();
        for (let i = 0; i < 30; i += 1) {
          document.activeElement.dispatchEvent(
            new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));
        }
        return (performance.now() - start) / 30;
    }""")
    assert selected(tab) == "clip 1969.wav"
    assert took_ms < 250


def colours(tab):
    return [
        sum(map(int, value.removeprefix("rgb(").rstrip(")").split(",")[:3]))
        for value in tab.evaluate("""() => {
            const style = getComputedStyle(document.body);
            return [style.backgroundColor, style.color];
        }""")
    ]


def test_it_is_dark_where_that_is_preferred_and_light_on_paper(visit):
    ground, ink = colours(visit(clips(3, 3)))
    assert ground > 600 > 200 > ink
    tab = visit(clips(3, 3), color_scheme="dark")
    ground, ink = colours(tab)
    assert ink > 600 > 200 > ground
    tab.emulate_media(media="print", color_scheme="dark")
    ground, ink = colours(tab)
    assert ground == 765
    assert ink == 0


def test_paper_shows_the_ten_most_anomalous_clips_and_no_controls(visit):
    tab = visit(clips(150, 20))
    tab.emulate_media(media="print")
    assert tab.locator("article:visible").count() == 10
    assert tab.locator("#ranking li:visible").count() == 100
    assert tab.locator("audio:visible, .filters:visible").count() == 0


def test_a_telephone_needs_no_scrolling_sideways(visit):
    tab = visit(clips(20, 20), viewport={"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
