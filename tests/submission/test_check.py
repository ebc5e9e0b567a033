"""Submissions checked and packed, on made-up answers for the clips of a small list."""

import os
import random
import zipfile
from pathlib import Path

import pytest
import yaml

from asd.challenge.catalog import challenge_names, load_challenge
from asd.challenge.labels import read_label_list
from asd.challenge.names import parse_clip_name
from asd.cli import main
from asd.errors import UserError
from asd.submission.check import (
    KnownClips,
    check,
    check_system,
    find_test_clips,
    fitting_year,
    section_files,
)
from asd.submission.package import gather_submission, meta_skeleton, submission_label, write_package
from asd.submission.systems import read_systems

YEAR = load_challenge("DCASE2023T2")
REAL_LISTS = Path(__file__).parents[3] / "shared" / "data" / "labels"
LABEL = "Smith_A-B_task2_1"


def clip_names(challenge, machine, count=4):
    """Unlabelled names of a machine type's evaluation clips, as each year writes them."""
    numbers = range(count)
    forms = {
        2020: lambda s, n: [f"id_{s}_{n:08d}.wav"],
        2021: lambda s, n: [f"section_{s}_{d}_test_{n:04d}.wav" for d in ("source", "target")],
    }
    form = forms.get(challenge.year, lambda s, n: [f"section_{s}_{n:04d}.wav"])
    return [name for s in challenge.eval.sections[machine] for n in numbers for name in form(s, n)]


def every_clip(challenge):
    names = {m: frozenset(clip_names(challenge, m)) for m in challenge.eval.sections}
    return KnownClips(names, "made up")


def check_submission(folder, year, clips):
    (system,) = read_systems(folder)
    return check_system(system, year, clips)


