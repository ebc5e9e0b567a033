import pytest

from asd.challenge.catalog import challenge_names, load_challenge, split_dataset_name
from asd.errors import UserError

YEARS = challenge_names()


def test_all_years_oldest_first():
    assert tuple(f"DCASE{year}T2" for year in range(2020, 2027)) == YEARS
    assert [load_challenge(name).year for name in YEARS] == list(range(2020, 2027))


def test_2023_as_the_organisers_describe_it():
    c = load_challenge("DCASE2023T2")
    dev = ("ToyCar", "ToyTrain", "fan", "gearbox", "bearing", "slider", "valve")
    assert tuple(c.dev.sections) == dev
    assert set(c.eval.sections) == {
        "ToyDrone", "ToyNscale", "ToyTank", "Vacuum", "bandsaw", "grinder", "shaker",
    }  # fmt: skip
    assert all(ids == ("00",) for ids in [*c.dev.sections.values(), *c.eval.sections.values()])
    assert (c.keyword, c.channels, c.sample_rate_hz) == ("section", 1, 16000)
    assert c.domains == ("source", "target")
    assert (c.dev.folder, c.eval.folder) == ("dev_data", "eval_data")
    assert c.split("eval") is c.eval


def test_what_sets_the_other_years_apart():
    c = load_challenge("DCASE2020T2")
    assert (c.keyword, c.domains) == ("id", ("source",))
    assert c.dev.sections["pump"] == ("00", "02", "04", "06")
    assert c.eval.sections["pump"] == ("01", "03", "05")
    assert load_challenge("DCASE2021T2").test_folders == ("source_test", "target_test")
    assert load_challenge("DCASE2022T2").dev.sections["valve"] == ("00", "01", "02")
    assert load_challenge("DCASE2026T2").channels == 2
    assert load_challenge("DCASE2026T2").label_list is None


@pytest.mark.parametrize("name", YEARS)
@pytest.mark.parametrize("split", ["dev", "eval"])
def test_every_year_is_complete(name, split):
    c = load_challenge(name)
    found = c.split(split)
    assert found.sections
    for machine, sections in found.sections.items():
        assert sections
        assert all(len(section) == 2 and section.isdigit() for section in sections)
        assert all(address.startswith("https://zenodo.org/") for address in found.archives[machine])
        assert all("{" not in address for address in found.archives[machine])
        named = [address for address in found.archives[machine] if machine in address]
        assert len(named) == len(found.archives[machine])
    assert c.official_score.mean in ("arithmetic", "harmonic")
    assert c.official_score.metrics
    if c.label_list is not None:
        assert len(c.label_list.sha256) == 64
        assert c.label_list.file in c.label_list.url


@pytest.mark.parametrize("name", YEARS)
def test_dev_and_eval_share_no_section(name):
    c = load_challenge(name)
    for machine in c.dev.sections.keys() & c.eval.sections.keys():
        if c.year < 2023:  # from then on each machine type has one section
            assert not set(c.dev.sections[machine]) & set(c.eval.sections[machine])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DCASE2023T2", ("DCASE2023T2", "")),
        ("DCASE2023T2ToyCar", ("DCASE2023T2", "ToyCar")),
        ("DCASE2020T2ToyConveyor", ("DCASE2020T2", "ToyConveyor")),
        ("DCASE2019T2fan", ("DCASE2019T2fan", "")),
        ("fan", ("fan", "")),
        ("", ("", "")),
    ],
)
def test_split_dataset_name(name, expected):
    assert split_dataset_name(name) == expected


def test_unknown_year_names_the_nearest_and_all():
    with pytest.raises(UserError) as caught:
        load_challenge("DCASE2033T2")
    message = str(caught.value)
    assert "'DCASE2033T2' is unknown (did you mean DCASE20" in message
    assert all(name in message for name in YEARS)


def test_machine_types_come_in_the_official_order_once():
    c = load_challenge("DCASE2023T2")
    assert c.check_machines("dev", ["valve", "ToyCar", "valve"]) == ("ToyCar", "valve")
    assert c.check_machines("dev", []) == tuple(c.dev.sections)


def test_unknown_machine_type_names_the_nearest_and_the_data_set():
    c = load_challenge("DCASE2023T2")
    with pytest.raises(UserError, match=r"'fann' .*dev data of DCASE2023T2 \(did you mean fan\?\)"):
        c.check_machines("dev", ["fann"])
    with pytest.raises(UserError, match=r"'fan' is not in the eval data .*it has .*bandsaw"):
        c.check_machines("eval", ["fan"])
