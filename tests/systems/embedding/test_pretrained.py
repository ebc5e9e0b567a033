"""Frontends of pretrained encoders: their parts against published numbers, and what they store."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import beats
from torch import Generator

import asd
from asd.challenge.catalog import load_challenge
from asd.encoders.pooling import Rdp
from asd.errors import UserError
from asd.synthetic.dataset import SyntheticCounts, synthesize
from asd.systems.embedding.pretrained import AdaptedEncoder, AttentiveStatistics
from asd.systems.embedding.recipe_training import ScheduleRecipe
from asd.systems.memory_run import MemoryRun

DATA = Path(__file__).parents[2] / "data" / "encoders"
SAMPLES = 16000


def test_attentive_statistics_equal_the_toolkits():
    golden = {k: torch.from_numpy(v) for k, v in np.load(DATA / "attnstatpool.npz").items()}
    pool = AttentiveStatistics(32)
    state = {k.removeprefix("sd/"): v for k, v in golden.items() if k.startswith("sd/")}
    pool.load_state_dict(state)
    with torch.no_grad():
        found = pool.train()(golden["x"])
        np.testing.assert_allclose(found, golden["train_out"], atol=2e-5)
        pool.load_state_dict(state)  # the call above has changed the statistics
        np.testing.assert_allclose(pool.eval()(golden["x"]), golden["eval_out"], atol=2e-5)


def test_bands_are_pooled_each_by_the_same_layers(tiny_beats):
    torch.manual_seed(0)
    frontend = AdaptedEncoder(
        SAMPLES, 16000, weights=str(tiny_beats), rank=4, width=8, pool="band_attentive_statistics"
    ).eval()
    with torch.no_grad():
        tokens = frontend.network(frontend.network.features(waves())).tokens
        assert tokens.shape[2] == 8
        bands = [frontend.pool(tokens[:, :, band]) for band in range(8)]
        expected = frontend.projection(torch.cat(bands, dim=1))
        torch.testing.assert_close(frontend(waves()), expected)


def test_a_single_token_in_each_band_is_refused(tiny_beats):
    with pytest.raises(UserError, match="needs 2 tokens in each band"):
        AdaptedEncoder(
            4000, 16000, weights=str(tiny_beats), rank=4, pool="band_attentive_statistics"
        )


@pytest.mark.parametrize("case", ["recipe", "small", "decay"])
def test_learning_rates_equal_those_of_timm(case):
    golden = np.load(DATA / "cosine_lr.npz")
    highest, warm_up, cosine, last, first = golden[f"{case}_config"]
    schedule = ScheduleRecipe(int(warm_up), float(first), int(cosine), float(last))
    found = [schedule.rate(int(step), float(highest)) for step in golden[f"{case}_step"]]
    np.testing.assert_allclose(found, golden[f"{case}_lr"], rtol=1e-12, atol=1e-15)


def test_the_first_step_of_a_warm_up_has_rate_0():
    schedule = ScheduleRecipe(warm_up_steps=4)
    assert [schedule.rate(step, 1.0) for step in (1, 2, 4, 5, 6, 99)] == [0, 0.25, 0.75, 1, 1, 1]


@pytest.fixture(params=["beats", "eat"])
def adapted(request, tiny_encoders):
    def make(**options):
        pool = {"pool": "class"} if request.param == "eat" else {}
        torch.manual_seed(0)
        return AdaptedEncoder(
            SAMPLES, 16000, weights=str(tiny_encoders[request.param]), rank=4, width=8,
            **{**pool, **options},
        )  # fmt: skip

    return make


def waves(count=4):
    return 0.1 * torch.randn(count, SAMPLES, generator=Generator().manual_seed(0))


def trained(frontend, seed=0):
    """The frontend after a few large steps."""
    frontend.draw_from(Generator().manual_seed(seed))
    learned = [value for value in frontend.parameters() if value.requires_grad]
    optimiser = torch.optim.SGD(learned, lr=0.1)
    frontend.train()
    for _ in range(3):
        optimiser.zero_grad()
        frontend(waves()).square().mean().backward()
        optimiser.step()
    return frontend.eval()


def test_only_what_is_learned_or_counted_is_stored(adapted):
    frontend = adapted()
    names = set(frontend.saved())
    assert "weights_sha256" in names
    base = {name for name in names if name.startswith("network.")}
    assert {name.rpartition(".")[2] for name in base} == {"lora_a", "lora_b"}
    learned = {name for name, value in frontend.named_parameters() if value.requires_grad}
    assert learned <= names


def test_what_is_stored_gives_the_same_embeddings(adapted):
    frontend = trained(adapted())
    other = adapted()
    other.load_saved(frontend.saved())
    with torch.no_grad():
        assert torch.equal(other.eval()(waves()), frontend(waves()))
        assert not torch.allclose(adapted().eval()(waves()), frontend(waves()))


def test_random_numbers_come_from_the_generator(adapted):
    states = [trained(adapted(), seed).saved() for seed in (1, 1, 2)]
    equal = [all(torch.equal(states[0][k], s[k]) for k in s if k != "weights_sha256")
             for s in states[1:]]  # fmt: skip
    assert equal == [True, False]


def test_layers_are_dropped_in_training_only(tmp_path):
    torch.save(beats(encoder_layerdrop=1.0), tmp_path / "never.pt")
    frontend = AdaptedEncoder(
        SAMPLES, 16000, weights=str(tmp_path / "never.pt"), rank=4, width=8, pool="mean"
    )
    network, spectra = frontend.network, frontend.features(waves())
    with torch.no_grad():
        frontend.train()
        dropped = network(spectra[0]).tokens
        frontend.eval()
        embedded = network.encoder.embedded(network.patches(spectra[0]), network)
        assert torch.equal(dropped.flatten(1, 2), embedded)
        assert not torch.equal(network(spectra[0]).tokens, dropped)


def test_gradients_shrink_from_layer_to_layer(tmp_path):
    """A factor of 0.5 in place of 1 at each layer's input."""
    gradients = []
    for decay in (1.0, 0.5):
        content = beats(layer_wise_gradient_decay_ratio=decay, encoder_layerdrop=-1.0)
        torch.save(content, tmp_path / f"{decay}.pt")
        torch.manual_seed(0)
        frontend = AdaptedEncoder(
            SAMPLES, 16000, weights=str(tmp_path / f"{decay}.pt"), rank=4, width=8, pool="mean"
        ).train()
        frontend(waves()).square().mean().backward()
        layers = frontend.network.encoder.layers
        gradients.append([layer.self_attn.v_proj.lora_b.grad.norm() for layer in layers])
    shares = [float(b / a) for a, b in zip(*gradients, strict=True)]
    assert shares == pytest.approx([0.5, 1.0], rel=1e-4)


