#!/usr/bin/env python3
"""Copy evaluation clips from test/ to test_rename/ under the labelled names published later."""

import argparse
import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs from any folder, installed or not

from asd.challenge.catalog import challenge_names, load_challenge  # noqa: E402
from asd.challenge.labels import rename_eval_clips  # noqa: E402
from asd.errors import UserError  # noqa: E402


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Copy evaluation clips from test/ to test_rename/ under their labelled names, "
        "for every machine type found. The organisers' list of labels is looked for in "
        "<data>/<challenge>/eval_data/ and downloaded there if it is missing.",
        epilog="example: tools/rename_eval_wav.py --dataset_parent_dir=data "
        "--dataset_type=DCASE2023T2",
    )
    parser.add_argument(
        "--dataset_parent_dir",
        type=Path,
        default=ROOT / "data",
        help="the data folder, which holds dcase2023t2/ and so on (default: %(default)s)",
    )
    parser.add_argument(
        "--dataset_type",
        required=True,
        metavar="DCASE20XXT2",
        help=f"the challenge year: {', '.join(challenge_names())}",
    )
    parser.add_argument(
        "--link", action="store_true", help="link the clips instead of copying them"
    )
    parser.add_argument("--list", type=Path, metavar="FILE", help="a list of labels to use instead")
    parser.add_argument(
        "--allow_wrong_labels",
        action="store_true",
        help="use the list published for 2022 although 608 of its labels are wrong",
    )
    return parser


def main() -> int:
    """Run the command; the exit status is 2 if the user can mend what went wrong."""
    flags = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        rename_eval_clips(
            flags.dataset_parent_dir,
            load_challenge(flags.dataset_type),
            list_path=flags.list,
            link=flags.link,
            allow_wrong=flags.allow_wrong_labels,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
