import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "gpu_check.py"
# A seed: of random ones, some bring rounding near the limits.
SMALL = ("--device", "cpu", "--small", "--seed", "1")


@pytest.fixture
def run_script(monkeypatch, capsys):
    """The script's exit status and what it printed."""

    def run(*flags):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, flags)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return end.value.code, capsys.readouterr()

    return run


def test_small_on_the_cpu(run_script, tmp_path):
    status, printed = run_script(*SMALL, "--json", tmp_path / "gpu.json")
    assert status == 0
    assert printed.out.splitlines()[-1].startswith("| stacked |")  # the table comes last
    numbers = json.loads((tmp_path / "gpu.json").read_text())
    assert numbers["correct"]
    assert 0 < numbers["errors"]["stacked"]["gradients"] < 1e-4
    assert 150 < numbers["floor"]["launches"] < 250
    # Two models, 32 windows, 6 operations a weight less the first layer's 2 for its input.
    weights = 2 * (640 * 128 + 3 * 128 * 128 + 128 * 8)
    assert numbers["floor"]["operations"] == 2 * 32 * (6 * weights - 2 * 640 * 128)
    assert all(len(seconds) == 3 for seconds in numbers["epoch_s"].values())


def test_says_when_results_are_wrong(run_script, monkeypatch):
    from asd.systems.autoencoder.stacked_network import StackedNetwork

    right = StackedNetwork.train_step

    def wrong(self, x, share, correction):
        errors = right(self, x, share, correction)
        self.gradients *= 1.001
        return errors

    monkeypatch.setattr(StackedNetwork, "train_step", wrong)
    status, printed = run_script(*SMALL)
    assert status == 1
    assert "TOO LARGE" in printed.out


def test_without_a_gpu(run_script, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, printed = run_script()
    assert status == 2
    assert printed.err == "no CUDA device here; try --device cpu\n"
