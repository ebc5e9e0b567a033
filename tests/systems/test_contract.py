"""What every system promises, asked of each one in the registry, recipes among them."""

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.schema.node import Node
from asd.schema.parameters import plain
from asd.systems.base import MAIN_STAGE, Fit
from asd.systems.memory_run import MemoryRun
from asd.systems.registry import SYSTEMS, find_system, recipe_names

MELS, RATE = 8, 16000
FRAMES = ("frames=3", "batch_size=16", "epochs=2")
IMAGES = ("frames=4", "frame_hop_length=2", "latent_dim=4", "batch_size=16", "epochs=2")
BACKENDS = ("input_s=0.3", "backends.KMEANS.n_clusters=3")
NETWORK = (
    "frontend.windows=[256, 512]", "frontend.whole_clip=false", "frontend.width=8",
    "training.epochs=2", "training.batch_size=6", *BACKENDS,
)  # fmt: skip


def encoder_recipes():
    """Recipe -> what makes it quick, of those that need weights: those of tiny_encoders."""
    found = {}
    for name in recipe_names():
        recipe = find_system(name).defaults()
        weights = str(recipe.frontend.parameters.get("weights"))
        tiny = next((k for k in ("beats", "eat", "mn") if weights.startswith(k)), None)
        if tiny is not None:
            learning = ("frontend.rank=4", "frontend.width=8", "training.epochs=2",
                        "training.batch_size=6")  # fmt: skip
            clusters = BACKENDS[1:] if "KMEANS" in recipe.backends.by_name else ()
            found[name] = (
                f"frontend.weights=tiny_{tiny}", "input_s=0.3", "channel=left", *clusters,
                *(learning if recipe.learns else ()),
            )  # fmt: skip
    return found


def is_variant(name):
    return name.startswith("unlabelled_") and name != "unlabelled_subloss_0256_4096"


QUICK = {
    "DCASE2023T2-AE": FRAMES,
    "ae": FRAMES,
    "stats": (),
    "BiGAN": FRAMES,
    "GAN": (*FRAMES, "search_steps=3"),
    "BiGAN-IMAGE": IMAGES,
    "GAN-IMAGE": (*IMAGES, "search_steps=3"),
    **dict.fromkeys(recipe_names(), NETWORK),
    "raw_spec": ("frontend.mels=16", *BACKENDS),
    **encoder_recipes(),
}
"""What makes the trainings quick, as the flag --set takes it."""

QUICK["unlabelled_subloss_0256_4096"] = (*NETWORK, "training.keep_epochs=[]")
NAMES = (*SYSTEMS, *(name for name in recipe_names() if not is_variant(name)))
"""All but the recipes that begin with unlabelled_subloss_0256_4096."""


@pytest.fixture(autouse=True, scope="module")
def tiny_weights(tiny_encoders):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASD_WEIGHTS", str(tiny_encoders["beats"].parent))
        yield


def clip_set(*groups):
    """Clips of a machine; a group is (name with {}, numbers of frames, loudness, pitch).

    As a waveform, a frame is a hundredth of a second.
    """
    random = np.random.default_rng(8)
    clips, frames, waves = [], {}, {}
    for name, lengths, decibels, hz in groups:
        for i, length in enumerate(lengths):
            clip = parse_clip(Path("train") / name.format(f"{i:04}"), "fan")
            clips.append(clip)
            frames[clip] = decibels + random.standard_normal((length, MELS)).astype(np.float32)
            time = np.arange(length * RATE // 100) / RATE
            noise = random.standard_normal(len(time))
            tone = np.sin(2 * np.pi * hz * time + random.uniform(0, 6))
            waves[clip] = (10 ** (decibels / 20) * (tone + 0.1 * noise)).astype(np.float32)

    def source(chosen, feature):
        if feature.kind in ("encoder", "length"):
            parts = [feature.compute(waves[clip][None], RATE) for clip in chosen]
        else:
            parts = [(waves if feature.kind == "waveform" else frames)[clip] for clip in chosen]
        lengths = np.array([len(part) for part in parts])
        return Features(np.concatenate(parts), np.cumsum(lengths) - lengths, lengths, RATE)

    return ClipSet(clips, source)


def train_clips():
    return clip_set(
        ("section_00_source_train_normal_{}_a_1.wav", [12, 9, 12, 15, 12], -20, 500),
        ("section_00_source_train_normal_{}_a_3.wav", [11, 12, 12], -20, 400),
        ("section_00_target_train_normal_{}_a_2.wav", [12, 10, 13], -18, 600),
    )


def scored_clips():
    return clip_set(
        ("section_00_source_test_normal_{}_a_1.wav", [12, 14, 8], -20, 500),
        ("section_00_source_test_anomaly_{}_a_1.wav", [9, 13, 10], -60, 5000),
    )


def new_system(name):
    entry = find_system(name)
    return entry.system_class()(entry.defaults(QUICK[name]))


def through_a_file(state):
    """A state as it comes back from disk; fails for all but tensors and plain values."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(first, second):
    """Whether two states are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        # NaN equals NaN here
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(), second.nan_to_num())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


