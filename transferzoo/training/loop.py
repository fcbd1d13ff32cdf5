"""The inside of a training run: one epoch, one step, and the weights that would be stored now."""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import update_bn

from transferzoo.attacks.engine import perturb
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.minimizers import Minimizer, read_rule
from transferzoo.training.failures import diverged, within_memory
from transferzoo.training.objective import objective
from transferzoo.training.progress import EpochSums, Progress
from transferzoo.training.schedules import collects, rho_factor, step_rate
from transferzoo.training.setup import attack_of, base_optimizer, check_collections, perturbed_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from transferzoo.base.distributed import Team
    from transferzoo.base.train_config import TrainConfig
    from transferzoo.minimizers import Closure
    from transferzoo.models.classifier import Classifier
    from transferzoo.training.feeds import Feed


READ_EVERY = defaultdict(lambda: 20, cpu=1)
"""Steps from one time that losses and hits are read to the next, by kind of device: a GPU is waited for."""


class Loop:
    """The model, the minimizer and the feed of a training run.

    Args:
        config: what to do.
        classifier: the model with its preprocessing, on the team's device.
        feed: the images.
        team: the processes that train together.

    Attributes:
        sums: of the epoch so far.
        read_every: steps from one time that losses and hits are read to the next.

    Raises:
        UsageError: the batch cannot be shared by the processes and micro-batches.
    """

    def __init__(self, config: TrainConfig, classifier: Classifier, feed: Feed, team: Team) -> None:
        self.config, self.feed, self.team = config, feed, team
        self.model: nn.Module = classifier.model
        self.classifier = classifier
        self.together = perturbed_together(config, team)
        self._share = config.batch_size // team.size
        self._micro_batch = config.micro_batch or self._share
        if config.precision == "fp64":
            classifier.double()
        if config.compile:
            self.model.compile()
        rule = read_rule(config.minimizer)
        if rule.averaging and config.collect:
            raise UsageError(
                "weights are averaged and collected at once",
                expected="one of the two",
                got=f"{config.minimizer} and --collect",
            )
        self.minimizer = Minimizer(
            rule,
            self.model,
            base_optimizer(rule.base, self.model, config),
            clip=config.clip,
            average=None if config.sync_perturbation else team.average,
        )
        self.sums = EpochSums()
        self.read_every = READ_EVERY[team.device.type]
        self._random: list[Tensor] = []
        self._attack = attack_of(config.adversarial)
        self.steps_per_epoch = feed.count // config.batch_size
        self.steps = self.steps_per_epoch * config.epochs
        self.epochs = config.epochs + (config.collect.epochs if config.collect else 0)
        check_collections(rule.averaging or config.collect, self.steps_per_epoch, self.steps)

    def epoch(
        self,
        epoch: int,
        on_progress: Callable[[Progress], None],
        on_collect: Callable[[int], None],
        after_step: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Run one epoch, from 0, or what is left of it, and return its line of the curve.

        Args:
            epoch: which.
            on_progress: called after every step, or after those alone whose numbers are read.
            on_collect: called with the number of weights collected so far, whenever there is one more.
            after_step: called as often, when everything a step changes is as the next one will find it.

        Raises:
            TransferZooError: the loss is no longer finite, or memory runs out.
        """
        team, sums, rule = self.team, self.sums, self.minimizer.rule
        seed = seed_of(self.config.seed, f"epoch {epoch}")
        self.model.train()
        begun, started = sums.steps, time.monotonic()
        with self._seeded(epoch):
            for batch in self.feed.epoch(seed, team.rank, team.size, sums.steps, team.device):
                step = epoch * self.steps_per_epoch + sums.steps
                self._set_rates(step)
                with within_memory(self.minimizer.steps + 1, self._micro_batch, self._share):
                    sums.add(*self._step(*batch))
                collected = collects(self.config, rule.averaging, step, self.steps_per_epoch)
                last = sums.steps == self.steps_per_epoch
                if not (collected or last) and sums.steps % self.read_every:
                    continue
                self._read()
                if collected:
                    self._share_statistics()
                    self.minimizer.collect()
                    on_collect(self.minimizer.averaged)
                after_step()
                speed = (sums.steps - begun) / max(time.monotonic() - started, 1e-9)
                on_progress(self._progress(epoch, self.config.batch_size * speed))
        self._read()
        accuracy_of_all = sums.hits / (self._share * sums.steps)
        self._share_statistics(accuracy_of_all)
        self.sums = EpochSums()
        return {
            "epoch": epoch + 1,
            "learning_rate": self.minimizer.optimizer.param_groups[0]["lr"],
            "loss": round(sums.mean_loss, 6),
            "train_accuracy": round(float(accuracy_of_all), 6),
        }

    @contextmanager
    def _seeded(self, epoch: int) -> Iterator[None]:
        """Seed what layers such as dropout draw from, for an epoch, or take it up where a state was kept."""
        worker = f" of {self.team.rank}" if self.team.rank else ""
        with self.team.seeded(seed_of(self.config.seed, f"dropout {epoch}{worker}")):
            if self._random:
                self.team.set_random_states(self._random)
                self._random = []
            yield

    def _progress(self, epoch: int, speed: float) -> Progress:
        """Return how far the run is, within an epoch from 0, at so many images a second."""
        sums, every = self.sums, self.steps_per_epoch
        return Progress(
            epoch + 1,
            self.epochs,
            epoch * every + sums.steps,
            self.epochs * every,
            sums.mean_loss,
            float(sums.hits) / (self._share * sums.steps),
            speed,
        )

    def own_state(self) -> dict[str, Any]:
        """Return what of an unfinished epoch is this process's own, on the CPU."""
        return {
            "hits": self.sums.hits,
            "buffers": {name: buffer.cpu() for name, buffer in self.model.named_buffers()},
            "random": self.team.random_states(),
        }

    def state_dict(self, own: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return everything that the next step depends on, configuration and data aside.

        Args:
            own: what `own_state` returns in each process, within an epoch; empty after a whole one.
        """
        state = {"model": self.model.state_dict(), "minimizer": self.minimizer.state_dict()}
        if own:
            state["epoch"] = {"steps": self.sums.steps, "losses": self.sums.losses, "own": [*own]}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.minimizer.load_state_dict(state["minimizer"])
        if "epoch" not in state:
            return
        epoch = state["epoch"]
        own = epoch["own"][self.team.rank]
        self.model.load_state_dict(own["buffers"], strict=False)
        self.sums = EpochSums(epoch["steps"], epoch["losses"], own["hits"].cpu())
        self._random = own["random"]

    def _share_statistics(self, *others: Tensor) -> None:
        """Average running statistics, and other tensors, over the processes.

        They are linear in what the batches gave, so that it is the same whether after each step or later.
        """
        if self.team.average is not None:
            self.team.average([*others, *(b for b in self.model.buffers() if b.is_floating_point())])

    def _set_rates(self, step: int) -> None:
        """Set learning rate and radius for a step."""
        at = step / self.steps
        self.minimizer.rho_factor = rho_factor(self.config, at) if at < 1 else 1.0
        rate = step_rate(self.config, self.minimizer.rule.averaging, at)
        for group in self.minimizer.optimizer.param_groups:
            group["lr"] = rate

    def _read(self) -> None:
        """Read the numbers of the steps since the last time.

        Raises:
            TransferZooError: a loss is not finite.
        """
        losses = self.sums.read()
        for step, loss in enumerate(losses, self.minimizer.steps - len(losses) + 1):
            if not math.isfinite(loss):
                raise diverged(f"the loss is {loss}", step, self.minimizer.rule)

    def _step(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Make one step; return the mean loss and the number of hits in this process's share, scalars."""
        dtype = torch.float64 if self.config.precision == "fp64" else torch.float32
        images = images.to(dtype)
        if self._attack is not None:  # in evaluation mode, which needs the statistics of all processes
            self._share_statistics()
            ids = torch.zeros(len(images), dtype=torch.int64)
            try:
                images = perturb(self._attack, self.classifier, images, targets, ids, dtype=dtype)
            except ModelError:
                sign, done = "the gradient at the images is not finite", self.minimizer.steps
                raise diverged(sign, done, self.minimizer.rule) from None
        hits: dict[int, Tensor] = {}
        parts = zip(images.split(self._micro_batch), targets.split(self._micro_batch), strict=True)
        closures = [self._closure(*part, hits, number) for number, part in enumerate(parts)]
        if self.config.sync_perturbation:
            closures = [self._joint(closures)]
        return self.minimizer.step(*closures), torch.stack(list(hits.values())).sum()

    def _closure(self, images: Tensor, targets: Tensor, hits: dict[int, Tensor], number: int) -> Closure:
        """Return the closure of a micro-batch; its first pass leaves the number of hits."""

        def closure() -> Tensor:
            self.minimizer.weights.take()
            loss, logits = objective(self.config, self.classifier, images, targets)
            loss.backward()
            if number not in hits:
                classes = targets if targets.ndim == 1 else targets.argmax(1)
                hits[number] = (logits.detach().argmax(1) == classes).sum()
            return loss.detach()

        return closure

    def _joint(self, closures: Sequence[Closure]) -> Closure:
        """Return one closure for all micro-batches of all processes."""

        def closure() -> Tensor:
            rule, optimizer = read_rule("sgd"), self.minimizer.optimizer
            plain = Minimizer(rule, self.model, optimizer, average=self.team.average)
            loss, gradients = plain.gradients(closures)
            plain.weights.give(gradients)
            return loss

        return closure

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Hold the weights that would be stored now: the mean, if any, with its own batch-norm statistics."""
        mean = self.minimizer.mean
        if not mean:
            yield
            return
        parameters: list[Tensor] = [p.data for p in self.model.parameters()]
        kept = [t.clone() for t in (*parameters, *self.model.buffers())]
        torch._foreach_copy_(parameters, mean)
        self._recompute_statistics()
        try:
            yield
        finally:
            for tensor, content in zip((*parameters, *self.model.buffers()), kept, strict=True):
                tensor.copy_(content)

    def _recompute_statistics(self) -> None:
        seed = seed_of(self.config.seed, "statistics")
        dtype = self.classifier.mean.dtype
        batches = ((i.to(dtype), t) for i, t in self.feed.epoch(seed, 0, 1, 0, self.team.device))
        with self.team.seeded(seed):
            update_bn(batches, self.classifier)


def seed_of(seed: int, purpose: str) -> int:
    """Return the seed of one purpose within a run."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{purpose}".encode()).digest()[:7], "big")