def write_results(folder, challenge, clips):
    """What the test step writes for unlabelled clips."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for machine, sections in challenge.eval.sections.items():
        for section in sections:
            own = sorted(n for n in clips[machine] if parse_clip_name(n).section == section)
            ending = f"{machine}_section_{section}_test.csv"
            scores = "".join(f"{name},{rng.random()}\n" for name in own)
            (folder / f"anomaly_score_{ending}").write_text(scores)
            decisions = "".join(f"{name},{rng.randrange(2)}\n" for name in own)
            (folder / f"decision_result_{ending}").write_text(decisions)


@pytest.fixture
def submission(tmp_path):
    """A submission to 2023 without fault, and a way to change its lines."""
    folder = tmp_path / "system"
    write_results(folder, YEAR, every_clip(YEAR).names)

    class Submission:
        path = folder

        def edit(self, name, change):
            lines = (folder / name).read_text().splitlines()
            change(lines)
            (folder / name).write_text("".join(f"{line}\n" for line in lines))

        def problems(self, clips=None):
            return [str(p) for p in check_submission(folder, YEAR, clips or every_clip(YEAR))]

    return Submission()


SCORES = "anomaly_score_bandsaw_section_00_test.csv"
DECISIONS = "decision_result_bandsaw_section_00_test.csv"


# --- check ----------------------------------------------------------------------------------------


def test_without_fault(submission):
    assert submission.problems() == []


@pytest.mark.parametrize(
    ("file", "line", "text", "said"),
    [
        (SCORES, 1, "section_00_0001.wav,nan", "the score is 'nan'"),
        (SCORES, 1, "section_00_0001.wav,-inf", "the score is '-inf'"),
        (SCORES, 1, "section_00_0001.wav,high", "the score is 'high'"),
        (SCORES, 1, "section_00_0001.wav,", "the score is ''"),
        (DECISIONS, 2, "section_00_0002.wav,2", "write 0 or 1"),
        (DECISIONS, 2, "section_00_0002.wav,1.0", "write 0 or 1"),
        (DECISIONS, 2, "section_00_0002.wav;1", "is not 'clip,value'"),
    ],
)
def test_a_wrong_value(submission, file, line, text, said):
    submission.edit(file, lambda lines: lines.__setitem__(line, text))
    problems = submission.problems()
    assert problems[0].startswith(f"{submission.path / file}, line {line + 1}: ")
    assert said in problems[0]
    assert len(problems) == (2 if ";" in text else 1)  # a line that is none names no clip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("section_00_9999.wav,1", "is not one of the test clips"),
        ("section_00_0000.wav,1", "section_00_0000.wav has a line already"),
        ("section_01_0002.wav,1", "is not of section 00"),
        ("id_00_00000002.wav,1", "is not of section 00"),
        ("section_00_source_test_normal_0002_vel_1.wav,1", "tells a label"),
        ("section_00_source_test_0002.wav,1", "is not of this file's domain"),
        ("clip,1", "is not the name of a clip"),
    ],
)
def test_a_wrong_clip(submission, text, said):
    submission.edit(SCORES, lambda lines: lines.__setitem__(2, text))
    wrong, missing = submission.problems()
    assert f"{SCORES}, line 3: " in wrong
    assert said in wrong
    assert "1 of 4 clips are missing, the first is section_00_0002.wav" in missing


def test_a_missing_clip(submission):
    submission.edit(SCORES, lambda lines: lines.pop(3))
    (problem,) = submission.problems()
    assert problem.startswith(f"{submission.path / SCORES}: 1 of 4 clips are missing")


def test_files(submission):
    (submission.path / DECISIONS).unlink()
    name = "anomaly_score_toytank_section_00_test.csv"
    (submission.path / "anomaly_score_ToyTank_section_00_test.csv").rename(submission.path / name)
    (submission.path / "anomaly_score_grinder_section_00_test.csv").write_text("\n")
    found = "\n".join(submission.problems())
    assert f"{name}: no such file in DCASE2023T2; rename it to anomaly_score_ToyTank_" in found
    assert "anomaly_score_ToyTank_section_00_test.csv is missing" in found
    assert f"{DECISIONS} is missing" in found
    assert "anomaly_score_grinder_section_00_test.csv: the file is empty" in found
    assert len(found.splitlines()) == 4


def test_results_of_the_test_step_may_lie_beside(submission):
    name = "anomaly_score_DCASE2023T2bandsaw_section_00_test_seed13711_id(0_)_Eval.csv"
    (submission.path / name).write_text("section_00_0000.wav,1\n")
    assert submission.problems() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b"\xef\xbb\xbf" + b, "begins with a byte-order mark; save it as UTF-8 without"),
        (lambda b: b.decode().encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (lambda b: b.decode().encode("utf-16-le"), "is UTF-16 text; save it as UTF-8"),
        (lambda b: b.replace(b",", b";"), "its cells are separated by semicolons; save it with"),
        (
            lambda b: b.replace(b",0.", b";0,"),
            "its cells are separated by semicolons; save it with commas",
        ),
        (lambda b: b.replace(b",", b"\t"), "its cells are separated by tabs; save it with commas"),
        (lambda b: b[:-3] + b"\xff" + b[-2:], "line 4: is not UTF-8 text"),
        (lambda b: b[:40] + b"\0\0\0" + b[43:], "line 2: holds NUL bytes"),
        (lambda b: b[:-4], "line 4: the file is cut off here"),
    ],
)
def test_a_file_of_another_form_is_told_in_one_line(submission, change, said):
    path = submission.path / SCORES
    path.write_bytes(change(path.read_bytes()))
    (problem,) = submission.problems()
    assert problem.startswith(str(path))
    assert said in problem


@pytest.mark.parametrize("value", ["1_000", " 1", "1 ", "٣", "1e999", "0x1p3", "infinity", "1,5"])
def test_only_plain_numbers_are_scores(submission, value):
    submission.edit(SCORES, lambda lines: lines.__setitem__(1, f"section_00_0001.wav,{value}"))
    problem, *missing = submission.problems()
    assert f"{SCORES}, line 2: " in problem
    assert value in problem
    assert len(missing) == ("," in value)


def test_a_kind_of_problem_is_told_once(submission):
    clips = every_clip(YEAR)
    long = KnownClips({**clips.names, "bandsaw": clip_names(YEAR, "bandsaw", 5000)}, "")
    for name in (SCORES, DECISIONS):
        lines = [
            f"{clip},{'x' if i % 2 else '0'}\n" for i, clip in enumerate(long.names["bandsaw"])
        ]
        (submission.path / name).write_text("".join(lines))
    assert submission.problems(long) == [
        f"{submission.path / SCORES}, line 2: the score is 'x'; write a finite decimal number "
        "(and 2499 more lines like it)",
        f"{submission.path / DECISIONS}, line 2: the decision is 'x'; write 0 or 1 "
        "(and 2499 more lines like it)",
    ]
    submission.edit(SCORES, lambda lines: lines.__setitem__(slice(4, None), []))
    assert "line 2: the score is 'x'" in submission.problems(clips)[0]
    assert submission.problems(clips)[0].endswith("(also line 4)")


def test_a_line_break_in_a_name_makes_no_line_of_its_own(submission):
    (submission.path / "anomaly_score_x\nin order.csv").write_text("section_00_0000.wav,1\n")
    (problem,) = submission.problems()
    assert "anomaly_score_x\\nin order.csv: no such file in DCASE2023T2" in problem
    assert "\n" not in problem


def test_without_knowing_the_clips(submission):
    """Only the form of names can be checked, and that both files hold the same clips."""
    unknown = KnownClips({}, "")
    assert submission.problems(unknown) == []
    submission.edit(DECISIONS, lambda lines: lines.pop())
    (problem,) = submission.problems(unknown)
    assert f"{DECISIONS}: 1 of 4 clips are missing" in problem


def test_empty_and_missing_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "no"):
        with pytest.raises(UserError, match="name the"):
            check_submission(folder, YEAR, every_clip(YEAR))


def test_meta_file_of_a_named_folder(submission, tmp_path):
    folder = submission.path.rename(tmp_path / LABEL)
    (problem,) = check_submission(folder, YEAR, every_clip(YEAR))
    assert str(problem).startswith(f"{folder / LABEL}.meta.yaml: is missing")
    meta = folder / f"{LABEL}.meta.yaml"
    for text, said in (
        ("submission: {label: Other_X_task2_1}", "its label is 'Other_X_task2_1'"),
        ("submission: [", "is not valid YAML"),
        ("results: {}", "has no submission label"),
    ):
        meta.write_text(text)
        (problem,) = check_submission(folder, YEAR, every_clip(YEAR))
        assert said in str(problem)
    meta.write_bytes(meta_skeleton(YEAR, LABEL))
    assert check_submission(folder, YEAR, every_clip(YEAR)) == []


# --- where the clips' names come from -------------------------------------------------------------


def test_clips_of_the_data_folder_then_of_the_list(tmp_path):
    raw = tmp_path / "dcase2023t2" / "eval_data" / "raw"
    (raw / "shaker" / "test").mkdir(parents=True)
    (raw / "shaker" / "test" / "section_00_0003.wav").touch()
    (raw.parent / "eval_data_list_2023.csv").write_text(
        "shaker\nsection_00_0000.wav,section_00_source_test_normal_0000_a_1.wav\n"
        "bandsaw\nsection_00_0001.wav,section_00_source_test_normal_0000_a_1.wav\n"
    )
    found = find_test_clips(tmp_path, YEAR)
    assert found.names["shaker"] == {"section_00_0003.wav"}
    assert found.names["bandsaw"] == {"section_00_0001.wav"}
    assert "ToyTank" not in found.names
    assert "only the form of clip names was checked of ToyDrone" in found.text


def test_both_folders_of_2021(tmp_path):
    year = load_challenge("DCASE2021T2")
    for domain in ("source", "target"):
        folder = tmp_path / "dcase2021t2" / "eval_data" / "raw" / "fan" / f"{domain}_test"
        folder.mkdir(parents=True)
        (folder / f"section_03_{domain}_test_0000.wav").touch()
    assert len(find_test_clips(tmp_path, year).names["fan"]) == 2


# --- pack -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", challenge_names())
def test_pack_and_check_every_year(tmp_path, name):
    year = load_challenge(name)
    clips = every_clip(year)
    write_results(tmp_path / "results", year, clips.names)
    files, problems = gather_submission(tmp_path / "results", year, clips)
    assert not problems
    assert set(files) == {file.name for file in section_files(year)}
    write_package(tmp_path / "x.zip", LABEL, files, meta_skeleton(year, LABEL))
    with zipfile.ZipFile(tmp_path / "x.zip") as package:
        assert {name.split("/")[0] for name in package.namelist()} == {LABEL}
        package.extractall(tmp_path)
    for path in (tmp_path / LABEL, tmp_path / "x.zip"):
        assert check_submission(path, year, clips) == []
        assert check(path, tmp_path, YEAR).challenge == year


def test_names_of_2020_and_2021():
    names = {file.name for file in section_files(load_challenge("DCASE2020T2"))}
    assert "anomaly_score_ToyCar_id_05.csv" in names
    assert not any(name.startswith("decision_result") for name in names)
    names = {file.name for file in section_files(load_challenge("DCASE2021T2"))}
    assert "decision_result_fan_section_03_target_test.csv" in names
    assert len(names) == 7 * 3 * 2 * 2


def test_same_content_same_bytes(tmp_path):
    files = {"b.csv": "1\n", "a.csv": "2\n"}
    meta = meta_skeleton(YEAR, LABEL)
    write_package(tmp_path / "1.zip", LABEL, files, meta, b"%PDF")
    write_package(tmp_path / "2.zip", LABEL, dict(reversed(files.items())), meta, b"%PDF")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as package:
        assert package.read("Smith_A-B_task2.technical_report.pdf") == b"%PDF"


def test_meta_skeleton_is_yaml_with_this_years_machine_types():
    meta = yaml.safe_load(meta_skeleton(YEAR, LABEL))
    assert meta["submission"]["label"] == LABEL
    assert meta["submission"]["authors"][0]["lastname"] == "Smith"
    assert meta["system"]["description"]["input_sampling_rate"] == "16kHz"
    assert set(meta["results"]["development_dataset"]) == set(YEAR.dev.sections)


@pytest.mark.parametrize(("author", "index"), [("A_B", 1), ("", 1), ("A/B", 1), ("A", 0), ("A", 5)])
def test_labels_that_are_none(author, index):
    with pytest.raises(UserError, match=r"--author|--index"):
        submission_label(author, "X", index)


def test_pack_command_refuses_what_cannot_be_sent(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "eval_data" / "baseline_MSE"
    write_results(folder, YEAR, every_clip(YEAR).names)
    words = ["submission", "pack", "--author", "A", "--institute", "X", "--out", "x.zip"]
    (folder / SCORES).write_text("section_00_0000.wav,inf\n")
    (folder / DECISIONS).unlink()
    assert main([*words, "--dataset", "DCASE2023T2"]) == 2
    printed = capsys.readouterr().out
    assert f"{SCORES}, line 1: the score is 'inf'" in printed
    assert f"{DECISIONS}: is missing" in printed
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize(
    ("same", "newer", "refused"),
    [
        (False, True, True),  # trained again, then tested on labelled clips
        (True, True, False),  # the same model, tested again on labelled clips
        (False, False, False),  # tested on unlabelled clips after that
    ],
)
def test_results_of_an_earlier_model_are_not_packed(tmp_path, same, newer, refused):
    clips = every_clip(YEAR)
    write_results(tmp_path / "results", YEAR, clips.names)
    packed = tmp_path / "results" / SCORES
    values = [line.partition(",")[2] for line in packed.read_text().splitlines()]
    values = values[::-1] if same else [f"{value}1" for value in values]
    name = "anomaly_score_DCASE2023T2bandsaw_section_00_test_seed1_id(0_)_Eval.csv"
    own = packed.with_name(name)
    own.write_text("".join(f"section_00_source_test_normal_{v}.wav,{v}\n" for v in values))
    os.utime(own, (packed.stat().st_mtime + (1 if newer else -1),) * 2)
    _, problems = gather_submission(tmp_path / "results", YEAR, clips)
    assert [str(problem) for problem in problems] == [
        f"{packed}: is older than {name}, and has other values: an earlier model's; move "
        "test_rename/ away and test on the unlabelled clips again: asd test -e"
    ] * refused


def test_models_of_single_sections_are_all_packed(tmp_path):
    """Every model scores all sections, but only its own becomes a submission's file."""
    year = load_challenge("DCASE2021T2")
    clips = every_clip(year)
    write_results(tmp_path / "results", year, clips.names)
    packed = tmp_path / "results" / "anomaly_score_fan_section_03_test.csv"
    name = "anomaly_score_DCASE2021T2fan_section_03_test_seed1_id({}_)_Eval.csv"
    packed.with_name(name.format(3)).write_text(packed.read_text())
    other = packed.with_name(name.format(4))
    other.write_text(packed.read_text().replace(",0", ",1"))
    os.utime(other, (packed.stat().st_mtime + 1,) * 2)
    assert not gather_submission(tmp_path / "results", year, clips)[1]
    packed.with_name(name.format(3)).unlink()
    assert len(gather_submission(tmp_path / "results", year, clips)[1]) == 1


