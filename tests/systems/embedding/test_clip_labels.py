"""Classes from a file."""

from pathlib import Path

import pytest
from sklearn.metrics import adjusted_rand_score
from tones import hidden_tones

from asd.audio.clip_set import ClipSet
from asd.challenge.names import parse_clip
from asd.clips import Clip
from asd.csvfiles import read_rows
from asd.errors import UserError
from asd.jobs.folder_run import FolderRun
from asd.jobs.jobs import ModelFolder
from asd.systems.embedding.clip_labels import FileLabeller, read_clip_labels
from asd.systems.embedding.labellers import NameLabeller
from asd.systems.embedding.recipe import parse_recipe
from asd.systems.embedding.system import EmbeddingSystem
from asd.systems.memory_run import MemoryRun

PACK = Path(__file__).resolve().parents[4] / "shared" / "golden" / "components" / "unlabelled"
CLIPS = [Clip(Path(machine) / "train" / f"{n}.wav", machine) for machine in "AB" for n in range(3)]


def clip_set(clips=CLIPS, **options):
    return ClipSet(clips, lambda *_: None, **options)


def written(tmp_path, *lines):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([*lines, ""]))
    return path


def classes(path, clips=CLIPS, **options):
    found = FileLabeller(file=str(path), **options).classes(clip_set(clips), MemoryRun(0))
    return found.numbers.tolist()


@pytest.mark.parametrize(
    "lines",
    [
        ("clip,label", *[f"data/{c.path},{'xy'[i % 2]}" for i, c in enumerate(CLIPS)]),
        (
            "label,machine,clip",
            *[f"{'xy'[i % 2]},{c.machine},{c.file_name}" for i, c in enumerate(CLIPS)],
        ),
    ],
    ids=["path", "machine column"],
)
def test_clips_are_told_by_path_or_by_machine_and_name(tmp_path, lines):
    assert classes(written(tmp_path, *lines)) == [0, 1, 0, 3, 2, 3]


def test_labels_alone_join_machine_types(tmp_path):
    path = written(
        tmp_path, "clip,label", *[f"{c.path},{'xy'[i % 2]}" for i, c in enumerate(CLIPS)]
    )
    assert classes(path, parts=()) == [0, 1, 0, 1, 0, 1]


def test_numbers_of_clusters_are_not_taken_as_labels_alone(tmp_path):
    """Cluster 0 of one machine type has nothing to do with cluster 0 of another."""
    path = written(tmp_path, "clip,cluster", *[f"{c.path},{i % 2}" for i, c in enumerate(CLIPS)])
    assert classes(path) == [0, 1, 0, 3, 2, 3]
    for parts in ((), ("machine", "section")):
        with pytest.raises(UserError, match=r"set labels.parts to \[machine, section, domain\]"):
            classes(path, parts=parts)


def test_machine_types_that_the_file_does_not_name_keep_those_of_their_names(tmp_path):
    path = written(tmp_path, "clip,label", "A/0.wav,x", "A/1.wav,y", "A/2.wav,x", "C/0.wav,z")
    assert classes(path) == [0, 1, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("clip,label", "A/0.wav,x"), r"has no label of 1.wav \(A\) and of 1 more clips"),
        (("clip,label", "A/0.wav,x", "A/9.wav,x"), "line 3: .*9.wav is none of the clips"),
        (("clip,label", "0.wav,x"), "line 2: 0.wav is a clip of A and of B"),
        (("clip,label", "A/0.wav,x", "A/0.wav,y"), "line 3: 0.wav has another label above"),
        (("clip,label", "A/0.wav,"), "line 2: the label is empty"),
        (("clip,label", "A/0.wav,x,y"), "line 2: 3 cells where the header has 2"),
        (("clip,label", "C/0.wav,x"), "names none of the training clips, which are of A, B;"),
        (("file,label", "A/0.wav,x"), "no table of labels"),
        (("clip,label", *[f"{c.path},x" for c in CLIPS[:3]]), None),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, lines, message):
    path = written(tmp_path, *lines)
    if message is None:  # one class
        with pytest.raises(UserError, match="one class"):
            classes(path, CLIPS[:3])
        return
    with pytest.raises(UserError, match=message) as error:
        classes(path)
    assert "\n" not in str(error.value)


def test_a_file_may_name_test_clips_too(tmp_path):
    tests = [Clip(Path("A/test/7.wav"), "A")]
    path = written(tmp_path, "clip,label", *[f"A/{n}.wav,{n}" for n in (0, 1, 2, 7)])
    assert read_clip_labels(path, CLIPS[:3], tests) == ["0", "1", "2"]