class Trained:
    """A system after two epochs, what it reported, and what it was trained on."""

    def __init__(self, name):
        self.name = name
        self.entry = find_system(name)
        self.train, self.test = train_clips(), scored_clips()
        self.system = new_system(name)
        self.stages, self.epochs, self.snapshots = [], [], []
        self.system.fit(self.train, MemoryRun(3, self.record))

    def record(self, stage, epoch):
        self.stages.append(stage)
        self.epochs.append(epoch)
        self.snapshots.append(through_a_file(epoch.snapshot()))

    @property
    def embeds(self):
        return self.name in recipe_names()

    @property
    def learns(self):
        return getattr(self.system.parameters, "learns", self.name != "stats")


@pytest.fixture(scope="module", params=NAMES)
def trained(request):
    return Trained(request.param)


def test_describes_itself(trained):
    cls = trained.entry.system_class()
    assert cls.scope in ("section", "machine", "challenge")
    assert trained.system.score_names
    assert len(set(trained.system.score_names)) == len(trained.system.score_names)
    inputs = trained.system.inputs()
    assert inputs
    for feature in inputs.values():
        assert feature.kind in ("logmel", "waveform", "encoder")
        assert json.loads(json.dumps(feature.key())) == feature.key()


def test_its_parameters_are_those_that_the_registry_reads(trained):
    assert trained.entry.system_class().Parameters is trained.entry.parameters_class()
    parameters = trained.system.parameters
    assert type(parameters) is trained.entry.parameters_class()
    stored = through_a_file(plain(parameters))
    assert Node.of_plain(stored, "model").read(trained.entry.parameters_class()) == parameters


def test_a_finite_score_per_clip(trained):
    scores = trained.system.score(trained.test)
    assert tuple(scores) == tuple(trained.system.score_names)
    for values in scores.values():
        assert values.shape == (len(trained.test),)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()


def test_a_score_that_is_asked_for_alone_is_the_same(trained):
    together = trained.system.score(trained.test)
    for name, values in together.items():
        np.testing.assert_array_equal(trained.system.score(trained.test, [name])[name], values)


def test_sound_of_another_level_and_pitch_is_more_anomalous(trained):
    is_anomaly = trained.test.is_anomaly
    for name, values in trained.system.score(trained.test).items():
        assert values[is_anomaly].min() > values[~is_anomaly].max(), name


def test_clips_do_not_know_each_other(trained):
    """Neither the order of clips nor what is scored beside them changes a score."""
    together = trained.system.score(trained.test)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = trained.system.score(trained.test.select(order))
    alone = [trained.system.score(trained.test[i : i + 1]) for i in range(len(trained.test))]
    for name, values in together.items():
        # Distances near 0 are rounding, of float32 embeddings whose batches differ.
        tolerance = {"rtol": 1e-4, "atol": 1e-3 * values.max() if trained.embeds else 0}
        np.testing.assert_allclose(shuffled[name], values[order], **tolerance)
        np.testing.assert_allclose([scores[name][0] for scores in alone], values, **tolerance)