def test_check_command(tmp_path, submission, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["submission", "check", str(submission.path), "--dataset", "DCASE2023T2"]) == 0
    assert "in order for DCASE2023T2" in capsys.readouterr().out
    (submission.path / SCORES).unlink()
    assert main(["submission", "check", str(submission.path), "-e"]) == 2
    assert f"{SCORES} is missing" in capsys.readouterr().out


@pytest.mark.skipif(not REAL_LISTS.is_dir(), reason="needs the organisers' real lists")
@pytest.mark.parametrize("name", [n for n in challenge_names() if n != "DCASE2026T2"])
def test_clips_of_the_real_lists(tmp_path, name):
    year = load_challenge(name)
    corrected = "_corrected" if year.year == 2022 else ""
    path = REAL_LISTS / f"eval_data_list_{year.year}{corrected}.csv"
    clips = find_test_clips(tmp_path, year, path)
    assert set(clips.names) == set(year.eval.sections)
    assert sum(map(len, clips.names.values())) == sum(map(len, read_label_list(path).values()))
    write_results(tmp_path / "results", year, clips.names)
    _, problems = gather_submission(tmp_path / "results", year, clips)
    assert not problems


# --- zip files and years --------------------------------------------------------------------------


def packed(folder, *labels):
    """A zip file with a system without fault under each label."""
    folder.mkdir()
    write_results(folder / "results", YEAR, every_clip(YEAR).names)
    files, _ = gather_submission(folder / "results", YEAR, every_clip(YEAR))
    path = folder / "team.zip"
    with zipfile.ZipFile(path, "w") as package:
        for label in labels:
            package.writestr(f"{label}/{label}.meta.yaml", meta_skeleton(YEAR, label))
            for name, text in files.items():
                package.writestr(f"{label}/{name}", text)
    return path


