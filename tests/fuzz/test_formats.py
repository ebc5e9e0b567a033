"""Every file that this program reads, with bytes changed: a line that says so, or good content.

Formats with checksums never give content that was changed. Each format is a class: how a whole
file is made, how it is read, and what must hold of what was read.
"""

import copy
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from xxhash import xxh3_64_intdigest

import asd
from asd.archives import save_archive
from asd.audio.features import Features, LogMelFeature
from asd.audio.logmel import LogMelParameters
from asd.audio.recording import read_recording
from asd.audio.store import load_features
from asd.challenge import unify
from asd.challenge.attributes import read_attributes
from asd.challenge.catalog import load_challenge
from asd.challenge.download.unpack import BadArchiveError, unpack
from asd.challenge.labels import read_label_list
from asd.clips import Clip
from asd.config import Config, load_config
from asd.detector import Detector
from asd.evaluation.records import SectionFiles, TestRecord, read_record, write_record
from asd.evaluation.results import (
    ResultTable,
    read_result,
    read_scores,
    write_result,
    write_scores,
)
from asd.jobs import importing
from asd.jobs.embeddings import EmbeddedClips, load_embeddings
from asd.jobs.folder_run import FolderRun
from asd.jobs.jobs import ModelFolder
from asd.submission import evaluator
from asd.submission.check import KnownClips, check_system, section_files
from asd.submission.systems import read_systems
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.base import Epoch
from asd.systems.embedding.recipe import Recipe
from asd.systems.registry import SystemEntry, find_system

YEAR = load_challenge("DCASE2023T2")
NAMES = [f"section_00_target_test_normal_{number:04d}_m-n_W.wav" for number in range(6)]
UNLABELLED = [f"section_00_{number:04d}.wav" for number in range(6)]


class Format:
    """A file's format. The file lies in the folder that `make` is given.

    `is_checked`: checksums cover its content, so that none but the old may be read. `refusals`:
    what `read` may raise besides UserError. `cases`: how many are tried in the suite.
    """

    file = "file.csv"
    kind = "text"
    is_checked = False
    refusals = ()
    cases = 200

    @property
    def name(self):
        return type(self).__name__

    def make(self, folder):
        """Write a whole file, and return its bytes."""
        content = self.content()
        content = content.encode() if isinstance(content, str) else content
        (folder / self.file).write_bytes(content)
        return content

    def content(self):
        raise NotImplementedError

    def change(self, draw, whole):
        mutations = self.damage.TEXT if self.kind == "text" else self.damage.BINARY
        return self.damage.mutate(draw, whole, mutations)

    def read(self, path):
        raise NotImplementedError

    def fault(self, found):  # noqa: ARG002
        """What must not be of content that was read, "" if it may."""
        return ""


# --- recordings -----------------------------------------------------------------------------------


class Wav(Format):
    """16 bits, the usual form."""

    file, kind, cases = "a.wav", "binary", 400
    subtype, container, channels, rate_hz = "PCM_16", "WAV", 2, 16000

    def content(self):
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, (400, self.channels))
        stream = io.BytesIO()
        soundfile.write(stream, samples, 8000, self.subtype, format=self.container)
        return stream.getvalue()

    def change(self, draw, whole):
        changed = super().change(draw, whole)
        if changed[:4] == b"RIFF" and draw.random() < 0.2:
            rate_hz = draw.choice([1, 2, 7, 10**6, 2**31, 2**32 - 1])
            changed = changed[:24] + struct.pack("<II", rate_hz, 0) + changed[32:]
        return changed

    def read(self, path):
        self.size = path.stat().st_size
        return read_recording(path), read_recording(path, rate_hz=self.rate_hz, channel="mix")

    def fault(self, found):
        for wave, rate_hz in found:
            if wave.dtype != np.float32 or wave.ndim != 2 or not wave.size or rate_hz <= 0:
                return f"{wave.dtype} of shape {wave.shape} at {rate_hz} Hz"
            if not np.isfinite(wave).all():
                return "samples that are not finite"
        wave, _ = found[0]
        return f"{wave.size} samples of {self.size} bytes" if wave.size > 100 * self.size else ""


class FloatWav(Wav):
    subtype = "FLOAT"


class WideWav(Wav):
    """24 bits, with an extensible header."""

    subtype, container = "PCM_24", "WAVEX"


class Adpcm(Wav):
    """Samples packed together, which libsndfile decodes."""

    subtype = "MS_ADPCM"