def test_statistics_that_are_forgotten_are_0_and_1(tiny_beats):
    frontends = {}
    for name in ("kept", "forgotten"):
        torch.manual_seed(0)
        frontends[name] = trained(AdaptedEncoder(
            SAMPLES, 16000, weights=str(tiny_beats), rank=4, width=8, batch_norm_statistics=name
        ))  # fmt: skip
    norm = frontends["forgotten"].pool.last_layer[0]
    assert not norm.running_mean.any()
    assert (norm.running_var == 1).all()
    assert frontends["kept"].pool.last_layer[0].running_mean.any()


def toolkit_checkpoint(frontend, path):
    """What dcase-asd-toolkit would store of a frontend: parameters alone, under its own names."""
    names = {
        "network.": "extractor.model.base_model.model.", "pool.": "extractor.projection_net.0.",
        "projection.": "extractor.projection_net.1." if frontend.pool else
        "extractor.projection_net.",
    }  # fmt: skip
    weights = {"head_dict.main.W": torch.zeros(8, 16)}
    for own, value in frontend.named_parameters():
        if value.requires_grad:
            for ours, theirs in names.items():
                own = theirs + own.removeprefix(ours) if own.startswith(ours) else own
            for matrix in "ab":
                old, new = f".lora_{matrix}", f".lora_{matrix.upper()}.default.weight"
                own = own.removesuffix(old) + new if own.endswith(old) else own
            weights[own] = value.detach().clone()
    torch.save({"state_dict": weights, "hyper_parameters": {"path": Path("labels")}}, path)
    return weights