def test_every_system_of_a_zip_file_is_checked(tmp_path):
    path = packed(tmp_path / "a", LABEL, "Smith_A-B_task2_2")
    assert not check(path, tmp_path, YEAR).problems
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("Smith_A-B_task2_2/anomaly_score_more.csv", "x,1\n")
        package.writestr("Smith_A-B_task2_3/anomaly_score_more.csv", "x,1\n")
    found = [str(problem) for problem in check(path, tmp_path, YEAR).problems]
    assert found[0] == (
        f"{path}/Smith_A-B_task2_2/anomaly_score_more.csv: no such file in DCASE2023T2; remove it"
    )
    assert f"{path}/Smith_A-B_task2_3: 14 of 14 files are missing, the first is" in found[2]
    assert "Smith_A-B_task2_3.meta.yaml: is missing" in found[3]


def test_a_zip_file_that_is_none(tmp_path):
    path = packed(tmp_path / "a", LABEL)
    whole = path.read_bytes()
    at = whole.index(b"section_00_0000.wav,0.")
    for content, said in (
        (b"no zip", "cannot be read as a zip file"),
        (whole[:-30], "cannot be read as a zip file"),
        (whole[:at] + b"X" + whole[at + 1 :], "Bad CRC-32"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said) as caught:
            check(path, tmp_path, YEAR)
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("x/readme.txt", "")
    with pytest.raises(UserError, match=r"no anomaly_score_\*\.csv in it; name the folder"):
        check(path, tmp_path, YEAR)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("x/anomaly_score_a.csv", bytes(1 << 27))
    with pytest.raises(UserError, match="has over 64 MiB"):
        check(path, tmp_path, YEAR)


def test_a_name_twice_in_a_zip_file_is_refused(tmp_path):
    path = packed(tmp_path / "a", LABEL)
    with zipfile.ZipFile(path, "a") as package, pytest.warns(UserWarning, match="Duplicate"):
        package.writestr(f"{LABEL}/{SCORES}", "")
    with pytest.raises(UserError, match=f"{SCORES} is in it twice"):
        check(path, tmp_path, YEAR)


@pytest.mark.parametrize("name", challenge_names())
def test_the_year_is_known_by_names_of_files(name):
    year = load_challenge(name)
    assert fitting_year({file.name for file in section_files(year)}) == year
    assert fitting_year({"readme.md"}) is None


def test_check_says_which_year_the_files_are_of(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    year = load_challenge("DCASE2024T2")
    write_results(tmp_path / "system", year, every_clip(year).names)
    assert main(["submission", "check", "system"]) == 0
    assert "in order for DCASE2024T2" in capsys.readouterr().out
    assert main(["submission", "check", "system", "--dataset", "DCASE2023T2"]) == 2
    printed = capsys.readouterr().out
    assert "14 of 14 files are missing" in printed
    assert "or check for --dataset DCASE2024T2" in printed
    assert "13 more files that DCASE2023T2 does not have; remove them" in printed


def test_pack_names_the_scores_that_exist(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("baseline_MSE", "baseline_MAHALA", "other_KNN"):
        write_results(tmp_path / "results" / "eval_data" / name, YEAR, every_clip(YEAR).names)
    (tmp_path / "results/eval_data/baseline_summarize").mkdir()
    words = ["submission", "pack", "--author", "A", "--institute", "X", "--out", "x.zip"]
    assert main([*words, "--dataset", "DCASE2023T2", "--score", "MAX"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("no results of score MAX; there are some of --score MAHALA, MSE")
    assert main([*words, "--dataset", "DCASE2023T2", "--export_dir", "none"]) == 2
    assert "no results for a submission to DCASE2023T2" in capsys.readouterr().err


def test_a_result_file_that_was_cut_off_is_not_packed(tmp_path):
    clips = every_clip(YEAR)
    write_results(tmp_path / "results", YEAR, clips.names)
    path = tmp_path / "results" / SCORES
    path.write_bytes(path.read_bytes()[:-5])
    _, problems = gather_submission(tmp_path / "results", YEAR, clips)
    assert [str(p) for p in problems] == [
        f"{path}, line 4: the file is cut off here; write it again"
    ]


@pytest.mark.parametrize(
    "meta",
    [b"a: 2026-99-99", b"a: !!int foo", b"a: " + b"9" * 5000, b"[" * 3000, b"\xff", b"{}: 1"],
)
def test_a_meta_file_of_nonsense_is_told(submission, tmp_path, meta):
    folder = submission.path.rename(tmp_path / LABEL)
    (folder / f"{LABEL}.meta.yaml").write_bytes(meta)
    (problem,) = check_submission(folder, YEAR, every_clip(YEAR))
    assert "is not valid YAML" in str(problem) or "has no submission label" in str(problem)