def test_scoring_twice_gives_the_same(trained):
    first, second = (trained.system.score(trained.test) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_normal_scores_are_of_training_clips_one_by_one(trained):
    ((machine, table),) = trained.system.normal_scores().items()
    assert machine == "fan"
    assert set(table.columns) == set(trained.system.score_names)
    assert set(table.clips) <= set(trained.train)
    assert len(set(table.clips)) == len(table.clips) > 0
    for name in table.columns:
        assert table[name].shape == (len(table.clips),)
        assert table[name].dtype == np.float64
        assert np.isfinite(table[name]).all()


def test_gamma_samples_are_normal_scores(trained):
    for kinds in trained.system.gamma_samples().values():
        for samples in kinds.values():
            assert samples.keys() == set(trained.system.score_names)
            assert all(len(values) and np.isfinite(values).all() for values in samples.values())


def test_only_the_autoencoder_decides_by_gamma_distributions(trained):
    is_autoencoder = trained.name in ("DCASE2023T2-AE", "ae")
    assert set(trained.system.gamma_samples()) == ({"fan"} if is_autoencoder else set())


def test_reports_every_epoch(trained):
    expected = [(1, 2), (2, 2)] if trained.learns else []
    assert [(epoch.number, epoch.total) for epoch in trained.epochs] == expected
    assert set(trained.stages) <= {MAIN_STAGE}
    columns = {tuple(epoch.losses) for epoch in trained.epochs}
    assert len(columns) <= 1
    assert all(type(value) is float for epoch in trained.epochs for value in epoch.losses.values())


def test_state_survives_a_file(trained):
    state = through_a_file(trained.system.state())
    loaded = new_system(trained.name)
    loaded.load_state(state)
    assert same(through_a_file(loaded.state()), state)
    expected = trained.system.score(trained.test)
    for name, values in loaded.score(trained.test).items():
        np.testing.assert_array_equal(values, expected[name])
    assert loaded.normal_scores() == trained.system.normal_scores()
    assert same(_samples(loaded), _samples(trained.system))


def _samples(system):
    return {
        f"{machine} {kind} {name}": torch.from_numpy(values)
        for machine, kinds in system.gamma_samples().items()
        for kind, scores in kinds.items()
        for name, values in scores.items()
    }


def test_same_seed_same_model(trained):
    torch.rand(3)  # draws of others must not matter
    np.random.rand(3)
    again, other = new_system(trained.name), new_system(trained.name)
    again.fit(train_clips(), MemoryRun(3))
    other.fit(train_clips(), MemoryRun(4))
    assert same(again.state(), trained.system.state())
    if trained.learns:
        assert not same(other.state(), trained.system.state())


@pytest.mark.parametrize("done", [1, 2])
def test_resuming_equals_going_through(trained, done):
    if not trained.learns:
        pytest.skip("has nothing to resume")
    resumed = new_system(trained.name)
    reported = []
    snapshot = {MAIN_STAGE: trained.snapshots[done - 1]}
    resumed.fit(train_clips(), MemoryRun(3, lambda _, epoch: reported.append(epoch), snapshot))
    assert same(resumed.state(), trained.system.state())
    assert [dict(e.losses) for e in reported] == [dict(e.losses) for e in trained.epochs[done:]]


def test_a_snapshot_of_something_else_is_refused_in_one_line(trained):
    if not trained.learns:
        pytest.skip("has nothing to resume")
    snapshot = {MAIN_STAGE: {"weights": torch.zeros(2), "epoch": 1}}
    with pytest.raises(UserError, match=r"checkpoint .* train .*without --restart"):
        new_system(trained.name).fit(train_clips(), MemoryRun(3, resume=snapshot))


def test_a_clip_shorter_than_a_window_is_named(trained):
    if trained.embeds or trained.name == "stats":
        pytest.skip("takes clips of any length")
    clips = clip_set(("section_00_source_train_normal_{}_a_1.wav", [9, 12, 2], -20, 500))
    with pytest.raises(UserError, match=r"train/section_00_source_train_normal_0002_a_1\.wav"):
        new_system(trained.name).fit(clips, MemoryRun(3))
    with pytest.raises(UserError, match=r"0002_a_1\.wav"):
        trained.system.score(clips)


def test_fitting_many_is_fitting_each(trained):
    """Up to rounding; and one that fails, or whose report fails, does not stop the others."""

    def stop(_, epoch):
        raise UserError(f"stopped in epoch {epoch.number}")

    def fail():
        raise UserError("could not be stored")

    stored = []
    fits = [
        Fit(new_system(trained.name), train_clips(), MemoryRun(seed, on_epoch), on_fitted)
        for seed, on_epoch, on_fitted in (
            (3, lambda *_: None, partial(stored.append, 0)),
            (3, stop, partial(stored.append, 1)),
            (3, lambda *_: None, fail),
            (4, lambda *_: None, partial(stored.append, 3)),
        )
    ]
    errors = trained.entry.system_class().fit_many(fits)
    stopped = "stopped in epoch 1" if trained.learns else "None"
    assert [str(error) for error in errors] == ["None", stopped, "could not be stored", "None"]
    assert stored == ([0, 3] if trained.learns else [0, 1, 3])
    other = new_system(trained.name)
    other.fit(train_clips(), MemoryRun(4))
    for fit, alone in ((fits[0], trained.system), (fits[3], other)):
        expected = alone.score(trained.test)
        for name, values in fit.system.score(trained.test).items():
            np.testing.assert_allclose(values, expected[name], rtol=0.05)
