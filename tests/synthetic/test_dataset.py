import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd.audio.two_channels import cancel
from asd.challenge import layout
from asd.challenge.catalog import challenge_names, load_challenge
from asd.challenge.layout import machine_folder, train_clips
from asd.challenge.names import parse_clip_name
from asd.challenge.true_attributes import true_attributes, true_attributes_folder
from asd.errors import UserError
from asd.evaluation.metrics import auc
from asd.synthetic import dataset as synthetic
from asd.synthetic.dataset import SyntheticCounts, label_list_path, synthesize
from asd.synthetic.plan import plan_machine

FEW = SyntheticCounts(train_source=4, train_target=3, test_per_group=2)
SHORT = (0.2, 0.2)


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("year", challenge_names())
@pytest.mark.parametrize("split", ["dev", "eval"])
def test_every_year_is_read_back_as_planned(tmp_path, year, split):
    challenge = load_challenge(year)
    machine, sections = next(iter(challenge.split(split).sections.items()))
    synthesize(tmp_path, challenge, split, [machine], clips=FEW, seconds=SHORT)
    domains = len(challenge.domains)
    train = train_clips(tmp_path, challenge, split, machine)
    test = layout.test_clips(tmp_path, challenge, split, machine)
    assert {clip.section for clip in train} == {clip.section for clip in test} == set(sections)
    assert len(train) == len(sections) * (4 + 3 * (domains - 1))
    assert len(test) == len(sections) * domains * 2 * 2
    assert all(clip.label == "normal" for clip in train)
    labels = {"normal", "anomaly"} if split == "dev" else {None}
    assert {clip.label for clip in test} == labels
    sound = soundfile.info(test[0].path)
    assert (sound.samplerate, sound.channels, sound.subtype, sound.frames) == (
        16000,
        challenge.channels,
        "PCM_16",
        3200,
    )


@pytest.mark.parametrize(
    ("year", "split", "machine", "names"),
    [
        ("DCASE2020T2", "dev", "fan", ["train/normal_id_00_00000000.wav"]),
        ("DCASE2020T2", "eval", "fan", ["test/id_01_00000003.wav"]),
        ("DCASE2021T2", "dev", "fan", ["source_test/section_00_source_test_anomaly_0001.wav"]),
        ("DCASE2021T2", "eval", "fan", ["target_test/section_03_target_test_0003.wav"]),
        ("DCASE2022T2", "eval", "fan", ["test/section_05_0007.wav"]),
        ("DCASE2023T2", "dev", "fan", ["attributes_00.csv"]),
        (
            "DCASE2024T2",
            "dev",
            "ToyTrain",
            ["test/section_00_target_test_normal_0001_noAttribute.wav"],
        ),
        ("DCASE2025T2", "dev", "ToyCar", ["supplemental/section_00_machine_0001_.wav"]),
        ("DCASE2025T2", "dev", "ToyTrain", ["supplemental/section_00_noise_0003_.wav"]),
    ],
)
def test_organisers_names(tmp_path, year, split, machine, names):
    challenge = load_challenge(year)
    (folder,) = synthesize(tmp_path, challenge, split, [machine], clips=FEW, seconds=SHORT)
    assert folder == machine_folder(tmp_path, challenge, split, machine)
    for name in names:
        assert (folder / name).is_file()


