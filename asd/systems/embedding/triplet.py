"""A network that learns, without any label, which clips of a machine sound alike.

Of a clip, a copy with other noise behind it (positive) is to lie nearer than a stretched copy or
another clip (negative). Everything is done on magnitude spectrograms whose mean over time was
subtracted, so that they can be negative, and zeros stand for the mean, not for silence: so it is in
the published program.

Source: Fujimura et al., "Improvements of discriminative feature space training for anomalous sound
detection in unlabeled conditions" (arXiv 2409.09332), section III, and its program unlabeledasd.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from asd.errors import UserError
from asd.systems.base import Epoch, State
from asd.systems.embedding.crops import JoinedWaves, Waves
from asd.systems.embedding.frontends import Frontend, SpectralNetwork
from asd.systems.embedding.training import batches, embed_clips

_N_FFT = 1024
_SHORTER, _LONGER = (0.5, 0.8), (1.2, 1.5)
"""Ranges of the ratios by which spectrograms are stretched."""


@dataclass(frozen=True)
class TripletSettings:
    """How a triplet network is trained.

    Parameters
    ----------
    epochs
        Each goes once over the machine's clips.
    batch_size
        Clips of the machine in a batch; there are as many clips of noise.
    learning_rate
        Of AdamW.
    margin
        By how much farther than the positive the negative is to be.
    noise_probability
        Share of anchors, and of negatives, that get noise; positives always do.
    snr_db
        Lowest and highest signal-to-noise ratio.
    """

    epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 1e-3
    margin: float = 1.0
    noise_probability: float = 0.5
    snr_db: tuple[float, float] = (-5.0, 5.0)


@dataclass(frozen=True)
class TripletClips:
    """Clips to learn from.

    Parameters
    ----------
    waves
        Samples of all clips.
    machine
        Which of them are the machine's (their indices), shape (clips,).
    noise
        Which are noise: clips of other machines. None at all, and it is the machine's other clips.
    width
        Samples of a crop: from anywhere in a clip, which is repeated if it is shorter.
    """

    waves: Waves | JoinedWaves
    machine: Tensor
    noise: Tensor
    width: int


@dataclass(frozen=True)
class TripletDraws:
    """All that is random in the making of the triplets of n clips.

    Parameters
    ----------
    anchor_noisy, negative_noisy
        Which rows get the noise of the same row, shape (n,), bool.
    anchor_snr, positive_snr, negative_snr
        Signal-to-noise ratios in dB, shape (n,); those of rows without noise count for nothing.
    positive_noise
        Row of the noise that each positive gets, shape (n,).
    stretch_time
        Whether a stretched copy is stretched in time, not in frequency, shape (n // 2,), bool.
    stretch_ratio
        By how much, shape (n // 2,).
    other
        Row of the clip that each of the other negatives is, shape (n - n // 2,); it may be the
        anchor's own.
    """

    anchor_noisy: Tensor
    anchor_snr: Tensor
    positive_noise: Tensor
    positive_snr: Tensor
    stretch_time: Tensor
    stretch_ratio: Tensor
    other: Tensor
    negative_noisy: Tensor
    negative_snr: Tensor

    @classmethod
    def draw(cls, n: int, settings: TripletSettings, generator: Generator) -> "TripletDraws":
        """Draws for n clips, from a generator on the CPU, in the order of the fields."""

        def decide() -> Tensor:
            return torch.rand(n, generator=generator) < settings.noise_probability

        def ratios_db() -> Tensor:
            low, high = settings.snr_db
            return low + (high - low) * torch.rand(n, generator=generator)

        anchor_noisy, anchor_snr = decide(), ratios_db()
        positive_noise, positive_snr = torch.randperm(n, generator=generator), ratios_db()
        stretch_time, stretch_ratio = draw_stretches(n // 2, generator)
        other = torch.randperm(n, generator=generator)[n // 2 :]
        return cls(
            anchor_noisy, anchor_snr, positive_noise, positive_snr,
            stretch_time, stretch_ratio, other, decide(), ratios_db(),
        )  # fmt: skip


def mix_at_snr(target: Tensor, noise: Tensor, snr_db: Tensor, power: float = 1.0) -> Tensor:
    """Mixtures target + c * noise, c such that mean powers have the given ratio in each clip.

    Parameters
    ----------
    target, noise
        Spectrograms of |spectrum|^power, shape (n, frequencies, frames). Noise that is silent
        changes nothing.
    snr_db
        Shape (n,).
    """
    signal, added = (x.abs().pow(2 / power).mean(dim=(1, 2)) for x in (target, noise))
    wanted = added * 10 ** (snr_db / 10)
    factor = torch.where(wanted > 0, signal / wanted.clamp_min(torch.finfo(noise.dtype).tiny), 0.0)
    return target + factor.sqrt().view(-1, 1, 1) * noise


def draw_stretches(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Whether each of n clips is stretched in time, and by which ratio.

    Even chances of time and frequency, and of shorter and longer; ratios are uniform in
    [0.5, 0.8) or [1.2, 1.5). Draws: the axes (n); then of each clip shorter or longer, and the
    ratio.
    """
    over_time = torch.rand(n, generator=generator) < 0.5
    longer, share = torch.rand(n, 2, generator=generator).T
    low, high = (
        torch.where(longer < 0.5, torch.tensor(a), torch.tensor(b))
        for a, b in zip(_SHORTER, _LONGER, strict=True)
    )
    return over_time, low + (high - low) * share


def stretch(spectra: Tensor, over_time: Tensor, ratios: Tensor) -> Tensor:
    """Spectrograms stretched along time or frequency, brought to their old shape.

    The size becomes int(size * ratio), by bilinear interpolation with anti-aliasing. A shorter
    time axis is repeated, a shorter frequency axis filled with zeros; a longer one is cut.

    Parameters
    ----------
    spectra
        Shape (n, frequencies, frames).
    over_time
        Shape (n,), bool, on the CPU.
    ratios
        Shape (n,), on the CPU.
    """
    found = torch.zeros_like(spectra)
    frequencies, frames = spectra.shape[1:]
    pairs = zip(over_time.tolist(), ratios.tolist(), strict=True)
    for row, spectrum, (is_time, ratio) in zip(found, spectra, pairs, strict=True):
        size = [frequencies, int(frames * ratio)] if is_time else [int(frequencies * ratio), frames]
        size = [max(1, each) for each in size]
        resized = interpolate(
            spectrum[None, None], size, mode="bilinear", align_corners=False, antialias=True
        )[0, 0]
        if is_time:
            row.copy_(resized.repeat(1, -(-frames // size[1]))[:, :frames])
        else:
            kept = min(frequencies, size[0])
            row[:kept] = resized[:kept]
    return found


def make_triplets(
    target: Tensor, noise: Tensor, draws: TripletDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors, positives and negatives, each of shape (n, frequencies, frames).

    The first half of the negatives are stretched copies of the clips, the others are clips of the
    batch.

    Parameters
    ----------
    target, noise
        Spectrograms of clips of the machine, and of as many clips of noise.
    """
    half = len(target) // 2
    positive = mix_at_snr(
        target, noise[draws.positive_noise.to(noise.device)], draws.positive_snr.to(target)
    )
    negative = torch.cat(
        [
            stretch(target[:half], draws.stretch_time, draws.stretch_ratio),
            target[draws.other.to(target.device)],
        ]
    )
    return (
        _with_noise(target, noise, draws.anchor_noisy, draws.anchor_snr),
        positive,
        _with_noise(negative, noise, draws.negative_noisy, draws.negative_snr),
    )


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(|a - p| - |a - n| + margin, 0) over embeddings of shape (n, width).

    The gradient of a distance that is 0 is taken as 0.
    """
    near = torch.linalg.vector_norm(anchor - positive, dim=1)
    far = torch.linalg.vector_norm(anchor - negative, dim=1)
    found: Tensor = (near - far + margin).clamp_min(0).mean()
    return found


class TripletNetwork(SpectralNetwork):
    """One branch on a spectrogram, window 1024, from 200 Hz on, less its mean over time.

    Parameters
    ----------
    samples, sample_rate_hz
        Length and rate of the waveforms.
    options
        Further parameters of `SpectralNetwork`.

    Raises
    ------
    UserError
        The waveforms are too short.
    """

    def __init__(self, samples: int, sample_rate_hz: int, **options: Any) -> None:
        given: dict[str, Any] = {"windows": (_N_FFT,), "whole_clip": False, **options}
        super().__init__(samples, sample_rate_hz, **given)

    @torch.no_grad()
    def features(self, waves: Tensor) -> list[Tensor]:
        """The spectrogram, shape (N, bins, frames)."""
        return [x - x.mean(dim=2, keepdim=True) for x in super().features(waves)]


class TripletTraining:
    """A triplet network in training, its optimiser and its random numbers.

    Parameters
    ----------
    make_frontend
        Makes the network, such as `TripletNetwork`; its weights are drawn from `seed`.
    seed
        What all random numbers come from, through one generator on the CPU.
    device
        Where the network lives.
    """

    def __init__(
        self,
        make_frontend: Callable[[], Frontend],
        settings: TripletSettings = TripletSettings(),
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            frontend = make_frontend()
        self.frontend = frontend.to(device)
        self.settings = settings
        self.device = device
        self.generator = Generator().manual_seed(seed)
        frontend.draw_from(self.generator)
        self.epoch = 0
        self.optimiser = torch.optim.AdamW(
            self.frontend.parameters(), lr=settings.learning_rate, fused=True
        )

    def run(self, clips: TripletClips, on_epoch: Callable[[Epoch], None]) -> None:
        """Train for the epochs that are left.

        Raises
        ------
        UserError
            The machine has a single clip.
        """
        if len(clips.machine) < 2:
            raise UserError(
                "a triplet network learns from what clips of a machine have in common, and there "
                "is a single one; give two or more, or take other embeddings"
            )
        while self.epoch < self.settings.epochs:
            loss = self.run_epoch(clips)
            self.epoch += 1
            on_epoch(Epoch(self.epoch, self.settings.epochs, {"loss": loss}, self.snapshot))

    def run_epoch(self, clips: TripletClips) -> float:
        """Train on every clip of the machine once; returns the mean loss per clip.

        Draws: the order of the clips, that of the noise; then of each batch the crops of clips
        and noise, and `TripletDraws`.
        """
        self.frontend.train()
        order = torch.randperm(len(clips.machine), generator=self.generator)
        noise = self._noise_order(clips, order)
        total = torch.zeros((), device=self.device)
        for rows in batches(torch.arange(len(order)), self.settings.batch_size):
            loss = self._step(clips, clips.machine[order[rows]], noise[rows])
            total += loss * len(rows)
        return float(total.item() / len(order))

    def embed(self, waves: Waves, width: int) -> Tensor:
        """Embeddings of the first `width` samples of every clip, shape (clips, dim), on the CPU.

        They are not brought to unit length.
        """
        return embed_clips(self.frontend, waves, width, self.device)

    def snapshot(self) -> State:
        """All that it takes to go on from here."""
        return {
            "frontend": self.frontend.saved(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
        }

    def load_snapshot(self, snapshot: State) -> None:
        """Go on from what `snapshot` gave."""
        self.frontend.load_saved(snapshot["frontend"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        self.generator.set_state(snapshot["generator"].cpu())
        self.epoch = snapshot["epoch"]

    def _noise_order(self, clips: TripletClips, order: Tensor) -> Tensor:
        """A clip of noise for each clip of the epoch: none twice before all were taken.

        Where there is no noise, each clip's is the one before it in the order of the epoch.
        """
        if not len(clips.noise):
            return clips.machine[order.roll(1)]
        rounds = -(-len(order) // len(clips.noise))
        drawn = [torch.randperm(len(clips.noise), generator=self.generator) for _ in range(rounds)]
        return clips.noise[torch.cat(drawn)[: len(order)]]

    def _step(self, clips: TripletClips, machine: Tensor, noise: Tensor) -> Tensor:
        """One step of the optimiser; returns its loss, on the device.

        Anchors, positives and negatives are embedded one after the other, as published, so that
        batch norms see each by itself.
        """
        target_spectra, noise_spectra = (
            self._spectra(clips.waves.random_crops(chosen, clips.width, self.generator))
            for chosen in (machine, noise)
        )
        draws = TripletDraws.draw(len(machine), self.settings, self.generator)
        triplets = make_triplets(target_spectra, noise_spectra, draws)
        anchor, positive, negative = (self.frontend.embed([each]) for each in triplets)
        loss = triplet_loss(anchor, positive, negative, self.settings.margin)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.detach()

    def _spectra(self, waves: Tensor) -> Tensor:
        (found,) = self.frontend.features(waves.to(self.device, non_blocking=True))
        return found


def _with_noise(target: Tensor, noise: Tensor, noisy: Tensor, snr_db: Tensor) -> Tensor:
    """`target` with the noise of the same row where `noisy`."""
    mixed = mix_at_snr(target, noise, snr_db.to(target))
    return torch.where(noisy.to(target.device).view(-1, 1, 1), mixed, target)
