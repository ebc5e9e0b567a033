"""Tiny encoders with random weights, in the layouts in which the real ones are published."""

import numpy as np
import torch


def _noise(generator, *shape):
    fan = max(1, torch.Size(shape[1:]).numel())
    return torch.randn(shape, generator=generator) / fan**0.5


def _linear(weights, generator, name, outputs, inputs):
    weights[f"{name}.weight"] = _noise(generator, outputs, inputs)
    weights[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)


def _norm(weights, generator, name, width):
    weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
    weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)


def beats(width=16, layers=2, heads=2, hidden=32, channels=8, groups=4, seed=0, **cfg):
    """A BEATs checkpoint."""
    g = torch.Generator().manual_seed(seed)
    w = {}
    _linear(w, g, "post_extract_proj", width, channels)
    w["patch_embedding.weight"] = _noise(g, channels, 1, 16, 16)
    _norm(w, g, "layer_norm", channels)
    w["encoder.pos_conv.0.bias"] = 0.1 * torch.randn(width, generator=g)
    w["encoder.pos_conv.0.weight_g"] = torch.rand(1, 1, 128, generator=g)
    w["encoder.pos_conv.0.weight_v"] = _noise(g, width, width // groups, 128)
    shared = torch.randn(320, heads, generator=g)
    for i in range(layers):
        name = f"encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            _linear(w, g, f"{name}.self_attn.{part}", width, width)
        w[f"{name}.self_attn.grep_a"] = torch.ones(1, heads, 1, 1)
        w[f"{name}.self_attn.relative_attention_bias.weight"] = shared
        _linear(w, g, f"{name}.self_attn.grep_linear", 8, width // heads)
        _norm(w, g, f"{name}.self_attn_layer_norm", width)
        _linear(w, g, f"{name}.fc1", hidden, width)
        _linear(w, g, f"{name}.fc2", width, hidden)
        _norm(w, g, f"{name}.final_layer_norm", width)
    _norm(w, g, "encoder.layer_norm", width)
    settings = {
        "dropout": 0.0, "attention_dropout": 0.0, "encoder_layerdrop": 0.05, "max_distance": 800,
        "deep_norm": True, "layer_wise_gradient_decay_ratio": 0.6, "layer_norm_first": False,
    }  # fmt: skip
    return {"cfg": {**settings, **cfg}, "model": w}


def eat(dim=16, depth=2, heads=2, seconds_of_positions=20, seed=0):
    """An EAT checkpoint in fairseq's layout."""
    g = torch.Generator().manual_seed(seed)
    w, image = {}, "modality_encoders.IMAGE"
    w[f"{image}.extra_tokens"] = torch.randn(1, 1, dim, generator=g)
    w[f"{image}.local_encoder.proj.weight"] = _noise(g, dim, 1, 16, 16)
    w[f"{image}.local_encoder.proj.bias"] = 0.1 * torch.randn(dim, generator=g)
    patches = int(seconds_of_positions / 0.16) * 8
    w[f"{image}.fixed_positional_encoder.positions"] = torch.randn(1, patches, dim, generator=g)
    _norm(w, g, f"{image}.context_encoder.norm", dim)
    w[f"{image}.decoder.proj.weight"] = _noise(g, dim, dim)  # of pre-training, to be left out
    for i in range(depth):
        _norm(w, g, f"blocks.{i}.norm1", dim)
        _linear(w, g, f"blocks.{i}.attn.qkv", 3 * dim, dim)
        _linear(w, g, f"blocks.{i}.attn.proj", dim, dim)
        _norm(w, g, f"blocks.{i}.norm2", dim)
        _linear(w, g, f"blocks.{i}.mlp.fc1", 4 * dim, dim)
        _linear(w, g, f"blocks.{i}.mlp.fc2", dim, 4 * dim)
    w["_ema"] = {"blocks.0.norm1.weight": torch.zeros(dim)}
    return {"cfg": {"model": {"num_heads": heads, "norm_eps": 1e-6}}, "model": w}


_BLOCKS = (  # of MobileNetV3 (large): kernel, expanded and output width, squeeze-excitation
    (3, 16, 16, 0), (3, 64, 24, 0), (3, 72, 24, 0), (5, 72, 40, 1), (5, 120, 40, 1),
    (5, 120, 40, 1), (3, 240, 80, 0), (3, 200, 80, 0), (3, 184, 80, 0), (3, 184, 80, 0),
    (3, 480, 112, 1), (3, 672, 112, 1), (5, 672, 160, 1), (5, 960, 160, 1), (5, 960, 160, 1),
)  # fmt: skip


def _scaled(width, scale):
    """A multiple of 8, at least 8, near width * scale, and not much below."""
    wanted = width * scale
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def efficientat(scale=0.01, seed=0):
    """An EfficientAT checkpoint; all of the tiny one's layers have 8 channels, the last 48."""
    g = torch.Generator().manual_seed(seed)
    w = {}

    def convolution(name, outputs, inputs, kernel):
        w[f"{name}.0.weight"] = 1.5 * _noise(g, outputs, inputs, kernel, kernel)
        _norm(w, g, f"{name}.1", outputs)
        w[f"{name}.1.running_mean"] = 0.1 * torch.randn(outputs, generator=g)
        w[f"{name}.1.running_var"] = 1 + torch.rand(outputs, generator=g)
        w[f"{name}.1.num_batches_tracked"] = torch.tensor(1)

    width = _scaled(16, scale)
    convolution("features.0", width, 1, 3)
    for number, (kernel, expanded, outputs, is_excited) in enumerate(_BLOCKS, start=1):
        block, steps = f"features.{number}.block", iter(range(4))
        wide, narrow = _scaled(expanded, scale), _scaled(outputs, scale)
        if number > 1:
            convolution(f"{block}.{next(steps)}", wide, width, 1)
        convolution(f"{block}.{next(steps)}", wide, 1, kernel)
        if is_excited:
            excite, hidden = f"{block}.{next(steps)}.conc_se_layers.0", _scaled(wide // 4, 1)
            _linear(w, g, f"{excite}.fc1", hidden, wide)
            _linear(w, g, f"{excite}.fc2", wide, hidden)
        convolution(f"{block}.{next(steps)}", narrow, wide, 1)
        width = narrow
    convolution("features.16", 6 * width, width, 1)
    _linear(w, g, "classifier.2", _scaled(1280, scale), 6 * width)
    _linear(w, g, "classifier.5", 527, _scaled(1280, scale))
    return w


def _ruled(shapes, seed):
    """Weights by the rule of the numbers in tests/data/encoders, from names and shapes in order."""
    found = {}
    for number, (name, shape) in enumerate(shapes.items()):
        drawn = np.random.RandomState(seed * 100003 + number).randint(-127, 128, size=shape) / 127
        if name.endswith("running_mean"):
            values = 0.05 * drawn
        elif name.endswith("running_var"):
            values = 1 + abs(drawn)
        elif len(shape) == 1:
            values = 1 + 0.2 * drawn if name.endswith("weight") else 0.1 * drawn
        else:
            values = drawn * (6 / np.prod(shape[1:])) ** 0.5
        found[name] = torch.from_numpy(values.astype(np.float32))
    return found


def _norm_shapes(name, width):
    return {
        f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")
    }


def panns(widths=(4, 8, 8, 12, 12, 16), classes=5, seed=101):
    """A CNN14 checkpoint; its real widths are 64, 128, 256, 512, 1024, 2048, and 527 classes."""
    shapes = _norm_shapes("bn0", 64)
    before = 1
    for number, width in enumerate(widths, start=1):
        block = f"conv_block{number}"
        shapes[f"{block}.conv1.weight"] = (width, before, 3, 3)
        shapes[f"{block}.conv2.weight"] = (width, width, 3, 3)
        shapes |= _norm_shapes(f"{block}.bn1", width) | _norm_shapes(f"{block}.bn2", width)
        before = width
    shapes |= {"fc1.weight": (before, before), "fc1.bias": (before,)}
    shapes |= {"fc_audioset.weight": (classes, before), "fc_audioset.bias": (classes,)}
    weights = _ruled(shapes, seed)
    weights["logmel_extractor.melW"] = torch.zeros(513, 64)  # computed anew, not read
    return {"iteration": 1, "model": weights}


def openl3(widths=(2, 2, 4, 4, 8, 8, 16), seed=102):
    """An OpenL3 checkpoint; its real widths are 64, 64, 128, 128, 256, 256, 512."""
    shapes = _norm_shapes("batch_normalization_1", 1)
    before = 1
    for number, width in enumerate(widths, start=1):
        name = f"conv2d_{number}"
        shapes |= {f"{name}.weight": (width, before, 3, 3), f"{name}.bias": (width,)}
        shapes |= _norm_shapes(f"batch_normalization_{number + 1}", width)
        before = width
    name = "audio_embedding_layer"
    shapes |= {f"{name}.weight": (before, before, 3, 3), f"{name}.bias": (before,)}
    return _ruled(shapes, seed)