class LongWav(Wav):
    subtype, container = "PCM_16", "RF64"


class Flac(Wav):
    file, subtype, container = "a.flac", "PCM_16", "FLAC"


class Ogg(Wav):
    file, subtype, container = "a.ogg", "VORBIS", "OGG"


class Aiff(Wav):
    file, subtype, container = "a.aiff", "PCM_16", "AIFF"


# --- parameters and recipes -----------------------------------------------------------------------


class ParameterFile(Format):
    """baseline.yaml as the project has it."""

    file, cases = "baseline.yaml", 150

    def content(self):
        return (Path(__file__).parents[2] / "baseline.yaml").read_text(encoding="utf-8")

    def read(self, path):
        config = load_config(path, {})
        assert isinstance(config, Config)
        config.machines  # noqa: B018 - checks them
        return config

    def fault(self, found):
        json.dumps(found.plain_run(), default=str)
        return "" if found.entry.name == found.model else "another system than was named"


class RecipeFile(Format):
    file, cases = "recipe.yaml", 150
    recipe = """\
input_s: 0.5
frontend:
  class: SpectralNetwork
  windows: [256, 512]
losses:
- {on: branches, class: SubclusterAdaCos, subclusters: 2, trainable: true}
- {on: feature_exchange, class: AdaProj, weight: 0.5, probability: 0.25}
augmentation: {mixup: 0.5, spec_augment: {time_width: 8, frequency_probability: 0.1}}
training: {epochs: 2, batch_size: 8, learning_rate: 1e-3, clip_gradient: null}
backends:
  KNN: {class: knn}
  GMM: {class: gmm}
"""

    def content(self):
        return self.recipe

    def read(self, path):
        entry = SystemEntry("a", find_system("ae").system, recipe=path)
        return entry.defaults()

    def fault(self, found):
        return "" if isinstance(found, Recipe) else f"{found!r}"


# --- tables ---------------------------------------------------------------------------------------


class ScoreFile(Format):
    def make(self, folder):
        write_scores(folder / self.file, NAMES, np.random.default_rng(0).normal(size=len(NAMES)))
        return (folder / self.file).read_bytes()

    def read(self, path):
        return read_scores(path)

    def fault(self, found):
        names, scores = found
        is_right = len(set(names)) == len(names) == len(scores) and np.isfinite(scores).all()
        return "" if is_right else f"{names}, {scores}"


class MetricsFile(Format):
    def make(self, folder):
        table = ResultTable(("AUC", "pAUC"), ("00", "01"), np.array([[0.5, np.nan], [1.0, 0.25]]))
        write_result(folder / self.file, table)
        return (folder / self.file).read_bytes()

    def read(self, path):
        return read_result(path)

    def fault(self, found):
        right = len(found.sections), len(found.columns)
        return "" if found.values.shape == right else f"shape {found.values.shape}"


class LabelList(Format):
    def content(self):
        pairs = zip(UNLABELLED, NAMES, strict=True)
        return "fan\n" + "".join(f"{one},{other}\n" for one, other in pairs) + "valve\n"

    def read(self, path):
        return read_label_list(path)

    def fault(self, found):
        for machine, rows in found.items():
            for name in (machine, *rows, *rows.values()):
                if "/" in name or not name.isprintable():
                    return f"a name {name!r}"
            if not all("_normal_" in name or "_anomaly_" in name for name in rows.values()):
                return f"{rows} lacks labels"
        return ""


class AttributeTable(Format):
    def content(self):
        return "file_name,d1p,d1v,d2p,d2v\n" + "".join(f"fan/test/{n},a,1,b,2\n" for n in NAMES)

    def read(self, path):
        return read_attributes(path)

    def fault(self, found):
        return f"{found}" if not all(name and text for name, text in found.items()) else ""


class TreeTable(Format):
    """The clips.csv of a tree of all years."""

    file = "clips.csv"

    def make(self, folder):
        path = "2023/dev/fan/train/"
        clips = [
            unify.UnifiedClip(
                **dict.fromkeys(unify._HEADER, "x")
                | {"path": path + n, "year": "2023", "split": "dev", "machine": "fan"}
            )
            for n in NAMES
        ]
        unify._write_table(folder / self.file, clips)
        return (folder / self.file).read_bytes()

    def read(self, path):
        return unify._read_table(path)

    def fault(self, found):
        odd = [clip.path for clip in found if ".." in clip.path.split("/") or clip.path[:1] == "/"]
        return f"paths {odd}" if odd else ""


