"""`asd embed` writes what the system embeds; `asd visualize` draws it."""

import sys

import numpy as np
import pytest

from asd.errors import UserError
from asd.jobs.embeddings import load_embeddings
from asd.jobs.visualizing import project
from asd.report.interactive import PlacedClips, write_maps

RECIPE = """\
input_s: 0.4
frontend: {class: PooledSpectrogram, n_fft: 512, mels: 16, high_hz: 8000.0, pool: time_mean}
backends:
  KNN: {class: knn}
"""
COMMON = ("--machine_types", "fan", "valve", "--seed", 7)


@pytest.fixture(scope="module")
def trained(shared_tiny, tmp_path_factory, asd_once):
    """Flags of a trained system that embeds, tested too."""
    folder = tmp_path_factory.mktemp("embedding")
    recipe = folder / "pooled.yaml"
    recipe.write_text(RECIPE)
    flags = (
        "-d", "--model", recipe, *COMMON, "--dataset_directory", shared_tiny.folder,
        "--feature_directory", folder / "features", "--result_directory", folder / "results",
    )  # fmt: skip
    asd_once("run", *flags, "--decision_threshold", 0.8)  # few clips are held out
    return flags


@pytest.fixture(scope="module")
def stored(trained, tmp_path_factory, asd_once):
    path = tmp_path_factory.mktemp("npz") / "clips.npz"
    asd_once("embed", *trained, "--out", path)
    return path


def rewritten(path, target, **changes):
    with np.load(path, allow_pickle=False) as file:
        arrays = {**{name: file[name] for name in file.files}, **changes}
    np.savez(target, **{name: array for name, array in arrays.items() if array is not None})
    return target


def test_every_clip_with_what_its_name_says(stored, shared_tiny):
    found = load_embeddings(stored)
    assert found.embeddings.shape == (2 * (12 + 12), 16)
    assert found.embeddings.dtype == np.float32
    names = {
        (machine, part, path.name)
        for machine in ("fan", "valve")
        for part in ("train", "test")
        for path in (shared_tiny.machine(machine) / part).glob("*.wav")
    }
    columns = found.machine, found.part, found.file_name
    assert {tuple(map(str, row)) for row in zip(*columns, strict=True)} == names
    for name, domain, label, section, attributes in zip(
        found.file_name, found.domain, found.label, found.section, found.attributes, strict=True
    ):
        assert name.startswith(f"section_{section}_{domain}_")
        assert f"_{label}_" in name
        assert name.endswith(f"_{attributes}.wav")


def test_an_embedding_is_that_of_its_clip(stored):
    """The mean spectrum of noise grows with its loudness: anomalies were made thrice as loud."""
    found = load_embeddings(stored)
    level = np.linalg.norm(found.embeddings, axis=1)
    quiet = (found.domain == "source") & (found.label == "normal")
    np.testing.assert_allclose(level[found.label == "anomaly"] / level[quiet].mean(), 3, rtol=0.15)


def test_one_part_alone(trained, stored, tmp_path, asd):
    path = tmp_path / "test.npz"
    assert asd("embed", *trained, "--parts", "test", "--out", path).status == 0
    alone, both = load_embeddings(path), load_embeddings(stored)
    assert set(alone.part) == {"test"}
    np.testing.assert_array_equal(alone.embeddings, both.embeddings[both.part == "test"])


@pytest.mark.parametrize("extra", [(), ("--results",)])
def test_pictures_of_every_machine_type(trained, stored, tmp_path, asd, extra):
    results = trained[trained.index("--result_directory") + 1]
    words = (*extra, results) if extra else ()
    outcome = asd("visualize", stored, "--out", tmp_path / "maps", *words)
    assert outcome.status == 0, outcome.err
    names = [f"{machine}_{kind}.png" for machine in ("fan", "valve") for kind in ("tsne", "scores")]
    assert outcome.out.split() == [str(tmp_path / "maps" / name) for name in names]
    for name in names:
        assert (tmp_path / "maps" / name).read_bytes()[:4] == b"\x89PNG"


def test_training_clips_alone_give_a_map_and_no_scores(trained, tmp_path, asd):
    path = tmp_path / "train.npz"
    asd("embed", *trained, "--parts", "train", "--out", path)
    outcome = asd("visualize", path, "--out", tmp_path / "maps")
    assert "fan: no histograms of scores, for there are no labelled test clips" in outcome.err
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"fan_tsne.png", "valve_tsne.png"}


