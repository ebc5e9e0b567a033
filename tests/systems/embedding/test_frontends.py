"""Frontends against the public toolkit's outputs for the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.features import Features
from asd.errors import UserError
from asd.systems.embedding import crops, spectra
from asd.systems.embedding.frontends import PooledSpectrogram, SpectralNetwork

DATA = Path(__file__).parents[2] / "data" / "embedding"
GOLDEN = np.load(DATA / "frontends.npz")
OUR_NAMES = json.loads((DATA / "toolkit_names.json").read_text())
RATE = 16000
CASES = {
    "tiny16_1024_4s5": (1, (1024,), 16),
    "tiny16_0256_1024_4096_4s5": (2, (256, 1024, 4096), 16),
    "full128_1024_4s5": (4, (1024,), 128),
    "full128_0256_1024_4096_4s5": (5, (256, 1024, 4096), 128),
}


def golden(key: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[key])


def waves(key: str = "waves_4.5s") -> torch.Tensor:
    return torch.from_numpy(GOLDEN[key].astype(np.float32) / 32768)


def toolkit_weights(frontend: SpectralNetwork, seed: int) -> dict[str, torch.Tensor]:
    """Weights that the golden outputs were made with, under our names: a rule, not stored.

    Entry j of the toolkit's state dict is drawn from RandomState(seed * 100003 + j) and scaled by
    its kind.
    """
    ours = frontend.state_dict()
    weights: dict[str, torch.Tensor] = {}
    for key, name in OUR_NAMES.items():
        if key.endswith("num_batches_tracked") or name not in ours:
            continue
        shape = ours[name].shape
        random = np.random.RandomState(seed * 100003 + len(weights))
        r = random.randint(-127, 128, size=tuple(shape)) / 127
        if key.endswith("running_mean"):
            value = 0.05 * r
        elif key.endswith("running_var"):
            value = 1 + np.abs(r)
        else:
            value = r * np.sqrt(6 / max(1, int(np.prod(shape[1:]))))
        weights[name] = torch.from_numpy(value.astype(np.float32))
    return weights


def build(case: str) -> SpectralNetwork:
    seed, windows, width = CASES[case]
    frontend = SpectralNetwork(72000, RATE, windows=windows, width=width)
    weights = toolkit_weights(frontend, seed)
    missing, unexpected = frontend.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return frontend


@pytest.mark.parametrize("case", [c for c in CASES if c != "full128_1024_4s5"])
def test_embeddings_equal_the_toolkits(case):
    frontend = build(case)
    expected = golden(f"{case}/eval_out")
    with torch.inference_mode():
        got = frontend.eval()(waves())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("case", ["tiny16_1024_4s5", "full128_1024_4s5"])
def test_training_mode_equals_the_toolkits(case):
    frontend = build(case)
    expected = golden(f"{case}/train_out")
    got = frontend.train()(waves()).detach()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    for key in GOLDEN.files:
        if key.startswith(f"{case}/after_train/"):
            name = OUR_NAMES[key.removeprefix(f"{case}/after_train/")]
            torch.testing.assert_close(
                frontend.state_dict()[name], golden(key), rtol=1e-3, atol=1e-4
            )


def test_spectra_equal_the_toolkits():
    frontend = SpectralNetwork(72000, RATE, windows=(256, 1024, 4096), width=16)
    clip, *windows = frontend.features(waves())
    case = "tiny16_0256_1024_4096_4s5"
    torch.testing.assert_close(
        clip[0, :500], golden(f"{case}/fft_clip0_head"), rtol=1e-4, atol=1e-4
    )
    for number, spectrogram in enumerate(windows):
        expected = golden(f"{case}/stft{number}_clip0")
        assert spectrogram.shape[1] == expected.shape[0]
        torch.testing.assert_close(spectrogram[0, :, :8], expected, rtol=1e-4, atol=1e-5)


def test_features_of_many_clips_are_those_of_each():
    """Spectra are computed for a few clips at a time."""
    frontend = SpectralNetwork(72000, RATE, width=16)
    clips = torch.randn(19, 72000, generator=torch.Generator().manual_seed(0))
    alone = [frontend.features(clip[None]) for clip in clips]
    for found, parts in zip(frontend.features(clips), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(parts), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "windows", "width", "count"),
    [
        (4.5, (1024,), 16, 41362),
        (10, (1024,), 128, 2495568),
        (11, (1024,), 128, 2511952),
        (18, (256, 1024, 4096), 128, 5131504),
        (12, (256, 1024, 4096), 16, 82422),
    ],
)
def test_parameter_counts(seconds, windows, width, count):
    frontend = SpectralNetwork(int(seconds * RATE), RATE, windows=windows, width=width)
    assert sum(p.numel() for p in frontend.parameters()) == count
    assert sum(frontend.sizes) == width * (1 + len(windows))


def test_the_toolkits_network_has_the_same_parts():
    frontend = SpectralNetwork(72000, RATE, windows=(256, 1024, 4096), width=16)
    names = [name for name in OUR_NAMES.values() if name is not None]  # its windows have none
    assert sorted(names) == sorted(frontend.state_dict())


@pytest.mark.parametrize("pool", ["time_mean", "time_max", "freq_mean"])
def test_pooled_spectrogram(pool):
    clips = waves("frontends/waveform_int16")
    ours = pool.replace("freq", "frequency")
    frontend = PooledSpectrogram(clips.shape[1], RATE, pool=ours)
    expected = golden(f"frontends/raw_spec_{pool}")
    torch.testing.assert_close(frontend(clips), expected, rtol=1e-4, atol=1e-6)
    assert frontend.sizes == (expected.shape[1],)


def test_bin_range_keeps_the_ends():
    assert spectra.bin_range(256, 200, 8000, RATE) == (4, 129)
    assert spectra.bin_range(1024, 200, 8000, RATE) == (13, 513)
    assert spectra.bin_range(1024, 250, 1000, RATE) == (16, 65)  # both ends on a bin


@pytest.mark.parametrize(("whole_clip", "message"), [(True, "whole-clip"), (False, "window 1024")])
def test_too_short_an_input_is_refused(whole_clip, message):
    with pytest.raises(UserError, match=f"0.3 s is too short.*{message}"):
        SpectralNetwork(4800, RATE, whole_clip=whole_clip)


@pytest.mark.parametrize("whole_clip", [True, False])
def test_the_shortest_input_named_in_the_error_works(whole_clip):
    shortest = 70014 if whole_clip else 5120
    frontend = SpectralNetwork(shortest, RATE, whole_clip=whole_clip, width=16).eval()
    assert frontend(torch.zeros(1, shortest)).shape == (1, 32 if whole_clip else 16)
    with pytest.raises(UserError):
        SpectralNetwork(shortest - 1, RATE, whole_clip=whole_clip, width=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": (1024, 16)}, "window 16 has 8 frequency bins from 200 to 8000 Hz"),
        ({"low_hz": 9000}, "window 1024 has 0 frequency bins from 9000 to 8000 Hz"),
        ({"low_hz": 1000, "high_hz": 1140}, "window 1024 has 9 frequency bins"),
    ],
)
def test_too_few_frequency_bins_are_refused(options, message):
    with pytest.raises(UserError, match=f"{message}.*needs 11; set a longer window.*low_hz") as e:
        SpectralNetwork(RATE, RATE, whole_clip=False, **options)
    assert "\n" not in str(e.value)


def test_the_fewest_frequency_bins_work():
    options = {"whole_clip": False, "width": 16, "low_hz": 1000}
    frontend = SpectralNetwork(RATE, RATE, **options, high_hz=1160).eval()  # bins 64 to 74
    assert frontend(torch.zeros(1, RATE)).shape == (1, 16)
    with pytest.raises(UserError, match="10 frequency bins"):
        SpectralNetwork(RATE, RATE, **options, high_hz=1150)


@pytest.mark.parametrize("case", ["n10_crop25", "n30_crop12", "n8_crop8", "n9_crop10"])
def test_crops_equal_the_toolkits(case):
    length, width = (int(part.lstrip("ncrop")) for part in case.split("_"))
    seed = {"n10_crop25": 20, "n30_crop12": 40, "n8_crop8": 18, "n9_crop10": 19}[case]
    repeated = length * -(-width // length)
    random = int(np.random.RandomState(seed).randint(0, repeated - width + 1))
    rows = torch.arange(-5, length + 40)  # the clip of the case lies in the middle
    places = (torch.tensor([5, 5]), torch.tensor([length, length]), torch.tensor([0, random]))
    fixed, shuffled = crops.gather_crops(rows, *places, width)
    np.testing.assert_array_equal(fixed, GOLDEN[f"crops/{case}_fixed"])
    np.testing.assert_array_equal(shuffled, GOLDEN[f"crops/{case}_shuffled"])


def test_long_clips_are_gathered_as_short_ones_are():
    rows = torch.arange(100)
    places = (torch.tensor([0, 40]), torch.tensor([40, 60]), torch.tensor([3, 50]))
    got = crops.gather_crops(rows, *places, 10)
    np.testing.assert_array_equal(got, [np.arange(3, 13), np.arange(90, 100)])


def test_crops_of_16_bit_samples_are_those_of_their_values():
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 300, dtype=np.int16)
    places = np.array([0, 200]), np.array([200, 100])
    clips, cpu = torch.arange(2), torch.device("cpu")
    short = crops.Waves.place(Features(samples, *places, RATE, 2**-15), cpu)
    long = crops.Waves.place(Features(samples / np.float32(2**15), *places, RATE), cpu)
    assert short.rows.dtype == torch.int16
    for width in (50, 150):
        drawn = [
            w.random_crops(clips, width, torch.Generator().manual_seed(1)) for w in (short, long)
        ]
        first = [w.first_crops(clips, width) for w in (short, long)]
        assert drawn[0].dtype == torch.float32
        assert torch.equal(*drawn)
        assert torch.equal(*first)


def test_offsets_cover_what_fits():
    lengths = torch.tensor([10, 25, 7]).repeat(2000)
    offsets = crops.random_offsets(lengths, 10, torch.Generator().manual_seed(0)).view(-1, 3)
    assert offsets.amin(dim=0).tolist() == [0, 0, 0]
    assert offsets.amax(dim=0).tolist() == [0, 15, 4]  # 7 samples are repeated to 14
