"""Exported networks with 8-bit numbers."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd.errors import UserError
from asd.jobs.onnx_files import INPUT, Deciding


def quantise(module: Deciding, path: Path, waves: NDArray[np.float32] | None) -> None:
    """Let the networks of a model compute with 8-bit numbers."""
    parts = getattr(module.scores, "int8_parts", ())
    if not parts:
        raise UserError("--int8: is for the autoencoder; leave it out")
    if waves is None:
        raise UserError("--int8: needs normal recordings to take ranges of values from (--clips)")
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, waves: NDArray[np.float32]) -> None:
            self._waves: Iterator[NDArray[np.float32]] = iter(waves)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            wave = next(self._waves, None)
            return None if wave is None else {INPUT: wave[None]}

    names = [
        node.name
        for node in onnx.load(str(path)).graph.node
        if any(f"/{part}/" in node.name for part in parts)
    ]
    exact = path.with_name("exact.onnx")
    path.rename(exact)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends steps that change nothing here
    try:
        quantize_static(
            str(exact), str(path), Reader(waves), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_quantize=names,
        )  # fmt: skip
    finally:
        root.setLevel(level)