def test_test_clips_alone_give_histograms_of_results_only(trained, tmp_path, asd):
    path = tmp_path / "test.npz"
    asd("embed", *trained, "--parts", "test", "--out", path)
    outcome = asd("visualize", path, "--out", tmp_path / "maps")
    assert "valve: no histograms of scores, for there are no training clips to" in outcome.err
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"fan_tsne.png", "valve_tsne.png"}
    results = trained[trained.index("--result_directory") + 1]
    outcome = asd("visualize", path, "--out", tmp_path / "maps", "--results", results)
    assert "no histograms" not in outcome.err
    assert (tmp_path / "maps" / "fan_scores.png").is_file()


def test_groups_stay_groups_on_the_map(rng):
    centres = np.eye(3, 20).repeat(15, axis=0)
    points = project((centres + 0.05 * rng.standard_normal((45, 20))).astype(np.float32), "tsne")
    assert points.shape == (45, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    group = np.arange(45) // 15
    assert (group[distance.argmin(axis=1)] == group).all()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--model", "ae"), "--model: ae has no embeddings; choose a recipe"),
        (("--seed", "8"), "no such model; train it first: asd train -d"),
        (("--out", "clips.csv"), "--out: clips.csv must end in .npz"),
    ],
)
def test_what_cannot_be_embedded(trained, tmp_path, asd, words, complaint):
    outcome = asd("embed", *trained, "--out", tmp_path / "x.npz", *words)
    assert complaint in outcome.complaint


