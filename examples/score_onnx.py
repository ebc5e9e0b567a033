"""Score recordings with an exported detector; needs numpy and onnxruntime, nothing else.

python score_onnx.py pump.onnx monday.wav tuesday.wav

Recordings are wav files of 16 bits at the detector's sampling rate. Longer ones are scored in
windows, the last of which ends with the recording; the score is their mean.
"""

import sys
import wave

import numpy as np
import onnxruntime


def read_wav(path, rate_hz, channel):
    with wave.open(path) as file:
        if file.getframerate() != rate_hz or file.getsampwidth() != 2:
            raise SystemExit(f"{path}: expected 16 bits at {rate_hz} Hz")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
        samples = samples.reshape(-1, file.getnchannels()) / 32768
    return samples.mean(axis=1) if channel == "mix" else samples[:, int(channel) - 1]


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
size, channel = int(facts["window_samples"]), facts["channel"]
channel = {"left": "1", "right": "2"}.get(channel, channel)
for path in sys.argv[2:]:
    samples = read_wav(path, int(facts["sample_rate_hz"]), channel)
    samples = np.resize(samples, max(size, len(samples)))  # repeats one that is too short
    starts = [*range(0, len(samples) - size, size), len(samples) - size]
    windows = np.stack([samples[start : start + size] for start in starts])
    (scores,) = session.run(["score"], {"waveform": windows})
    score = scores.mean()
    print(f"{path},{score:.6g},{int(score > float(facts['recording_threshold']))}")
