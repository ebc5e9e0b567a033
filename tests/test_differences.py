from asd.differences import differences


def test_differences_are_named_by_flag_or_key():
    then = {"n_mels": 64, "losses": [{"class": "AdaCos", "weight": 1.0}], "fmax": None}
    now = {"n_mels": 128, "losses": [{"class": "AdaCos", "weight": 2.0}], "fmax": 8000.0}
    every = [
        "--n_mels 64 (now 128)", "losses[0].weight 1.0 (now 2.0)", "--fmax null (now 8000.0)",
    ]  # fmt: skip
    assert differences(then, now) == every
    assert differences(then, now, only={"losses"}) == every[1:2]
    assert differences(then, now, only={"losses[0].weight", "fmax"}) == every[1:]
    assert differences(then, now, only=()) == []
    assert differences(then, now, but={"losses", "n_mels"}) == every[2:]
    assert differences(then, then) == []
    newer = {**then, "switch": False, "training": {"weights": (), "extra": 2}}
    assert differences(then, newer) == ["training.extra null (now 2)"]
    assert differences({"x": [1, 2]}, {"x": [1]}) == ["x 1 2 (now 1)"]