def test_files_that_cannot_be_drawn(stored, tmp_path, asd):
    def complaint(path, *words):
        return asd("visualize", path, "--out", tmp_path / "maps", *words).complaint

    assert "no such file; write it with asd embed" in complaint(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    assert "cannot be read as .npz" in complaint(tmp_path / "text.npz")
    lacking = rewritten(stored, tmp_path / "lacking.npz", domain=None)
    assert "array 'domain' is missing" in complaint(lacking)
    short = rewritten(stored, tmp_path / "short.npz", domain=np.array(["source"]))
    assert "arrays differ in length" in complaint(short)
    unsafe = rewritten(stored, tmp_path / "unsafe.npz", domain=np.array([{}], dtype=object))
    assert "cannot be read as .npz" in complaint(unsafe)
    assert "holds no scores of these clips" in complaint(stored, "--results", tmp_path)
    assert not (tmp_path / "maps").exists()


def test_a_byte_damaged_anywhere_is_a_user_error_or_harmless(stored, tmp_path):
    whole, refused = stored.read_bytes(), 0
    places = range(0, len(whole), 17)
    for at in places:
        path = tmp_path / "damaged.npz"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            load_embeddings(path)
        except UserError:
            refused += 1
    assert refused > len(places) / 2


def test_umap_that_is_not_installed(stored, tmp_path, asd, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    complaint = asd("visualize", stored, "--out", tmp_path, "--method", "umap").complaint
    assert "pip install 'asd[umap]'" in complaint


def test_too_few_clips_for_a_map():
    with pytest.raises(UserError, match="3 embeddings: a map needs 4"):
        project(np.eye(3, dtype=np.float32), "tsne")


# --- arrays that anyone may have written ----------------------------------------------------------


def arrays_of(stored):
    with np.load(stored, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("machine", lambda a: np.where(a == "fan", "../../x", a), "machine type '../../x' is no"),
        ("machine", lambda a: np.where(a == "fan", "/tmp/x", a), "is no name that a file can have"),
        ("machine", lambda a: np.where(a == "fan", "a\nb", a), "is no name that a file can have"),
        ("machine", lambda a: np.where(a == "fan", "", a), "is no name that a file can have"),
        ("embeddings", lambda a: a[:, 0], "array 'embeddings' has 2 dimensions in such a file"),
        ("embeddings", lambda a: a.astype(str), "array 'embeddings' has 2 dimensions in such"),
        ("embeddings", lambda a: np.where(a == a[0], np.nan, a), "1 embeddings are not finite"),
        ("embeddings", lambda a: a * np.float32(np.inf), "48 embeddings are not finite"),
        ("embeddings", lambda a: a * 0, "all embeddings are zero"),
        ("embeddings", lambda a: a * 0 + 1, "fan: all embeddings are alike"),
        ("embeddings", lambda a: a[:, :0], "there are no embeddings in it"),
        ("section", lambda a: np.full_like(a, "xx"), "array 'section' holds 'xx'"),
        ("section", lambda a: np.full_like(a, "٣"), "array 'section' holds '٣'"),
        ("label", lambda a: np.full(len(a), "nan"), "array 'label' holds other words than normal"),
        ("part", lambda a: np.full(len(a), "all"), "array 'part' holds other words than train"),
        ("split", lambda _: np.array("../x"), "array 'split' holds other words than dev, eval"),
        ("seed", lambda _: np.array("1"), "array 'seed' has 0 dimensions in such a file"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_drawn_are_told_in_one_line(
    stored, tmp_path, asd, name, change, said
):
    odd = rewritten(stored, tmp_path / "odd.npz", **{name: change(arrays_of(stored)[name])})
    outcome = asd("visualize", odd, "--out", tmp_path / "a" / "maps")
    assert said in outcome.complaint
    assert {path.name for path in tmp_path.iterdir()} == {"odd.npz"}


def test_clips_without_a_direction_are_left_out_and_named(stored, tmp_path, asd):
    arrays = arrays_of(stored)
    first = arrays["file_name"][0]
    arrays["embeddings"][[0, 30]] = 0
    odd = rewritten(stored, tmp_path / "odd.npz", embeddings=arrays["embeddings"])
    outcome = asd("visualize", odd, "--out", tmp_path / "maps")
    assert f"2 clips are left out, for their embedding is zero; the first is {first}" in outcome.err
    assert len(list((tmp_path / "maps").iterdir())) == 4


@pytest.mark.parametrize("scale", [2.0**-90, 2.0**90])
def test_maps_do_not_depend_on_the_scale_of_embeddings(rng, scale):
    points = rng.standard_normal((12, 6)).astype(np.float32)
    scaled = points * np.float32(scale)
    np.testing.assert_array_equal(project(scaled, "tsne"), project(points, "tsne"))
    assert np.isfinite(project(scaled[:, :1], "tsne")).all()


def test_results_of_a_strange_folder_are_not_looked_for(stored, tmp_path, asd):
    odd = rewritten(stored, tmp_path / "odd.npz", export_dir=np.array("/../**"))
    outcome = asd("visualize", odd, "--out", tmp_path / "maps", "--results", tmp_path)
    assert "holds no scores of these clips of fan by /../**" in outcome.complaint


def test_strange_names_come_into_the_pictures(stored, tmp_path, asd):
    arrays = arrays_of(stored)
    machine = np.where(arrays["machine"] == "fan", "$foo_{$", arrays["machine"])
    odd = rewritten(
        stored, tmp_path / "$x_{$.npz", machine=machine, attributes=np.full_like(machine, "$_{$")
    )
    assert asd("visualize", odd, "--out", tmp_path / "maps").status == 0
    assert (tmp_path / "maps" / "$foo_{$_tsne.png").is_file()


def test_interactive_maps_are_one_page_of_their_own(stored, tmp_path, asd):
    pytest.importorskip("plotly")
    outcome = asd("visualize", stored, "--out", tmp_path, "--interactive", "--classes")
    assert outcome.status == 0, outcome.err
    page = tmp_path / "maps_tsne.html"
    assert (tmp_path / "classes.png").is_file()
    assert outcome.out.split()[-1] == str(page)
    text = page.read_text(encoding="utf-8")
    assert '<script src="' not in text  # nothing is fetched
    assert '"showSendToCloud": false' in text  # nor sent
    for word in ("fan: domain", "valve: attributes", "test anomaly (6)", "train normal (12)"):
        assert word in text
    found = load_embeddings(stored)
    assert all(str(name) in text for name in found.file_name[:3])


def test_plotly_may_be_missing(stored, tmp_path, asd, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    outcome = asd("visualize", stored, "--out", tmp_path / "maps", "--interactive")
    assert outcome.complaint == (
        "--interactive: plotly is not installed; run: pip install 'asd[interactive]'"
    )
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "_two\n \udce9", ""])
def test_names_are_no_code_in_interactive_maps(tmp_path, name):
    pytest.importorskip("plotly")
    clips = PlacedClips(np.zeros((2, 3)), [name, "b"], {"domain": [name, "source"]})
    write_maps(tmp_path / "map.html", {name: clips}, name)
    assert "<script>alert" not in (tmp_path / "map.html").read_text(encoding="utf-8")
