"""Wav files are built byte by byte here, so that every oddity is there on purpose."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asd.audio.recording import read_recording
from asd.audio.wav import decode, find_sound
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


def read(path):
    """The samples of a file of one channel."""
    ((samples,), _) = read_recording(path)
    return samples


def test_sixteen_bit_samples_are_fractions_of_full_scale(put):
    wave, rate_hz = read_recording(put(plain_wav()))
    assert rate_hz == 16000
    assert wave.dtype == np.float32
    assert wave.tolist() == [[0, 1 / 32768, -1 / 32768, 0.5, -1, 32767 / 32768]]


def test_header_tells_rate_and_channels(put):
    wave, rate_hz = read_recording(put(plain_wav(channels=2, rate_hz=48000)))
    assert rate_hz == 48000
    assert wave.tolist() == [[0, -1 / 32768, -1], [1 / 32768, 0.5, 32767 / 32768]]


@pytest.mark.parametrize("odd", [b"INFOx", b"INFOxy"], ids=["odd length", "even length"])
def test_other_chunks_before_and_after_the_sound_are_passed_over(put, odd):
    note = chunk(b"LIST", odd)
    data = chunk(b"data", SAMPLES.tobytes())
    path = put(riff(note, chunk(b"fmt ", form()), note, note, data, note))
    assert np.array_equal(read(path), read(put(plain_wav())))
    assert len(read(path)) == 6


def test_extensible_format(put):
    guid = struct.pack("<H", PCM) + bytes.fromhex("000000001000800000aa00389b71")
    extended = form(tag=EXTENSIBLE) + struct.pack("<HHI", 22, 16, 4) + guid
    path = put(riff(chunk(b"fmt ", extended), chunk(b"data", SAMPLES.tobytes())))
    assert np.array_equal(read(path), read(put(plain_wav())))
    assert read(path)[3] == 0.5


def test_twenty_four_bit_samples(put):
    values = [0, 1, -1, 2**22, -(2**23)]
    data = b"".join(v.to_bytes(3, "little", signed=True) for v in values)
    path = put(plain_wav(data, bits=24))
    assert read(path).tolist() == [0, 2**-23, -(2**-23), 0.5, -1]


def test_float_samples_are_taken_as_they_are(put):
    values = np.array([0.25, -1.5, 3e4], dtype="<f4")
    path = put(plain_wav(values.tobytes(), bits=32, tag=FLOAT))
    assert read(path).tolist() == values.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(put, bad):
    values = np.array([0.5, bad, 0.25, 0.5], dtype="<f4")
    path = put(plain_wav(values.tobytes(), bits=32, tag=FLOAT))
    with pytest.raises(UserError, match=r"section_00_0000\.wav: holds samples that are NaN"):
        read(path)


def test_infinities_of_both_signs_do_not_cancel(put):
    values = np.array([np.inf, -np.inf], dtype="<f4")
    with pytest.raises(UserError, match="NaN or infinite"):
        read(put(plain_wav(values.tobytes(), bits=32, tag=FLOAT)))


def test_large_finite_values_are_not_mistaken_for_infinity(put):
    values = np.full(8, 3e38, dtype="<f4")
    path = put(plain_wav(values.tobytes(), bits=32, tag=FLOAT))
    assert np.isfinite(read(path)).all()


@pytest.mark.parametrize(
    ("bits", "tag"), [(8, PCM), (16, PCM), (24, PCM), (32, PCM), (32, FLOAT), (64, FLOAT)]
)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_of_every_plain_coding_are_those_of_libsndfile(rng, bits, tag, channels):
    count = 50 * channels
    data = rng.bytes(count * bits // 8)
    if tag == FLOAT:
        data = rng.normal(size=count).astype(f"<f{bits // 8}").tobytes()
    content = plain_wav(data, bits=bits, tag=tag, channels=channels)
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    assert np.array_equal(decode(content, find_sound(content)), expected.T)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"])
def test_other_codings_are_left_to_libsndfile(tmp_path, rng, subtype):
    samples = rng.uniform(-0.5, 0.5, 5000)
    soundfile.write(tmp_path / "x.wav", samples, 16000, subtype=subtype)
    expected, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    assert np.array_equal(read(tmp_path / "x.wav"), expected)


def header(length, riff=0, channels=1):
    """The beginning of a plain file whose lengths are as given."""
    start = b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunk(b"fmt ", form(channels))
    return start + b"data" + struct.pack("<I", length)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0])
@pytest.mark.parametrize("riff", [0xFFFFFFFF, 0x7FFFF024, 0])
def test_sound_of_unknown_length_goes_on_to_the_end_of_the_file(put, length, riff):
    content = header(length, riff) + SAMPLES.tobytes()
    assert np.array_equal(read(put(content)), SAMPLES / 32768)
    cut = put(content[:-1])  # the program was stopped within a sample
    assert np.array_equal(read(cut), SAMPLES[:-1] / 32768)


def test_sound_to_the_end_of_the_file_is_whole_frames(put):
    content = header(0xFFFFFFFF, channels=2) + SAMPLES.tobytes()
    for missing in (1, 2, 3):
        expected = SAMPLES[:4].reshape(2, 2).T / 32768
        assert np.array_equal(read_recording(put(content[:-missing])).wave, expected)


def rf64(data_length, magic=b"RF64"):
    sizes = struct.pack("<QQQI", 72 + 12, data_length, 6, 0)
    start = magic + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + chunk(b"ds64", sizes)
    return start + chunk(b"fmt ", form()) + b"data" + struct.pack("<I", 0xFFFFFFFF)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_long_wav_files_are_read(put, magic):
    content = rf64(12, magic) + SAMPLES.tobytes() + chunk(b"LIST", b"INFOx")
    assert np.array_equal(read(put(content)), SAMPLES / 32768)
    content = rf64(2**64 - 1, magic) + SAMPLES.tobytes()  # written to a pipe
    assert np.array_equal(read(put(content)), SAMPLES / 32768)


def test_long_wav_files_of_libsndfile_are_read(tmp_path, rng):
    samples = rng.integers(-(2**15), 2**15, (100, 2), dtype=np.int16)
    soundfile.write(tmp_path / "x.wav", samples, 16000, format="RF64")
    assert (tmp_path / "x.wav").read_bytes()[:4] == b"RF64"
    assert np.array_equal(read_recording(tmp_path / "x.wav").wave, samples.T / 32768)


def with_format(**changes):
    """A plain file in whose header some words are others."""
    words = {"tag": 1, "channels": 1, "rate": 16000, "second": 32000, "frame": 2, "bits": 16}
    words |= changes
    return riff(
        chunk(b"fmt ", struct.pack("<HHIIHH", *words.values())), chunk(b"data", SAMPLES.tobytes())
    )


LIES = {
    "bits": (with_format(bits=24), "1 channel(s) of 24 bits do not take the 2 bytes"),
    "channels": (with_format(channels=2), "2 channel(s) of 16 bits do not take the 2 bytes"),
    "block": (with_format(frame=4), "1 channel(s) of 16 bits do not take the 4 bytes"),
    "rate": (with_format(rate=8000), "8000 samples of 2 bytes a second are not the 32000 bytes"),
    "bytes a second": (with_format(second=16000), "are not the 16000 bytes that its header says"),
    "no channel": (with_format(channels=0), "its header says 0 channels, 16000 Hz and 2 bytes"),
    "no rate": (with_format(rate=0), "its header says 1 channels, 0 Hz"),
    "bits, block and bytes a second": (
        riff(chunk(b"fmt ", form(bits=24)), chunk(b"data", bytes(320))),
        "320 bytes of sound are no multiple of the 3 that a sample of all channels takes",
    ),
    "a length that is too short": (
        header(6) + SAMPLES.tobytes(), "its sound is 6 bytes long, but 6 bytes follow that are"
    ),
    "a length that is too short by one sample": (
        header(10) + SAMPLES.tobytes(), "its sound is 10 bytes long, but 2 bytes follow"
    ),
    "a short length, silence after it": (header(4) + bytes(80), "4 bytes long, but 76 bytes"),
    "a long length": (rf64(14) + SAMPLES.tobytes(), "is truncated, 2 of 14 bytes"),
    "a part after the sound that is cut": (
        header(12) + SAMPLES.tobytes() + chunk(b"LIST", b"INFO")[:-2], "but 10 bytes follow"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_a_header_that_lies_is_refused(put, kind):
    content, expected = LIES[kind]
    path = put(content)
    with pytest.raises(UserError) as caught:
        read_recording(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_programs_that_leave_the_bytes_a_second_empty_are_believed(put):
    assert len(read(put(with_format(second=0)))) == 6


WHOLE = plain_wav(np.arange(-500, 500, dtype="<i2").tobytes())


@given(st.data())
def test_no_changed_header_gives_other_samples_unsaid(data):
    """Any byte of the header may have any value: the sound is the same, or the file is refused,
    or it is said to be another kind altogether."""
    content = bytearray(WHOLE)
    place = data.draw(st.integers(0, 43))
    content[place] = data.draw(st.integers(0, 255))
    try:
        sound = find_sound(bytes(content))
    except UserError:
        return
    if sound.is_plain:
        expected = decode(WHOLE, find_sound(WHOLE))
        found = decode(bytes(content), sound)
        assert np.array_equal(found, expected)
        assert sound.sample_rate_hz == 16000


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
        read_recording(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message
