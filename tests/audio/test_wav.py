"""Wav files are built byte by byte here, so that every oddity is there on purpose."""

import struct

import numpy as np
import pytest

from asd.audio.wav import WavHeader, read_header, read_samples
from asd.errors import UserError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SAMPLES = np.array([0, 1, -1, 16384, -32768, 32767], dtype="<i2")


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def form(channels=1, bits=16, tag=PCM, rate_hz=16000):
    step = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * step, step, bits)


def riff(*chunks):
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


@pytest.fixture
def put(tmp_path):
    def write(content):
        path = tmp_path / "section_00_0000.wav"
        path.write_bytes(content)
        return path

    return write


def plain_wav(data=None, **options):
    content = SAMPLES.tobytes() if data is None else data
    return riff(chunk(b"fmt ", form(**options)), chunk(b"data", content))


def test_sixteen_bit_samples_are_fractions_of_full_scale(put):
    path = put(plain_wav())
    assert read_header(path) == WavHeader(16000, 1, 6)
    samples = read_samples(path)
    assert samples.dtype == np.float32
    assert samples.tolist() == [0, 1 / 32768, -1 / 32768, 0.5, -1, 32767 / 32768]


def test_header_tells_rate_and_channels(put):
    path = put(plain_wav(channels=2, rate_hz=48000))
    assert read_header(path) == WavHeader(48000, 2, 3)


def test_channels_left_right_and_their_mean(put):
    path = put(plain_wav(channels=2))
    assert read_samples(path, "left").tolist() == [0, -1 / 32768, -1]
    assert read_samples(path, "right").tolist() == [1 / 32768, 0.5, 32767 / 32768]
    expected = [0.5 / 32768, (0.5 - 1 / 32768) / 2, -0.5 / 32768]
    np.testing.assert_allclose(read_samples(path, "mix"), expected, rtol=1e-6)
    assert read_samples(path, "left").flags.c_contiguous


def test_mix_of_a_mono_file_is_the_file(put):
    path = put(plain_wav())
    assert np.array_equal(read_samples(path, "mix"), read_samples(path, "left"))


@pytest.mark.parametrize("odd", [b"INFOx", b"INFOxy"], ids=["odd length", "even length"])
def test_other_chunks_before_and_after_the_sound_are_passed_over(put, odd):
    note = chunk(b"LIST", odd)
    data = chunk(b"data", SAMPLES.tobytes())
    path = put(riff(note, chunk(b"fmt ", form()), note, note, data, note))
    assert read_header(path).samples == 6
    assert np.array_equal(read_samples(path), read_samples(put(plain_wav())))


def test_extensible_format(put):
    guid = struct.pack("<H", PCM) + bytes.fromhex("000000001000800000aa00389b71")
    extended = form(tag=EXTENSIBLE) + struct.pack("<HHI", 22, 16, 4) + guid
    path = put(riff(chunk(b"fmt ", extended), chunk(b"data", SAMPLES.tobytes())))
    assert read_header(path) == WavHeader(16000, 1, 6)
    assert read_samples(path)[3] == 0.5


def test_twenty_four_bit_samples(put):
    values = [0, 1, -1, 2**22, -(2**23)]
    data = b"".join(v.to_bytes(3, "little", signed=True) for v in values)
    path = put(plain_wav(data, bits=24))
    assert read_header(path).samples == 5
    assert read_samples(path).tolist() == [0, 2**-23, -(2**-23), 0.5, -1]


def test_float_samples_are_taken_as_they_are(put):
    values = np.array([0.25, -1.5, 3e4], dtype="<f4")
    path = put(plain_wav(values.tobytes(), bits=32, tag=FLOAT))
    assert read_samples(path).tolist() == values.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", ["left", "mix"])
def test_values_that_are_no_numbers_are_refused(put, bad, channel):
    values = np.array([0.5, bad, 0.25, 0.5], dtype="<f4")
    path = put(plain_wav(values.tobytes(), bits=32, tag=FLOAT))
    with pytest.raises(UserError, match=r"section_00_0000\.wav: holds samples that are NaN"):
        read_samples(path, channel)


def test_infinities_of_both_signs_do_not_cancel(put):
    values = np.array([np.inf, -np.inf], dtype="<f4")
    with pytest.raises(UserError, match="NaN or infinite"):
        read_samples(put(plain_wav(values.tobytes(), bits=32, tag=FLOAT)))


def test_large_finite_values_are_not_mistaken_for_infinity(put):
    values = np.full(8, 3e38, dtype="<f4")
    path = put(plain_wav(values.tobytes(), bits=32, tag=FLOAT))
    assert np.isfinite(read_samples(path)).all()


DAMAGED = {
    "zero bytes": (b"", "is empty (0 bytes)"),
    "one byte": (b"R", "is not a wav file"),
    "text": (b"this is no sound at all, but text of some length", "is not a wav file"),
    "flac": (b"fLaC" + bytes(60), "is not a wav file"),
    "another RIFF": (
        b"RIFF" + struct.pack("<I", 40) + b"AVI " + chunk(b"data", bytes(8)),
        "cannot be read as a wav file",
    ),
    "RIFF and nothing": (b"RIFF", "is truncated, it ends before its sound begins"),
    "header without sound": (riff(chunk(b"fmt ", form())), "it ends before its sound begins"),
    "no samples": (plain_wav(b""), "holds no sound (0 samples)"),
    "cut by one byte": (plain_wav()[:-1], "is truncated, 1 of 12 bytes of sound are missing"),
    "cut to its header": (plain_wav()[:44], "is truncated, 12 of 12 bytes"),
    "cut within a chunk's name": (plain_wav()[:38], "it ends before its sound begins"),
    "no format": (riff(chunk(b"data", bytes(8))), "cannot be read as a wav file"),
    "unknown coding": (plain_wav(tag=0x1234), "cannot be read as a wav file"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_named_with_what_is_wrong(put, kind):
    content, expected = DAMAGED[kind]
    path = put(content)
    with pytest.raises(UserError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_missing_file_and_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.wav: cannot be read .*No such file"):
        read_header(tmp_path / "gone.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(UserError, match=r"folder\.wav: cannot be read"):
        read_header(tmp_path / "folder.wav")
    with pytest.raises(UserError, match=r"gone\.wav: cannot be read as a wav file"):
        read_samples(tmp_path / "gone.wav")