def test_a_checkpoint_of_the_toolkit_is_taken_over(adapted, tmp_path):
    frontend = trained(adapted(batch_norm_statistics="forgotten"))
    weights = toolkit_checkpoint(frontend, tmp_path / "last.ckpt")
    assert any("projection_net.0.attention" in n or n == "extractor.projection_net.weight"
               for n in weights)  # fmt: skip
    other = adapted(checkpoint=str(tmp_path / "last.ckpt"))
    other.begin()
    with torch.no_grad():
        assert torch.equal(other.eval()(waves()), frontend(waves()))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda w: w.popitem(), "is no checkpoint of dcase-asd-toolkit for this frontend"),
        (lambda w: w.clear(), "is no checkpoint of dcase-asd-toolkit"),
        (lambda w: w.update({k: v[:1] for k, v in w.items()}), "sizes are not those of this"),
    ],
)
def test_another_checkpoint_is_refused(adapted, tmp_path, change, complaint):
    weights = toolkit_checkpoint(adapted(), tmp_path / "last.ckpt")
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=complaint):
        adapted(checkpoint=str(tmp_path / "last.ckpt")).begin()


def test_other_weights_than_in_training_are_refused(adapted):
    frontend = adapted()
    state = {**frontend.saved(), "weights_sha256": "0" * 64}
    with pytest.raises(UserError, match="trained with encoder weights of SHA-256 0000"):
        frontend.load_saved(state)


@pytest.mark.parametrize(
    ("kind", "rate_hz", "samples", "options", "complaint"),
    [
        ("beats", 8000, 16000, {}, "hears 16000 Hz, the clips are sampled at 8000 Hz"),
        ("beats", 16000, 2000, {}, r"^the input \(.*\) is too short for .* one patch .* 0.175 s"),
        ("beats", 16000, 16000, {"pool": "class"}, r"\(BEATs\) has no class token; set mean"),
        ("mn", 32000, 32000, {}, "EfficientAT has no layers for LoRA"),
        ("mn", 16000, 16000, {}, "EfficientAT has no layers for LoRA"),  # resampling would not help
    ],
)
def test_what_cannot_be_adapted(tiny_encoders, kind, rate_hz, samples, options, complaint):
    with pytest.raises(UserError, match=complaint):
        AdaptedEncoder(samples, rate_hz, weights=str(tiny_encoders[kind]), **options)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """A machine of a year with two channels, whose longest clip no table knows."""
    folder = tmp_path_factory.mktemp("data")
    counts = SyntheticCounts(24, 6, 8)
    synthesize(folder, load_challenge("DCASE2026T2"), "dev", ["ToyCar"], clips=counts,
               seconds=(1.0, 1.5))  # fmt: skip
    return asd.load_challenge("DCASE2026T2", folder).dev["ToyCar"]


def recipe(folder, frontend, more=""):
    path = folder / "mine.yaml"
    path.write_text(f"frontend: {frontend}\nbackends:\n  KNN: {{class: knn}}\n{more}")
    return str(path)


