"""Flags of other systems: refused by one system, told where several are run."""

import pytest

from asd.systems.registry import owners_of

RECIPE = ("--model", "raw_spec")


@pytest.fixture
def complaint(asd):
    def run(command, *words):
        return asd(*command.split(), *words).complaint

    return run


@pytest.mark.parametrize("command", ["train", "test", "run"])
def test_a_flag_that_only_other_systems_have_is_refused_and_they_are_named(complaint, command):
    for words in ((*RECIPE, "--n_mels", 64), ("--w=0.5",)):
        flag = next(word for word in words if word.startswith(("--n_mels", "--w")))
        owners = ", ".join(owners_of(flag.partition("=")[0]))
        assert complaint(f"{command} -d", *words) == (
            f"unknown argument {flag!r}; only {owners} have it (--model); see asd {command} --help"
        )


def test_a_command_that_takes_no_systems_flags_says_that_the_model_knows(complaint):
    assert complaint("embed -d --out e.npz", "--model", "free_mn", "--channel", "left") == (
        "unknown argument '--channel'; leave it out, the trained model knows its own; see asd "
        "embed --help"
    )


def test_who_has_a_flag():
    assert {"DCASE2023T2-AE", "ae", "BiGAN", "GAN"} <= set(owners_of("--n_mels"))
    assert {"BiGAN", "GAN"} <= set(owners_of("--w"))
    assert not {"DCASE2023T2-AE", "ae"} & set(owners_of("--w"))
    assert not owners_of("--seed")


def test_a_flag_that_no_system_has_is_refused_with_the_nearest(complaint):
    assert complaint("train -d", *RECIPE, "--batch_sise", 5) == (
        "unknown argument '--batch_sise'; did you mean --batch_size?; see asd train --help"
    )


def test_the_command_of_the_gan_has_the_flags_of_the_gan(complaint):
    words = complaint("gan gan dcase run", "--w", 0.5, "--precision", "bfloat16")
    assert words.startswith("unknown argument '--precision'")


@pytest.fixture
def warnings(asd, tmp_path):
    """The warnings of a command that then ends, as there are no data."""

    def run(command, *words):
        done = asd(*command.split(), *words, "--dataset_directory", tmp_path / "none")
        assert done.status == 2
        assert "no such folder" in done.err
        return [line for line in done.err.splitlines() if line.startswith("WARNING")]

    return run


def test_of_several_systems_those_that_do_not_heed_a_flag_are_named(warnings):
    words = ("--model", "ae", "raw_spec", "--n_mels", 64, "--seeds", 0, 1)
    assert warnings("run -d", *words) == [
        "WARNING: --n_mels: no effect on raw_spec, which has no such parameter"
    ]


def test_a_flag_that_all_of_several_systems_heed_is_not_told(warnings):
    assert not warnings("run -d", "--model", "ae", "raw_spec", "--epochs", 3)


def test_what_a_file_says_of_other_systems_is_not_told(warnings, tmp_path):
    """One file may serve all."""
    file = tmp_path / "own.yaml"
    file.write_text("--w: 0.5\n--n_mels: 64\n--threshold_fit: clip\n--mahalanobis: frame\n")
    heeded = ("--epochs", 3, "--batch_size", 9, "-lr", 0.1, "--channel", "right", "--restart")
    assert not warnings("train -d", *RECIPE, "--config", file, *heeded)