def test_a_folder_of_the_organisers_tables_tells_machine_types_by_their_folders(tmp_path):
    """Lines about clips that are not at hand count for nothing."""
    for machine in "ABC":
        (tmp_path / machine).mkdir()
        rows = [f"section_00_source_train_normal_{n:04d}_spd_{n % 2},{n}.wav" for n in range(5)]
        table = tmp_path / machine / "attributes_00_train_correspondence.csv"
        table.write_text("\n".join(["source_file_name,target_file_name", *rows, ""]))
    assert read_clip_labels(tmp_path, CLIPS) == ["spd_0", "spd_1", "spd_0"] * 2
    assert classes(tmp_path) == [0, 1, 0, 2, 3, 2]


def test_the_folder_of_a_year_s_data_is_such_a_folder(tmp_path):
    """Its tables beside the clips, which say what the clips' names do, are passed over."""
    for split, machine in (("dev", "A"), ("eval", "B")):
        data, truth = (tmp_path / f"{split}_data" / name / machine for name in ("raw", "truth"))
        for folder in (data, truth):
            folder.mkdir(parents=True)
        (data / "attributes_00.csv").write_text(f"file_name,d1p,d1v\n{machine}/train/0.wav,,\n")
        rows = [f"section_00_source_train_normal_{n:04d}_spd_{n},{n}.wav" for n in range(3)]
        table = truth / "attributes_00_train_correspondence.csv"
        table.write_text("\n".join(["source_file_name,target_file_name", *rows, ""]))
    assert read_clip_labels(tmp_path, CLIPS) == ["spd_0", "spd_1", "spd_2"] * 2


@pytest.fixture
def published():
    if not PACK.is_dir():
        pytest.skip("the numbers of the public program are not here")
    header, *rows = read_rows(PACK / "labels.csv", open_end=True)
    columns = dict(zip(header.cells, zip(*[row.cells for row in rows], strict=True), strict=True))
    clips = [parse_clip(Path(p), Path(p).parts[1]) for p in columns["path"]]
    return clips, columns


def same(numbers, published):
    return adjusted_rand_score(numbers, [int(number) for number in published]) == 1


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("machine", ("machine",)),
        ("machine_is_target", ("machine", "domain")),
        ("machine_attr", ("machine", "attributes")),
        ("machine_attr_is_target", ("machine", "attributes", "domain")),
    ],
)
def test_classes_of_names_equal_the_published(published, key, parts):
    clips, columns = published
    found = NameLabeller(parts=parts).classes(clip_set(clips), MemoryRun(0))
    assert same(found.numbers, columns[f"index_{key}"])
    assert found.count == len(set(columns[f"index_{key}"]))


def test_classes_of_true_attributes_equal_the_published(published, tmp_path):
    """The organisers' lists; equal texts of different machine types are one class."""
    clips, columns = published
    lines = [
        f"{path},{source}"
        for path, source in zip(columns["path"], columns["gt_source_file_name"], strict=True)
        if source
    ]
    path = written(tmp_path, "target_file_name,source_file_name", *lines)
    assert same(classes(path, clips, parts=()), columns["index_gt"])


def test_classes_of_clusters_equal_the_published(published, tmp_path):
    clips, columns = published
    pairs = zip(columns["path"], columns["cluster"], strict=True)
    path = written(tmp_path, "clip,cluster", *[f"{p},{c}" for p, c in pairs if c])
    assert same(classes(path, clips), columns["index_pseudo"])


def test_a_training_does_not_go_on_with_a_file_that_was_edited(tmp_path):
    clips = hidden_tones(1)[0]
    path = tmp_path / "labels.csv"

    def write(classes):
        lines = [f"{clip.path},{i % classes}" for i, clip in enumerate(clips)]
        path.write_text("\n".join(["clip,label", *lines, ""]))

    recipe = f"""\
input_s: 0.5
frontend: {{class: SpectralNetwork, windows: [128], whole_clip: false, width: 16, high_hz: 4000}}
labels: {{class: FileLabeller, file: {path}}}
losses:
  - {{class: SubclusterAdaCos, subclusters: 2, dynamic: false}}
training: {{epochs: 2, batch_size: 16}}
backends: {{KNN: {{class: knn}}}}
"""

    class Killed(BaseException):
        pass

    def kill(_):
        raise Killed

    def train(**options):
        run = FolderRun(ModelFolder(tmp_path / "model"), 0, {}, {}, **options)
        run.prepare_folder()
        EmbeddingSystem(parse_recipe(recipe, "mine")).fit(clips, run)

    write(2)
    with pytest.raises(Killed):
        train(on_epoch=kill)
    write(3)
    with pytest.raises(UserError, match="other classes than when this training began"):
        train(restart=True)
    write(2)
    train(restart=True)
