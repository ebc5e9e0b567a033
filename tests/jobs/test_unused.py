"""Flags without effect are told, in one line; a file's values and flags that work are not."""

import pytest

RECIPE = ("--model", "raw_spec")


@pytest.fixture
def warnings(asd, tmp_path):
    """The warnings of a command that then ends, as there are no data."""

    def run(command, *words):
        done = asd(*command.split(), *words, "--dataset_directory", tmp_path / "none")
        assert "no such folder" in done.complaint
        return [line for line in done.err.splitlines() if line.startswith("WARNING")]

    return run


@pytest.mark.parametrize("command", ["train -d", "test -d", "run -d"])
def test_flags_that_a_recipe_does_not_heed(warnings, command):
    words = ("--n_mels", 64, "--mahalanobis", "frame", "--threshold_fit", "clip", "--w", 0.5)
    assert warnings(command, *RECIPE, *words) == [
        "WARNING: --threshold_fit, --mahalanobis, --n_mels, --w: no effect on raw_spec; leave out"
    ]


def test_flags_that_the_autoencoder_does_not_heed(warnings):
    assert warnings("train -d", "--w", 0.5, "--d", 2, "--threshold_fit", "clip") == [
        "WARNING: --w, --d: no effect on DCASE2023T2-AE; leave out"
    ]


def test_the_gan_is_told_by_its_own_command(warnings):
    assert warnings("gan gan dcase run", "--w", 0.5, "--precision", "bfloat16") == [
        "WARNING: --precision: no effect on GAN; leave out"
    ]


def test_the_frame_form_of_a_score_that_is_not_asked_for(warnings):
    assert warnings("test -d", "--mahalanobis", "frame") == [
        "WARNING: --mahalanobis: no effect on --score MSE; add --score MAHALA"
    ]
    for score in ("MAHALA", "all"):
        assert not warnings("test -d", "--mahalanobis", "frame", "--score", score)


def test_of_several_systems_those_that_do_not_heed_a_flag_are_named(warnings):
    words = ("--model", "ae", "raw_spec", "--n_mels", 64, "--seeds", 0, 1)
    assert warnings("run -d", *words) == ["WARNING: --n_mels: no effect on raw_spec; leave out"]


def test_flags_that_work_and_values_of_a_file_are_not_named(warnings, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("--w: 0.5\n--n_mels: 64\n--threshold_fit: clip\n--mahalanobis: frame\n")
    heeded = ("--epochs", 3, "--batch_size", 9, "-lr", 0.1, "--channel", "right", "--restart")
    assert not warnings("train -d", *RECIPE, "--config", file, *heeded)
    assert not warnings("train -d", "--n_mels", 64, "--frames", 4, "--precision", "bfloat16")
    assert not warnings("train -d", "--model", "BiGAN", "--w", 0.5, "--n_fft", 512)
