"""Losses against the public programs' numbers, and against loops that follow the formulas."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.errors import UserError
from asd.systems.embedding.losses import AdaCos, AdaProj, AngularLoss, ArcFace, SubclusterAdaCos

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "embedding" / "losses.npz")
DIM, CLASSES, SUBSPACE = 10, 5, 4


def golden_tensor(key: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[key]).double()


def public_cases() -> list:
    cases = []
    for kind in ("hard", "soft"):
        for scale in ("fixed", "dynamic"):
            dynamic = scale == "dynamic"
            options = {"dynamic": dynamic, "scale_rule": "public"}
            case = f"{scale}_{kind}"
            cases.append((f"adacos/{case}", "adacos/W_adacos", kind, AdaCos, options))
            for n in (1, 2, 16):
                case = f"scadacos/{scale}_sub{n}_{kind}"
                more = {**options, "subclusters": n}
                cases.append((case, f"scadacos/W_sub{n}", kind, SubclusterAdaCos, more))
            for d in (1, 4):
                case = f"adaproj/{scale}_dim{d}_{kind}"
                more = {**options, "subspace_dim": d}
                cases.append((case, f"adaproj/W_dim{d}", kind, AdaProj, more))
        options = {"margin": 0.5, "scale": 64.0, "margin_on": "every"}
        cases.append((f"arcface/m0.5_s64_{kind}", "arcface/W_arcface", kind, ArcFace, options))
    options = {"margin": 0.2, "scale": 16.0, "margin_on": "every"}
    cases.append(("arcface/m0.2_s16_hard", "arcface/W_arcface", "hard", ArcFace, options))
    return [pytest.param(*case, id=case[0]) for case in cases]


def load(loss: AngularLoss, centres: torch.Tensor, scale: float) -> AngularLoss:
    loss = loss.double()
    loss.centres.data.copy_(centres)
    loss.scale.fill_(scale)
    return loss


def log_probabilities(loss: AngularLoss, x: torch.Tensor) -> torch.Tensor:
    """Of each class, shape (N, C): minus the loss with its label."""
    labels = torch.eye(CLASSES, dtype=x.dtype)
    losses = [loss.row_losses(x, label.expand(len(x), -1)) for label in labels]
    return -torch.stack(losses, dim=1).detach()


@pytest.mark.parametrize(("case", "weights", "kind", "loss_class", "options"), public_cases())
def test_equals_the_public_toolkit(case, weights, kind, loss_class, options):
    centres = golden_tensor(weights)
    centres = centres if loss_class is AdaProj else centres.T
    loss = loss_class(DIM, CLASSES, trainable=True, **options)
    assert loss.scale.item() == pytest.approx(GOLDEN[f"{case}/s_init"], rel=1e-6)
    load(loss, centres, GOLDEN[f"{case}/s_init"].item())
    # The public dynamic scales hold pi/4 in single precision.
    close = {"rtol": 1e-5, "atol": 1e-6}
    for step in range(3):
        x = golden_tensor(f"x{step}").requires_grad_()
        loss.zero_grad()
        value = loss(x, golden_tensor(f"{kind}{step}"))
        value.backward()
        key = f"{case}/step{step}"
        torch.testing.assert_close(value.detach(), golden_tensor(f"{key}_loss"), **close)
        torch.testing.assert_close(loss.scale, golden_tensor(f"{key}_s"), **close)
        if step != 1:
            grad = loss.centres.grad if loss_class is AdaProj else loss.centres.grad.T
            torch.testing.assert_close(x.grad, golden_tensor(f"{key}_grad_x"), **close)
            torch.testing.assert_close(grad, golden_tensor(f"{key}_grad_W"), **close)
            if loss_class is not ArcFace:  # whose public logits carry the margin
                expected = golden_tensor(f"{key}_logits").log_softmax(dim=1)
                torch.testing.assert_close(log_probabilities(loss, x), expected, **close)
    loss.eval()
    rows = loss.row_losses(golden_tensor("x0"), golden_tensor(f"{kind}0"))
    torch.testing.assert_close(rows.detach(), golden_tensor(f"{case}/eval_loss_none"), **close)
    assert loss.scale.item() == pytest.approx(GOLDEN[f"{case}/step2_s"], rel=1e-5)


@pytest.mark.parametrize(
    ("case", "margin", "scale"), [("m0.5_s64", 0.5, 64.0), ("m0.3_s30", 0.3, 30.0)]
)
def test_arcface_of_the_paper(case, margin, scale):
    loss = ArcFace(DIM, CLASSES, margin=margin, scale=scale)
    load(loss, golden_tensor("khoaphamanh_arcface/w"), scale)
    for step in (0, 1):
        x = golden_tensor(f"x{step}").requires_grad_()
        value = loss(x, golden_tensor(f"hard{step}"))
        value.backward()
        key = f"khoaphamanh_arcface/arcface_{case}/step{step}"
        torch.testing.assert_close(value.detach(), golden_tensor(f"{key}_loss"))
        if step == 0:
            torch.testing.assert_close(x.grad, golden_tensor(f"{key}_grad_x"), rtol=1e-5, atol=1e-6)


def test_dynamic_scale_of_the_paper():
    """The second public program limits the angle to pi/1e12 where the paper has pi/4."""
    loss = AdaCos(DIM, CLASSES, angle_limit=math.pi / 1e12)
    load(
        loss,
        golden_tensor("khoaphamanh_adacos/w"),
        GOLDEN["khoaphamanh_adacos/single/s_init"].item(),
    )
    for step in range(3):
        value = loss(golden_tensor(f"x{step}"), golden_tensor(f"hard{step}"))
        key = f"khoaphamanh_adacos/single/step{step}"
        torch.testing.assert_close(value.detach(), golden_tensor(f"{key}_loss"))
        torch.testing.assert_close(loss.scale, golden_tensor(f"{key}_s"))


def test_a_scale_that_is_updated_twice_for_a_batch():
    """There the prediction of classes, which comes before the loss, updates it too."""
    loss = AdaCos(DIM, CLASSES, angle_limit=math.pi / 1e12, scale_updates=2)
    case = "khoaphamanh_adacos/as_in_loop"
    load(loss, golden_tensor("khoaphamanh_adacos/w"), GOLDEN[f"{case}/s_init"].item())
    for step in range(3):
        value = loss(golden_tensor(f"x{step}"), golden_tensor(f"hard{step}"))
        torch.testing.assert_close(value.detach(), golden_tensor(f"{case}/step{step}_loss"))
        torch.testing.assert_close(loss.scale, golden_tensor(f"{case}/step{step}_s"))


@pytest.mark.parametrize("loss_class", [AdaCos, ArcFace])
def test_centres_can_be_drawn_from_the_normal_distribution(loss_class):
    torch.manual_seed(0)
    assert loss_class(100, 50, initial="normal").centres.std().item() == pytest.approx(1, abs=0.03)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def draw(seed: int, rows: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, DIM, generator=generator, dtype=torch.float64)
    classes = torch.randint(CLASSES, (rows,), generator=generator)
    return x, torch.nn.functional.one_hot(classes, CLASSES).double()


def test_subcluster_probabilities_add_up_over_a_class():
    loss = SubclusterAdaCos(DIM, CLASSES, subclusters=3, dynamic=False).double()
    x, _ = draw(1)
    centres, s = loss.centres.detach().numpy(), loss.scale.item()
    for row, got in zip(x.numpy(), log_probabilities(loss, x).exp().numpy(), strict=True):
        e = [math.exp(s * unit(row) @ unit(w)) for w in centres]
        expected = [sum(e[3 * c : 3 * c + 3]) / sum(e) for c in range(CLASSES)]
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_adaproj_cosine_is_the_one_to_the_projection():
    loss = AdaProj(DIM, CLASSES, subspace_dim=SUBSPACE).double()
    x, _ = draw(2)
    for row, got in zip(x.numpy(), loss.cosines(x).detach().numpy(), strict=True):
        for c in range(CLASSES):
            w = [unit(v) for v in loss.centres[c].numpy()]
            projection = unit(sum((unit(row) @ v) * v for v in w))
            assert got[c] == pytest.approx(unit(row) @ projection, rel=1e-9)


@pytest.mark.parametrize("loss_class", [AdaCos, SubclusterAdaCos, AdaProj])
def test_dynamic_scale_follows_its_formula(loss_class):
    loss = loss_class(DIM, CLASSES).double()
    x, y = draw(3)
    cosines, s = loss.cosines(x).detach().numpy(), loss.scale.item()
    n = 16 if loss_class is SubclusterAdaCos else 1
    b, angles = 0.0, []
    for i, label in enumerate(y.argmax(dim=1).tolist()):
        own = range(n * label, n * label + n)
        counted = range(n * CLASSES) if n > 1 else set(range(CLASSES)) - set(own)
        b += sum(math.exp(s * cosines[i, j]) for j in counted) / len(x)
        angles.append(min(math.acos(cosines[i, j]) for j in own))
    expected = math.log(b) / math.cos(min(math.pi / 4, sorted(angles)[(len(angles) - 1) // 2]))
    loss(x, y)
    assert loss.scale.item() == pytest.approx(expected, rel=1e-6)


def test_mixed_labels_weight_the_margin():
    loss = ArcFace(DIM, CLASSES, margin=0.3, scale=20).double()
    x, y = draw(4)
    mixed = 0.25 * y + 0.75 * y.roll(1, 0)
    expected = 0.25 * loss.row_losses(x, y) + 0.75 * loss.row_losses(x, y.roll(1, 0))
    torch.testing.assert_close(loss.row_losses(x, mixed), expected)


@pytest.mark.parametrize("rule", ["paper", "public"])
def test_a_batch_without_a_pure_row_leaves_the_scale_finite(rule):
    loss = AdaCos(DIM, CLASSES, scale_rule=rule)
    x, y = draw(5)
    before = loss.scale.item()
    loss(x.float(), (0.5 * y + 0.5 * y.roll(1, 1)).float())
    assert math.isfinite(loss.scale.item())
    assert (loss.scale.item() == before) == (rule == "public")


def test_fixed_centres_are_no_parameters():
    assert list(AdaCos(DIM, CLASSES, trainable=False).parameters()) == []
    assert len(list(AdaCos(DIM, CLASSES, trainable=True).parameters())) == 1


def test_two_centres_are_too_few_for_a_scale():
    with pytest.raises(UserError, match="2 class centres are too few"):
        AdaCos(DIM, 2)
    assert SubclusterAdaCos(DIM, 2, subclusters=2).scale > 0
