"""Parameters of a run that all systems share: data, results, decisions, how the work is done."""

from dataclasses import dataclass
from pathlib import Path

from asd.schema.parameters import parameter
from asd.schema.values import (
    Count,
    FalsePositiveRate,
    FolderName,
    Fraction,
    NamePart,
    Positive,
    Seed,
    WholeNumber,
)


@dataclass(frozen=True)
class RunParameters:
    """What every run has; names and defaults are the official ones where there are any."""

    dataset: str = parameter(
        "DCASE2023T2",
        "challenge year, DCASE2020T2 to DCASE2026T2; a machine type may be appended",
        role="data",
    )
    machine_types: tuple[str, ...] = parameter(
        (), "machine types to work on (default: all of the data set)", role="data"
    )
    use_ids: tuple[int, ...] = parameter(
        (),
        "train one model per machine type on these sections together (default: one model per "
        "section)",
        role="data",
    )
    dataset_directory: Path = parameter(
        Path("data"), "folder of the data sets: <this>/dcase2023t2/dev_data/raw/...", role="data"
    )
    result_directory: Path = parameter(
        Path("results"), "folder for models, logs, scores, tables and figures", role="data"
    )
    feature_directory: Path | None = parameter(
        None, "folder for computed features (default: processed/ beside the raw data)", role="data"
    )
    export_dir: FolderName = parameter(
        "baseline",
        "name of this system's folders below the result folder (default: baseline for "
        "DCASE2023T2-AE, the system's name for the others)",
        role="data",
    )
    model_name_suffix: NamePart = parameter(
        "",
        "text in file names that tells models apart (default: id(0_) and so on)",
        role="data",
        flags=("-tag",),
        placeholder="TEXT",
    )
    is_auto_download: bool = parameter(False, "download missing data", role="run")
    mono: bool | None = parameter(
        None,
        "True: files must have one channel; False: several, of which --channel is used; null: as "
        "the challenge year says",
        role="data",
    )

    model: str = parameter(
        "DCASE2023T2-AE",
        "the system: a name, the path of a recipe of your own, which ends in .yaml, or a class of "
        "your own as my_file.py:MySystem",
        role="training",
    )
    score: str = parameter(
        "MSE",
        "anomaly score for testing, or the word all: DCASE2023T2-AE and ae have MSE, MAHALA and "
        "MAHALA-FRAME, GAN and BiGAN have CROSS-E and FM, a recipe has its backends (default: MSE "
        "for DCASE2023T2-AE, all for the others)",
        role="run",
    )
    seed: Seed = parameter(13711, "random seed", role="training", flags=("--rd",))
    use_cuda: bool = parameter(True, "train and score on a CUDA device if there is one", role="run")
    gpu_id: tuple[int, ...] = parameter((0,), "number of the CUDA device", role="run")
    threads: WholeNumber = parameter(
        0,
        "processor cores to use (0: OMP_NUM_THREADS if that is set, else all that may be used)",
        role="run",
    )
    jobs: WholeNumber = parameter(
        0, "models to train at the same time (0: chosen for this machine)", role="run"
    )
    cluster: str | None = parameter(
        None,
        "train on the workers of this Dask scheduler, such as tcp://10.0.0.5:8786 (they need asd, "
        "and data and results at the same paths)",
        role="run",
        placeholder="ADDRESS",
    )
    cluster_timeout: Positive = parameter(
        60.0, "give up after the scheduler has not answered for so long", role="run", unit="s"
    )
    log_interval: Count = parameter(
        100, "accepted for the official baseline.yaml; progress is shown anyway", role="run"
    )
    restart: bool = parameter(
        False,
        "go on from the last checkpoint of an interrupted training",
        role="run",
        switch=True,
    )
    checkpoint_path: Path | None = parameter(
        None, "with --restart: the checkpoint to go on from", role="run", placeholder="FILE"
    )
    tensorboard: Path | None = parameter(
        None, "folder for TensorBoard's files of the losses (needs asd[tensorboard])", role="run"
    )
    train_only: bool = parameter(False, "train, do not test", role="run", switch=True)
    test_only: bool = parameter(False, "test, do not train", role="run", switch=True)

    decision_threshold: Fraction | None = parameter(
        0.9,
        "a clip is decided anomalous if its score is above this quantile of normal scores (none: "
        "write scores without decisions)",
        role="scoring",
    )
    max_fpr: FalsePositiveRate = parameter(
        0.1, "pAUC is taken up to this false positive rate", role="scoring"
    )
