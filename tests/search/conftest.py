"""A data set of four machine types, and searches over it."""

from pathlib import Path

import pytest

from asd.challenge.catalog import load_challenge
from asd.config import load_config
from asd.search.plan import Search
from asd.search.space import read_space
from asd.synthetic.dataset import SyntheticCounts, synthesize

MACHINES = ("ToyCar", "fan", "slider", "valve")
KNOWN = Path(__file__).parents[1] / "helpers" / "known_system.py"


@pytest.fixture(scope="session")
def four_machines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    counts = SyntheticCounts(train_source=10, train_target=5, test_per_group=12)
    year = load_challenge("DCASE2023T2")
    synthesize(folder, year, "dev", list(MACHINES), clips=counts, seconds=(0.1, 0.1))
    return folder


@pytest.fixture
def make_search(four_machines, tmp_path):
    """make_search(space text, system="Known", kind=..., trials=...) -> Search."""

    def make(text, system="Known", *, name="s", kind="left_out", trials=8, folds=0, **options):
        flags = {
            "model": f"{KNOWN}:{system}",
            "dataset_directory": str(four_machines),
            "result_directory": str(tmp_path),
            "machine_types": list(MACHINES),
            **options.pop("flags", {}),
        }
        space = tmp_path / f"{name}.yaml"
        space.write_text(text)

        def config(texts):
            return load_config(None, flags, "dev", texts, use_default_file=False)

        folder = tmp_path / "search" / name
        options = {"metric": "official", "at_once": 1, "url": "sqlite:///:memory:", **options}
        if options["url"] == "file":
            options["url"] = f"sqlite:///{folder / 'study.db'}"
        return Search(
            config, read_space(space), kind=kind, trials=trials, folds=folds, folder=folder,
            **options,
        )  # fmt: skip

    return make