@pytest.mark.parametrize("year", ["DCASE2020T2", "DCASE2021T2", "DCASE2023T2", "DCASE2026T2"])
def test_label_list_maps_each_evaluation_clip_to_one_labelled_name(tmp_path, year):
    challenge = load_challenge(year)
    machines = list(challenge.eval.sections)[:2]
    for machine in machines:  # two calls: the second keeps the first one's block
        synthesize(tmp_path, challenge, "eval", [machine], clips=FEW, seconds=SHORT)
    rows = list(csv.reader(label_list_path(tmp_path, challenge).open(encoding="utf-8")))
    assert [row[0] for row in rows if len(row) == 1] == machines
    second = [row[0] for row in rows].index(machines[1])
    for machine, block in zip(machines, (rows[1:second], rows[second + 1 :]), strict=True):
        there = {c.file_name for c in layout.test_clips(tmp_path, challenge, "eval", machine)}
        assert {row[0] for row in block} == there
        assert len({row[1] for row in block}) == len(block) == len(there)
        for row in block:
            hidden, told = parse_clip_name(row[0]), parse_clip_name(row[1])
            assert hidden.section == told.section
            if year == "DCASE2021T2":
                assert hidden.domain == told.domain
            if year == "DCASE2020T2":
                assert row[2] == str(int(told.label == "anomaly"))


def test_same_seed_same_bytes_whatever_else_is_made(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    for name, machines, seed in (
        ("a", ["fan"], 1),
        ("b", ["bearing", "fan"], 1),
        ("c", ["fan"], 2),
    ):
        synthesize(tmp_path / name, challenge, "dev", machines, clips=FEW, seconds=SHORT, seed=seed)
    first, second, other = (
        hashes(machine_folder(tmp_path / name, challenge, "dev", "fan")) for name in "abc"
    )
    assert first == second
    wavs = [name for name in first if name.endswith(".wav")]
    assert not {first[name] for name in wavs} & {other[name] for name in other}
    assert len({first[name] for name in wavs}) == len(wavs)  # no clip is there twice


def test_2020_train_and_test_clips_of_one_name_differ(tmp_path):
    challenge = load_challenge("DCASE2020T2")
    (folder,) = synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=SHORT)
    name = "normal_id_00_00000000.wav"
    assert (folder / "train" / name).read_bytes() != (folder / "test" / name).read_bytes()


def test_lengths_are_mixed_within_the_range(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=(0.2, 0.4))
    clips = train_clips(tmp_path, challenge, "dev", "fan")
    frames = [soundfile.info(clip.path).frames for clip in clips]
    assert len(set(frames)) > 3
    assert min(frames) >= 3200
    assert max(frames) <= 6400


def test_loudness_tells_nothing_about_the_label(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    counts = SyntheticCounts(1, 1, test_per_group=30)
    synthesize(tmp_path, challenge, "dev", ["fan"], clips=counts, seconds=SHORT)
    level_db = {"normal": [], "anomaly": []}
    for clip in layout.test_clips(tmp_path, challenge, "dev", "fan"):
        samples, _ = soundfile.read(clip.path)
        level_db[clip.label].append(10 * np.log10(np.mean(samples**2)))
    for levels in level_db.values():  # -26 dB and a uniform gain of up to 2 dB either way
        assert min(levels) > -28.1
        assert max(levels) < -23.9
        assert np.mean(levels) == pytest.approx(-26.0, abs=0.6)


def residuals(clips, basis=None):
    """Mean squared distance of each clip's band levels from the plane of normal frames, in dB."""
    frames = []
    for clip in clips:
        samples, _ = soundfile.read(clip.path)
        window = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024)
        power = np.abs(np.fft.rfft(window, axis=1)[:, :512]) ** 2
        frames.append(10 * np.log10(power.reshape(len(power), 128, 4).mean(axis=2)))
    if basis is None:
        rows = np.concatenate(frames)
        mean = rows.mean(axis=0)
        basis = mean, np.linalg.svd(rows - mean, full_matrices=False)[2][:8]
    mean, axes = basis
    centred = [clip - mean for clip in frames]
    return basis, np.array([np.mean((c - c @ axes.T @ axes) ** 2) for c in centred])


