"""Augmentations against the public programs' outputs, drawn from the same seeds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asd.systems.embedding import augmentation

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "embedding" / "augmentations.npz")
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def golden(key: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[key])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("probability", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_mixup(probability, kind):
    key = f"mixup_asdkit/p{probability}"
    waves, labels = augmentation.mixup(
        golden("mixup_asdkit/wave"),
        golden(f"mixup_asdkit/{kind}"),
        probability,
        seeded(int(GOLDEN[f"{key}_seed"])),
    )
    torch.testing.assert_close(waves, golden(f"{key}_wave_out"), **CLOSE)
    torch.testing.assert_close(labels, golden(f"{key}_{kind}_out"), **CLOSE)


@pytest.mark.parametrize("program", ["asdkit", "unlabeledasd"])
@pytest.mark.parametrize("branches", [2, 3, 4])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_feature_exchange(program, branches, kind):
    folder = f"featex_{program}"
    for probability in (0.5, 1.0) if program == "asdkit" else (0.5,):
        key = f"{folder}/E{branches}_p{probability}_train"
        embeddings = golden(f"{folder}/E{branches}_embed")
        if program == "unlabeledasd":  # stored branch by branch
            embeddings = embeddings.transpose(0, 1).flatten(1)
        got, labels = augmentation.feature_exchange(
            embeddings,
            golden(f"{folder}/{kind}"),
            branches,
            probability,
            seeded(int(GOLDEN[f"{key}_seed"])),
            keep_first=program == "asdkit",
        )
        torch.testing.assert_close(got, golden(f"{key}_embed_out"), **CLOSE)
        torch.testing.assert_close(labels, golden(f"{key}_{kind}_out"), **CLOSE)


@pytest.mark.parametrize("probability", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_statistics_exchange(probability, kind):
    folder = "statex_layer_unlabeledasd"
    key = f"{folder}/p{probability}"
    of_clips = torch.rand(8, 5)
    (same, *spectra), labels = augmentation.statistics_exchange(
        [of_clips, golden(f"{folder}/X"), golden(f"{folder}/X")],
        golden(f"{folder}/{kind}"),
        probability,
        seeded(int(GOLDEN[f"{key}_seed"])),
    )
    assert same.equal(of_clips)
    for got in spectra:
        torch.testing.assert_close(got, golden(f"{key}_X_out"), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(labels, golden(f"{key}_{kind}_out"), **CLOSE)


def test_statistics_from_other_machines():
    folder = "statex_function_unlabeledasd"
    spectra = golden(f"{folder}/X")
    others = golden(f"{folder}/N")[golden(f"{folder}/perm")[: len(spectra)]]
    over_time = golden(f"{folder}/uniform_axis") < 0.5
    got = augmentation.transfer_statistics(spectra, others, over_time)
    torch.testing.assert_close(got, golden(f"{folder}/out"), rtol=1e-5, atol=1e-5)


def test_spec_augment_hides_one_band_of_each_axis():
    ones = torch.ones(200, 40, 60)
    options = {"time_width": 20, "frequency_width": 10}
    got = augmentation.spec_augment(
        ones, time_probability=1.0, frequency_probability=1.0, **options, generator=seeded(1)
    )
    frames = (got.amax(dim=1) == 0).sum(dim=1)  # hidden frames of each row
    bins = (got.amax(dim=2) == 0).sum(dim=1)
    assert (frames.min(), frames.max()) == (0, 19)
    assert (bins.min(), bins.max()) == (0, 9)
    hidden = torch.cat([torch.zeros(200, 1), (got.amax(dim=1) == 0).float()], dim=1)
    assert (hidden.diff(dim=1) == 1).sum(dim=1).max() == 1  # in one piece
    untouched = augmentation.spec_augment(
        ones, time_probability=0.0, frequency_probability=0.0, **options, generator=seeded(1)
    )
    assert untouched.equal(ones)


def test_spec_augment_of_waves_silences_a_band_and_leaves_the_rest():
    time = torch.arange(16000) / 16000
    waves = (torch.sin(2 * torch.pi * 500 * time) + torch.sin(2 * torch.pi * 6000 * time))[None]
    kept = augmentation.spec_augment_waves(
        waves, time_probability=0.0, frequency_probability=0.0, generator=seeded(0)
    )
    torch.testing.assert_close(kept, waves, rtol=0, atol=1e-4)
    options = {"time_probability": 0.0, "frequency_probability": 1.0, "frequency_width": 500}
    got = augmentation.spec_augment_waves(waves, **options, generator=seeded(3))
    assert got.square().mean() < 0.6 * waves.square().mean()