class TruthNames(Format):
    """The organisers' list of names in an evaluator's repository."""

    def content(self):
        return "".join(f"{one},{two}\n" for one, two in zip(UNLABELLED, NAMES, strict=True))

    def read(self, path):
        return evaluator._labelled_names(path)


class TruthFlags(Format):
    def content(self):
        return "".join(f"{name},{number % 2}\n" for number, name in enumerate(NAMES))

    def read(self, path):
        return evaluator._read_flags(path)

    def fault(self, found):
        names, flags = found
        return "" if len(set(names)) == len(flags) and flags.dtype == bool else f"{found}"


class Submission(Format):
    """Scores in a submission: problems are told, each on a line, and few."""

    file = next(file.name for file in section_files(YEAR))

    def content(self):
        return "".join(f"{name},{number}.5\n" for number, name in enumerate(UNLABELLED))

    def read(self, path):
        (system,) = read_systems(path.parent)
        return check_system(system, YEAR, KnownClips({}, ""))

    def fault(self, found):
        lines = [str(problem) for problem in found]
        if len(lines) > 40 or not all(line.isprintable() for line in lines):
            return f"{len(lines)} lines: {lines!r:.300}"
        longest = max(map(len, lines))
        return "" if longest < self.damage.LONGEST_MESSAGE else f"a line of {longest} letters"


class SubmissionMeta(Submission):
    file = "Me_Here_task2_1/Me_Here_task2_1.meta.yaml"

    def make(self, folder):
        (folder / self.file).parent.mkdir()
        (folder / self.file).with_name("anomaly_score_x.csv").write_text("a,1\n")
        return super().make(folder)

    def content(self):
        return yaml.safe_dump({"submission": {"label": "Me_Here_task2_1", "date": "2023-05-01"}})


class SubmissionZip(Submission):
    file, kind, is_checked = "systems.zip", "binary", False

    def content(self):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in (1, 2):
                archive.writestr(f"A_B_task2_{number}/{Submission.file}", Submission().content())
        return stream.getvalue()

    def read(self, path):
        systems = read_systems(path)
        return [p for system in systems for p in check_system(system, YEAR, KnownClips({}, ""))]


# --- models, checkpoints, stores ------------------------------------------------------------------


class Model(Format):
    file, kind, is_checked, cases = "model.pt", "binary", True, 80

    def make(self, folder):
        self.train(folder)
        return (folder / self.file).read_bytes()

    def train(self, folder):
        clips = asd.load_challenge(YEAR.name, self.data).dev["fan"].train
        model = asd.create("ae", epochs=1, n_mels=4, frames=2)
        model.fit(clips, progress=False).save(folder / self.file)

    def read(self, path):
        detector = Detector.load(path)
        detector.save(path.with_name("again.pt"))
        return path.with_name("again.pt").read_bytes()


EXTREME_VALUES = [
    None, True, -1, 0, 10**9, 10**30, float("nan"), -1e308, "", "x", "\x1b\n", [], {}, [None], [[]],
    {"a": 1}, torch.zeros(0), torch.zeros(3, 3), torch.tensor(float("nan")),
]  # fmt: skip


class WrongModel(Model):
    """Well-formed model files with other values in them."""

    is_checked, cases = False, 50

    def make(self, folder):
        whole = super().make(folder)
        self.folder = folder
        self.values = torch.load(io.BytesIO(whole), weights_only=True)
        return whole

    def change(self, draw, whole):  # noqa: ARG002
        values = copy.deepcopy(self.values)
        for _ in range(draw.choice([1, 1, 2])):
            _change_value(draw, values)
        path = self.folder / "changed.pt"
        save_archive(path, values)
        return path.read_bytes()


def _change_value(draw, values):
    """Replace or remove one value anywhere in nested dicts and lists."""
    while True:
        keys = list(values) if isinstance(values, dict) else range(len(values))
        key = draw.choice(list(keys))
        inner = values[key]
        is_leaf = not isinstance(inner, dict | list) or not inner
        if is_leaf or draw.random() < 0.15:
            if draw.random() < 0.15 and isinstance(values, dict):
                del values[key]
            else:
                values[key] = draw.choice(EXTREME_VALUES)
            return
        values = inner