@pytest.fixture(scope="module")
def wide_beats(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "wide.pt"
    torch.save(beats(width=32), path)
    return path


@pytest.fixture(scope="module")
def humming(tmp_path_factory, write_wav):
    """Folders of a hum in noise, of another pitch where it is anomalous; clips of 1 to 1.5 s."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("humming")
    for part, count, pitch_hz in (("train", 24, 440), ("normal", 8, 440), ("anomaly", 8, 1200)):
        for number in range(count):
            t = np.arange(rng.integers(16000, 24000)) / 16000
            hum = sum(0.1 * np.sin(2 * np.pi * k * pitch_hz * t + number) for k in (1, 2, 3))
            write_wav(folder / part / f"{number}.wav", hum + 0.02 * rng.normal(size=len(t)))
    return folder


@pytest.mark.parametrize("input_s", ["by_year", "whole", 1.0])
def test_a_frozen_encoder_hears_another_pitch(humming, wide_beats, tmp_path, input_s):
    """Also with random weights."""
    frontend = f"{{class: FrozenEncoder, weights: {wide_beats}}}"
    model = asd.create(recipe(tmp_path, frontend), input_s=input_s)
    model.fit(asd.recordings(humming / "train"), progress=False)
    normal, anomaly = (model.score([humming / part]) for part in ("normal", "anomaly"))
    assert np.mean(anomaly["KNN"][:, None] > normal["KNN"]) > 0.95
    assert model.decide(anomaly, "KNN", 0.8).mean() > 0.9
    assert model.decide(normal, "KNN", 0.8).mean() < 0.5
    model.save(tmp_path / "model.asd")
    again = asd.load(tmp_path / "model.asd").score([humming / "normal"])
    np.testing.assert_allclose(again["KNN"], normal["KNN"], atol=1e-6)


def test_an_adapted_encoder_learns(synthetic, wide_beats, tmp_path):
    losses = []
    training = """\
input_s: 1.0
labels: {parts: [machine, section, domain]}
losses:
  - {class: SubclusterAdaCos, subclusters: 2, dynamic: false}
training: {epochs: 6, batch_size: 8, learning_rate: 0.01, schedule: {warm_up_steps: 4}}
"""
    frontend = f"{{class: AdaptedEncoder, weights: {wide_beats}, rank: 4, width: 8}}"
    model = asd.create(recipe(tmp_path, frontend, training))
    run = MemoryRun(0, lambda _, epoch: losses.append(epoch.losses["loss"]))
    model.prepare(synthetic.train, run).run_alone()
    assert losses[-1] < 0.7 * losses[0]
    state = model.system.state()["frontend"]
    assert sum(v.numel() for v in state.values() if hasattr(v, "numel")) < 15000


def test_a_training_that_resumes_ends_with_the_same_bits(synthetic, wide_beats, tmp_path):
    training = """\
input_s: 1.0
labels: {parts: [machine, section, domain]}
losses:
  - {class: SubclusterAdaCos, subclusters: 2, dynamic: false}
training: {epochs: 2, batch_size: 8, schedule: {warm_up_steps: 4}}
"""
    frontend = f"{{class: AdaptedEncoder, weights: {wide_beats}, rank: 4, width: 8}}"
    path, snapshots = recipe(tmp_path, frontend, training), []

    def keep(_, epoch):
        torch.save(epoch.snapshot(), tmp_path / f"{epoch.number}.pt")
        snapshots.append(epoch.number)

    whole, resumed = asd.create(path), asd.create(path)
    whole.prepare(synthetic.train, MemoryRun(0, keep)).run_alone()
    first = torch.load(tmp_path / "1.pt", weights_only=True)
    run = MemoryRun(0, resume={"training": first})
    resumed.prepare(synthetic.train, run).run_alone()
    a, b = (model.system.state()["frontend"] for model in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a if name != "weights_sha256")


def test_scores_can_be_made_of_tokens_before_the_projection(tiny_beats):
    torch.manual_seed(0)
    pooling = Rdp(gamma=4.0, over="band")
    frontend = AdaptedEncoder(
        SAMPLES, 16000, weights=str(tiny_beats), rank=4, width=8, score_pooling=pooling
    )
    assert frontend.train()(waves()).shape == (4, 8)
    frontend.eval()
    with torch.no_grad():
        found = frontend(waves())
        tokens = frontend.network(frontend.network.features(waves())).tokens
    torch.testing.assert_close(found, pooling(tokens).flatten(1))


def test_a_toolkit_checkpoint_scores_without_training(synthetic, wide_beats, tmp_path):
    """By the losses' removal, as the docs say; what remains is no file of the checkpoint."""
    frontend = f"{{class: AdaptedEncoder, weights: {wide_beats}, rank: 4, width: 8}}"
    path = recipe(tmp_path, frontend, "losses: [{class: AdaCos}]\n")
    source = asd.create(path, input_s=1.0).system
    source._input_s, source._sample_rate_hz = 1.0, 16000
    toolkit_checkpoint(trained(source._new_frontend()), tmp_path / "last.ckpt")
    options = {"losses": [], "frontend.checkpoint": "last.ckpt", "input_s": 1.0}
    model = asd.create(path, **options).fit(synthetic.train, progress=False)
    model.save(tmp_path / "model.asd")
    (tmp_path / "last.ckpt").unlink()
    scores = model.score(synthetic.test)["KNN"]
    again = asd.load(tmp_path / "model.asd").score(synthetic.test)["KNN"]
    np.testing.assert_allclose(again, scores, atol=1e-6)
    plain = asd.create(path, losses=[], input_s=1.0).fit(synthetic.train, progress=False)
    assert not np.allclose(plain.score(synthetic.test)["KNN"], scores)
