"""All commands by name: what each is for, and the module that adds it.

A command loads its own module alone, so that `asd --help` answers at once.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """A command of `asd`.

    Parameters
    ----------
    module
        Name of the module in this package.
    summary
        Its line in the list of commands.
    """

    module: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "learn": Command("monitoring", "learn a machine's normal sound from recordings of any names"),
    "score": Command("monitoring", "score recordings with a detector that asd learn made"),
    "watch": Command("monitoring", "score recordings as they appear, or samples from a pipe"),
    "train": Command("models", "train the models of a data set"),
    "test": Command("models", "score the test clips with trained models"),
    "run": Command("models", "train, then test; of several systems or seeds, compare the scores"),
    "summarize": Command("models", "write and print the summary tables of a data set"),
    "embed": Command("models", "write the embeddings of clips to a file"),
    "visualize": Command("models", "draw maps of embeddings and histograms of scores"),
    "import-baseline": Command("models", "take over models that the public baseline trained"),
    "export": Command("export", "write a detector as one ONNX file"),
    "synthesize": Command(
        "data",
        "make a small data set of machine-like sounds in a challenge year's own form",
    ),
    "download": Command("data", "download the official data set of a challenge year"),
    "rename": Command("data", "give evaluation clips their labelled names"),
    "attributes": Command(
        "data",
        "get the true attributes of machine types whose clips' names hide them (2024, 2025)",
    ),
    "show": Command("show", "a data set at a glance: counts, lengths, a few clips to hear"),
    "evaluate": Command("challenge", "evaluate submissions as the organisers do"),
    "submission": Command("challenge", "check or pack a submission to the challenge"),
    "format": Command("challenge", "bring the clips of a year into one tree for all years"),
    "gan": Command("gan", "train and test GAN or BiGAN, in the words of its authors' program"),
    "features": Command("gan", "write frame vectors and labels as .npy files"),
    "weights": Command("weights", "list, get or add weights of pretrained encoders"),
    "reproduce": Command("reproduce", "make a published score again, and show both"),
    "search": Command("search", "search for the parameters of a system or recipe"),
}