class Checkpoint(Format):
    file, kind, is_checked, cases = "checkpoint.pt", "binary", True, 300
    identity = {"parameters": {"epochs": 5, "rates": [0.5, 1]}, "seed": 1}  # noqa: RUF012

    def make(self, folder):
        stage = self.run(folder).stage("main", 5)
        weights = {"weight": torch.arange(40.0).reshape(8, 5), "epoch": 1}
        stage.report(Epoch(1, 5, {"loss": 1.5, "val_loss": 2.0}, lambda: weights))
        self.file = next(folder.glob("checkpoint*.pt")).name
        return (folder / self.file).read_bytes()

    def run(self, folder, restart=False):
        return FolderRun(ModelFolder(folder), 1, self.identity, self.identity, restart)

    def read(self, path):
        stage = self.run(path.parent, restart=True).stage("main", 5)
        stage.write_log()
        values = {"rows": stage.columns(), "snapshot": stage.resume}
        save_archive(path.with_name("again.pt"), values)
        return path.with_name("again.pt").read_bytes()


class WrongCheckpoint(Checkpoint):
    """Well-formed checkpoints with other values in them."""

    is_checked = False
    change = WrongModel.change

    def make(self, folder):
        whole = super().make(folder)
        self.folder = folder
        self.values = torch.load(io.BytesIO(whole), weights_only=True)
        return whole


class Store(Format):
    """The feature store: what was damaged is computed again."""

    kind, is_checked, cases = "binary", True, 120
    feature = LogMelFeature(LogMelParameters(n_mels=4, n_fft=128, hop_length=64))

    def make(self, folder):
        self.clips = []
        for number, name in enumerate(NAMES[:3]):
            samples = np.random.default_rng(number).uniform(-0.5, 0.5, 500 + 100 * number)
            path = folder / "fan" / "test" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, 16000, "PCM_16")
            self.clips.append(Clip(path, "fan"))
        self.load(folder)
        self.file = next(path.name for path in folder.iterdir() if path.suffix == ".logmel")
        return (folder / self.file).read_bytes()

    def load(self, folder):
        return load_features(self.clips, self.feature, folder, threads=1)

    def read(self, path):
        found = self.load(path.parent)
        assert isinstance(found, Features)
        return found.sample_rate_hz, [found.clip(i).tolist() for i in range(len(found.lengths))]


class ForgedStore(Store):
    """Stores whose index was changed and got a checksum that agrees: no crash."""

    is_checked = False

    def change(self, draw, whole):
        start = int.from_bytes(whole[-24:-16], "little")
        text = whole[start:-24]
        mutations = (self.damage.change_text_number, self.damage.TEXT[1])
        text = self.damage.mutate(draw, text, mutations)
        end = whole[-24:-16] + xxh3_64_intdigest(text).to_bytes(8, "little") + whole[-8:]
        return whole[:start] + text + end


# --- embeddings, records --------------------------------------------------------------------------


class Embeddings(Format):
    file, kind, is_checked, cases = "clips.npz", "binary", True, 400

    def make(self, folder):
        texts = {"section": "00", "domain": "source", "label": "normal", "part": "test"}
        one = {"export_dir": "a", "dataset": YEAR.name, "split": "dev"}
        EmbeddedClips(
            embeddings=np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32),
            machine=np.array(["fan"] * 6),
            attributes=np.array(["x"] * 6),
            file_name=np.array(NAMES),
            seed=np.array(1),
            **{name: np.array([text] * 6) for name, text in texts.items()},
            **{name: np.array(text) for name, text in one.items()},
        ).save(folder / self.file)
        return (folder / self.file).read_bytes()

    def read(self, path):
        return {name: (a.dtype, a.tolist()) for name, a in vars(load_embeddings(path)).items()}


class ForgedEmbeddings(Embeddings):
    """Archives that are whole, but whose arrays' headers were changed."""

    is_checked = False

    def change(self, draw, whole):
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(target, "w") as new:
            chosen = draw.choice(old.namelist())
            for name in old.namelist():
                content = old.read(name)
                if name == chosen:
                    end = content.index(b"\n") + 1
                    header = self.damage.mutate(
                        draw,
                        content[10:end],
                        (self.damage.change_text_number, self.damage.change_byte),
                    )
                    length = len(header).to_bytes(2, "little")[:2] if len(header) < 65536 else b"  "
                    content = content[:8] + length + header + content[end:]
                new.writestr(name, content)
        return target.getvalue()