def test_anomalies_can_be_found_by_what_normal_clips_sound_like(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    machines = ["ToyCar", "bearing", "valve"]
    counts = SyntheticCounts(train_source=30, train_target=4, test_per_group=10)
    synthesize(tmp_path, challenge, "dev", machines, clips=counts)
    areas = []
    for machine in machines:
        basis, _ = residuals(train_clips(tmp_path, challenge, "dev", machine))
        test = layout.test_clips(tmp_path, challenge, "dev", machine)
        _, scores = residuals(test, basis)
        source = [i for i, clip in enumerate(test) if clip.is_anomaly or not clip.is_target]
        areas.append(auc([test[i].is_anomaly for i in source], scores[source]))
    assert 0.8 < np.mean(areas) < 0.999


def test_near_microphone_is_left_and_cleaner(tmp_path):
    challenge = load_challenge("DCASE2026T2")
    synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=(2.0, 2.0))
    clip = train_clips(tmp_path, challenge, "dev", "fan")[0]
    samples, _ = soundfile.read(clip.path)
    # The machine's comb makes power peaky over frequency; noise fills the valleys.
    power = np.abs(np.fft.rfft(samples[:, :] * np.hanning(len(samples))[:, None], axis=0)) ** 2
    low = power[100:3000]
    peakiness = np.log(low.mean(axis=0)) - np.log(low).mean(axis=0)
    assert peakiness[0] > peakiness[1] + 0.2


def test_attribute_table_agrees_with_the_names(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    (folder,) = synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=SHORT)
    rows = list(csv.DictReader((folder / "attributes_00.csv").open(encoding="utf-8")))
    assert len(rows) == 7 + 8
    for row in rows:
        machine, place, name = row["file_name"].split("/")
        assert machine == "fan"
        assert (folder / place / name).is_file()
        told = "_".join(row[column] for column in ("d1p", "d1v", "d2p", "d2v"))
        assert told == parse_clip_name(name).attributes


def test_evaluation_attribute_table_gives_no_label_away(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    (folder,) = synthesize(tmp_path, challenge, "eval", ["shaker"], clips=FEW, seconds=SHORT)
    rows = list(csv.DictReader((folder / "attributes_00.csv").open(encoding="utf-8")))
    tests = [row for row in rows if "/test/" in row["file_name"]]
    assert len(tests) == 8
    assert all(row["d1v"] == row["d2v"] == "" for row in tests)


def test_existing_folder_is_refused_before_anything_is_written(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    fan = machine_folder(tmp_path, challenge, "dev", "fan")
    fan.mkdir(parents=True)
    with pytest.raises(UserError, match=r"dev_data/raw/fan: exists already.*--overwrite"):
        synthesize(tmp_path, challenge, "dev", clips=FEW, seconds=SHORT)
    assert [path.name for path in fan.parent.iterdir()] == ["fan"]
    synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=SHORT, overwrite=True)
    assert [path.name for path in fan.parent.iterdir()] == ["fan"]
    assert len(list(fan.glob("*/*.wav"))) == 7 + 8


def test_interrupted_synthesis_leaves_nothing_half(tmp_path, monkeypatch):
    challenge = load_challenge("DCASE2023T2")
    written = []

    def break_off(path, *_args):
        written.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        if len(written) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "_write_clip", break_off)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, challenge, "eval", ["shaker"], clips=FEW)
    assert len(written) == 5
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.suffix == ".part"]


def test_a_failed_replacement_keeps_the_folder_that_was_there(tmp_path, monkeypatch):
    challenge = load_challenge("DCASE2023T2")
    fan = machine_folder(tmp_path, challenge, "dev", "fan")
    fan.mkdir(parents=True)
    (fan / "recording.wav").write_text("mine")
    rename = Path.rename

    def refuse_new(path, target):
        if path.suffix == ".part" and path.is_dir():
            raise OSError(5, "disk trouble")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(UserError, match=r"raw/fan: cannot be written \(.*disk trouble"):
        synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=SHORT, overwrite=True)
    assert [path.name for path in fan.parent.rglob("*")] == ["fan", "recording.wav"]


