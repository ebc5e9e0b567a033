"""Modules as ONNX files: written, with what a program has to know, and run."""

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

INPUT, SCORE, DECISION = "waveform", "score", "decision"
"""Names of the input and the outputs."""

_OPSET = 17


class Deciding(nn.Module):
    """A module that gives scores, with decisions beside them."""

    def __init__(self, scores: nn.Module, threshold: float) -> None:
        super().__init__()
        self.scores = scores
        self.threshold = threshold

    def forward(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and 1 for those above the threshold, else 0; shape (n,) each."""
        scores = self.scores(waves)
        return scores, (scores > self.threshold).to(torch.int64)


def write_model(module: nn.Module, samples: int, path: Path) -> None:
    """Write a module as ONNX.

    By the exporter that needs no further package, and a twentieth of the newer one's time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older exporter, and constant shapes
        torch.onnx.export(
            module,
            (torch.zeros(2, samples),),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[SCORE, DECISION],
            dynamic_axes={name: {0: "n"} for name in (INPUT, SCORE, DECISION)},
        )


def add_metadata(path: Path, values: dict[str, str]) -> None:
    """Write facts into a file, which is checked to be one that ONNX allows."""
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, values)
    model.doc_string = "Waveform to anomaly score, see the metadata"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def run_model(path: Path, waves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores by onnxruntime, window by window, as a device would."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([SCORE], {INPUT: wave[None]})[0] for wave in waves])


def count_products(module: nn.Module, samples: int) -> int:
    """Multiplications of matrix products and convolutions for one window."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, samples))
    return int(counter.get_total_flops()) // 2