class Record(Format):
    """The job.json beside result files."""

    cases = 400

    def make(self, folder):
        record = TestRecord(
            dataset=YEAR.name, machine="fan", split="dev", seed=1, tag="id(0_)", system="ae",
            export_dir="ae", score="MSE", variant="", sections=("00",), max_fpr=0.1, quantile=0.9,
            threshold=1.5, files={"00": SectionFiles("a.csv", "b.csv")},
            table=ResultTable(("AUC",), ("00",), np.array([[0.5]])),
            official={"00": {"mix_auc": 0.5, "mix_pauc": float("nan")}},
        )  # fmt: skip
        path = write_record(folder, record)
        self.file = path.name
        return path.read_bytes()

    def read(self, path):
        return read_record(path)

    def fault(self, found):
        for name in ("dataset", "machine", "split", "tag", "system", "export_dir", "score"):
            if not isinstance(getattr(found, name), str):
                return f"{name} is {getattr(found, name)!r}"
        for name in ("seed", "max_fpr"):
            if type(getattr(found, name)) not in (int, float):
                return f"{name} is {getattr(found, name)!r}"
        files = [name for each in found.files.values() for name in (each.scores, each.decisions)]
        if not all(isinstance(name, str) and "/" not in name for name in files):
            return f"files {files}"
        return "" if found.split in ("dev", "eval") else f"split is {found.split!r}"


class ChangedRecord(Record):
    """Records that are JSON, with other values."""

    def change(self, draw, whole):
        values = json.loads(whole)
        _change_value(draw, values)
        return json.dumps(values, default=str).encode()


# --- what comes from elsewhere --------------------------------------------------------------------


class MachineArchive(Format):
    """The organisers' zip archives."""

    file, kind, is_checked, cases = "fan.zip", "binary", True, 250
    refusals = (BadArchiveError,)

    def content(self):
        stream = io.BytesIO()
        random = np.random.default_rng(0)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in NAMES[:3]:
                archive.writestr(f"fan/test/{name}", random.bytes(300) + bytes(300))
            archive.writestr("fan/attributes_00.csv", b"file_name,d1p\n", zipfile.ZIP_STORED)
        return stream.getvalue()

    def read(self, path):
        folder = path.parent / "fan"
        unpack(path, "fan", folder)
        files = [file for file in folder.rglob("*") if file.is_file()]
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}


class BaselinePickle(Format):
    file, kind, cases = "score_distr_a_mse.pickle", "binary", 400

    def content(self):
        return pickle.dumps([np.float64(1.5), np.float64(0.0), np.float64(2.5)], protocol=4)

    def read(self, path):
        return importing._read_pickle(path.with_name("a.pth"), "mse")

    def fault(self, found):
        is_right = len(found) == 3 and np.isfinite(found).all() and found[0] > 0 < found[2]
        return "" if is_right else f"{found}"


class BaselineWeights(Format):
    """What the public baseline wrote by torch.save: checksums of the archive's members."""

    file, kind, is_checked, cases = "a.pth", "binary", True, 150

    def content(self):
        torch.manual_seed(0)
        stream = io.BytesIO()
        torch.save(OrderedDict(AutoencoderNetwork(8, 4).state_dict()), stream)
        return stream.getvalue()

    def read(self, path):
        weights = importing._read_weights(path)
        return [(name, values.tolist()) for name, values in weights.items()]


class BaselineArguments(Format):
    def make(self, folder):
        self.weights = folder / "models" / "saved_model" / "x" / "a.pth"
        self.file = "models/checkpoint/x/a/args.json"
        (folder / self.file).parent.mkdir(parents=True)
        return super().make(folder)

    def content(self):
        return json.dumps({"n_mels": 128, "frames": 5, "power": 2.0, "n_fft": 1024, "seed": 1})

    def read(self, path):  # noqa: ARG002
        return importing._read_args(self.weights)


FORMATS = [
    Wav, FloatWav, WideWav, Adpcm, LongWav, Flac, Ogg, Aiff, ParameterFile, RecipeFile, ScoreFile,
    MetricsFile, LabelList, AttributeTable, TreeTable, TruthNames, TruthFlags, Submission,
    SubmissionMeta, SubmissionZip, Model, WrongModel, Checkpoint, WrongCheckpoint, Store,
    ForgedStore, Embeddings, ForgedEmbeddings, Record, ChangedRecord, MachineArchive,
    BaselinePickle, BaselineWeights, BaselineArguments,
]  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore")
def test_changed_files_are_refused_in_a_line_or_hold_what_they_may(
    kind, fuzz, damage, tiny_data, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    subject = kind()
    subject.damage, subject.data = damage, tiny_data
    fuzz(subject, len(FORMATS))