def test_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "dcase2023t2").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"raw/fan: cannot be written") as caught:
        synthesize(tmp_path, load_challenge("DCASE2023T2"), "dev", ["fan"], clips=FEW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ((-1, 8, 12), "--train_source: expected a number of clips of 0 or more, got -1"),
        ((60, -2, 12), "--train_target: expected a number of clips of 0 or more, got -2"),
        ((60, 8, -3), "--test: expected a number of clips of 0 or more, got -3"),
        ((0, 0, 12), "--train_source and --train_target: both are 0"),
    ],
)
def test_numbers_of_clips_are_checked(counts, complaint):
    with pytest.raises(UserError, match=complaint):
        SyntheticCounts(*counts)


def test_one_domain_or_no_test_clip_is_allowed(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    counts = SyntheticCounts(0, 2, 0)
    (folder,) = synthesize(tmp_path, challenge, "dev", ["fan"], clips=counts, seconds=SHORT)
    assert len(list(folder.rglob("*.wav"))) == 2


def test_range_of_seconds_is_checked(tmp_path):
    with pytest.raises(UserError, match="seconds 3 to 2"):
        synthesize(tmp_path, load_challenge("DCASE2023T2"), "dev", seconds=(3.0, 2.0))


def test_clutter_is_as_loud_as_told_and_never_the_same(tmp_path):
    """At 0 dB half of every clip's power is noise of a colour of its own."""
    challenge = load_challenge("DCASE2026T2")
    machine, _ = next(iter(challenge.split("dev").sections.items()))
    counts = SyntheticCounts(train_source=4, train_target=0, test_per_group=1)
    for name, clutter_db in (("plain", None), ("cluttered", 0.0)):
        synthesize(
            tmp_path / name, challenge, "dev", [machine], clips=counts, clutter_db=clutter_db
        )
    noises = []
    for path in sorted((tmp_path / "plain").rglob("*.wav")):
        plain, _ = soundfile.read(path)
        clip, _ = soundfile.read(tmp_path / "cluttered" / path.relative_to(tmp_path / "plain"))
        np.testing.assert_allclose(np.std(clip, axis=0), np.std(plain, axis=0), rtol=1e-3)
        correlation = np.corrcoef(plain[:, 0], clip[:, 0])[0, 1]
        assert correlation == pytest.approx(0.5**0.5, abs=0.03)
        noises.append(
            clip[:, 0] / np.std(clip[:, 0]) - plain[:, 0] / np.std(plain[:, 0]) * 0.5**0.5
        )
    spectra = [np.abs(np.fft.rfft(noise))[:8000].reshape(40, -1).mean(axis=1) for noise in noises]
    likeness = np.corrcoef(np.log(spectra))
    assert likeness[~np.eye(len(spectra), dtype=bool)].max() < 0.995


def test_the_far_channel_holds_the_clutter_of_the_near_one(tmp_path):
    """Most of the near channel's noise, and little of the machine, follows from the far one."""
    challenge = load_challenge("DCASE2026T2")
    machine, _ = next(iter(challenge.split("dev").sections.items()))
    counts = SyntheticCounts(train_source=2, train_target=0, test_per_group=1)
    for name, clutter_db in (("plain", None), ("cluttered", 0.0)):
        synthesize(
            tmp_path / name, challenge, "dev", [machine], clips=counts, clutter_db=clutter_db
        )
    for path in sorted((tmp_path / "plain").rglob("*.wav")):
        plain, _ = soundfile.read(path)
        clip, _ = soundfile.read(tmp_path / "cluttered" / path.relative_to(tmp_path / "plain"))
        left = cancel(clip[:, 0], clip[:, 1])
        before = np.corrcoef(plain[:, 0], clip[:, 0])[0, 1]
        assert np.corrcoef(plain[:, 0], left)[0, 1] > before + 0.15


def sounds(folder):
    return {digest for name, digest in hashes(folder).items() if name.endswith(".wav")}


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_hidden_attributes_are_told_by_a_table_and_change_no_sound(tmp_path, split):
    challenge = load_challenge("DCASE2023T2")
    first, second = list(challenge.split(split).sections)[:2]
    for name, hidden in (("told", ()), ("hidden", [first])):
        synthesize(
            tmp_path / name, challenge, split, [first, second], clips=FEW, seconds=SHORT,
            hide_attributes=hidden,
        )  # fmt: skip
    names = "told", "hidden"
    told, hidden = (sounds(machine_folder(tmp_path / n, challenge, split, first)) for n in names)
    assert told == hidden
    clips = train_clips(tmp_path / "hidden", challenge, split, first)
    assert {clip.attributes for clip in clips} == {"noAttribute"}
    truth = true_attributes(true_attributes_folder(tmp_path / "hidden", challenge, split, first))
    by_sound = {
        hashlib.sha256(clip.path.read_bytes()).hexdigest(): clip.attributes
        for clip in train_clips(tmp_path / "told", challenge, split, first)
    }
    for clip in clips:
        digest = hashlib.sha256(clip.path.read_bytes()).hexdigest()
        assert truth[clip.file_name] == by_sound[digest] != "noAttribute"
    tested = layout.test_clips(tmp_path / "hidden", challenge, split, first)
    assert {clip.file_name for clip in [*clips, *tested]} <= truth.keys()
    untold = true_attributes_folder(tmp_path / "hidden", challenge, split, second)
    assert true_attributes(untold) == {}
    assert {c.attributes for c in train_clips(tmp_path / "hidden", challenge, split, second)} != {
        "noAttribute"
    }


def test_machines_that_a_year_hides_have_their_table_too(tmp_path):
    challenge = load_challenge("DCASE2024T2")
    synthesize(tmp_path, challenge, "dev", ["ToyTrain"], clips=FEW, seconds=SHORT)
    truth = true_attributes(true_attributes_folder(tmp_path, challenge, "dev", "ToyTrain"))
    assert len(truth) == 4 + 3 + 8
    assert len(set(truth.values())) == 5


def test_a_data_set_made_again_leaves_no_table_of_before(tmp_path):
    challenge = load_challenge("DCASE2023T2")
    for hidden in (["fan"], ()):
        synthesize(tmp_path, challenge, "dev", ["fan"], clips=FEW, seconds=SHORT,
                   hide_attributes=hidden, overwrite=True)  # fmt: skip
    assert true_attributes(true_attributes_folder(tmp_path, challenge, "dev", "fan")) == {}


def speeds(contrast):
    """Machine speeds by attribute, from plans alone."""
    plan = plan_machine(
        load_challenge("DCASE2023T2"), "dev", "fan", FEW, 0, hidden=True, contrast=contrast
    )
    return {clip.true_name.split("_")[7]: clip.condition.speed for clip in plan}


def test_contrast_sets_attributes_further_apart():
    usual, clear = speeds(1.0), speeds(3.0)
    assert len(usual) == 5
    for value, speed in usual.items():
        assert clear[value] == pytest.approx(speed**3)


@pytest.mark.parametrize(
    ("year", "options", "complaint"),
    [
        ("DCASE2020T2", {"hide_attributes": ["fan"]}, "names of DCASE2020T2 tell no attributes"),
        ("DCASE2023T2", {"hide_attributes": ["fna"]}, "'fna' is not in the dev data"),
        ("DCASE2023T2", {"attribute_contrast": 0.0}, "expected more than 0, at most 6, got 0"),
    ],
)
def test_what_cannot_be_hidden_is_said(tmp_path, year, options, complaint):
    with pytest.raises(UserError, match=complaint):
        synthesize(tmp_path, load_challenge(year), "dev", ["fan"], clips=FEW, **options)
    assert not any(tmp_path.iterdir())
