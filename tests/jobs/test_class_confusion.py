"""Confusion of classes against one counted clip by clip."""

import numpy as np
import pytest

from asd.errors import UserError
from asd.jobs.class_confusion import class_confusion
from asd.jobs.embeddings import EmbeddedClips
from asd.report.confusion import confusion_plot


def make_clips(rng, classes=3, train=5, test=4, spread=0.5):
    """Clips around a direction for each class; the last class has one training clip."""
    numbers, part = [], []
    for number in range(classes):
        own = 1 if number == classes - 1 else train
        numbers += [number] * (own + test)
        part += ["train"] * own + ["test"] * test
    numbers, n = np.array(numbers), len(numbers)
    directions = rng.normal(size=(classes, 6))
    embeddings = directions[numbers] + spread * rng.normal(size=(n, 6))
    label = np.where(np.array(part) == "train", "normal", np.resize(["normal", "anomaly"], n))
    text = np.full(n, "00")
    return EmbeddedClips(
        embeddings=embeddings.astype(np.float32), machine=np.array([f"m{i // 2}" for i in numbers]),
        section=text, domain=np.full(n, "source"), label=label,
        attributes=np.array([f"a_{i}" for i in numbers]), file_name=text, part=np.array(part),
        export_dir=np.array("x"), dataset=np.array("x"), split=np.array("dev"), seed=np.array(0),
    )  # fmt: skip


def test_every_clip_counts_where_its_nearest_class_is(rng):
    clips = make_clips(rng)
    found = class_confusion(clips)
    assert [name[3] for name in found.classes] == ["a_0", "a_1", "a_2"]
    units = clips.embeddings / np.linalg.norm(clips.embeddings, axis=1, keepdims=True)
    expected = {kind: np.zeros((3, 3), dtype=int) for kind in found.counts}
    for i, unit in enumerate(units):
        cosines = []
        for name in ("a_0", "a_1", "a_2"):
            chosen = (clips.part == "train") & (clips.attributes == name)
            chosen[i] = False
            mean = units[chosen].sum(axis=0)
            cosines.append(mean @ unit / np.linalg.norm(mean) if chosen.any() else -2)
        kind = "training" if clips.part[i] == "train" else (
            "normal test" if clips.label[i] == "normal" else "anomalous test")  # fmt: skip
        expected[kind][int(clips.attributes[i][-1]), int(np.argmax(cosines))] += 1
    assert set(found.counts) == {"training", "normal test", "anomalous test"}
    for kind, counts in expected.items():
        np.testing.assert_array_equal(found.counts[kind], counts)
    assert found.counts["training"][2, 2] == 0  # the only clip of its class


def test_test_clips_of_other_classes_are_left_out(rng):
    clips = make_clips(rng)
    lost = (clips.part == "train") & (clips.attributes == "a_1")
    found = class_confusion(clips.select(~lost))
    assert len(found.classes) == 2
    assert sum(counts.sum() for counts in found.counts.values()) == (~lost).sum() - 4


def test_one_class_has_nothing_to_be_mistaken_for(rng):
    clips = make_clips(rng)
    with pytest.raises(UserError, match="training clips of 1 classes; embed those of two or more"):
        class_confusion(clips.select(clips.attributes == "a_0"))


@pytest.mark.parametrize("classes", [3, 40])
def test_the_picture_names_classes_while_there_is_room(rng, classes):
    found = class_confusion(make_clips(rng, classes))
    figure = confusion_plot(found.classes, found.counts)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[0] == ("m0 00 source a_0" if classes == 3 else "m0")
    assert len(names) == (3 if classes == 3 else 20)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert all("right" in title for title in titles)
