"""Attention that varies and remembers: a vision transformer says something else of an image."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Patch
from transferzoo.attacks.techniques.layers import attentions, hooked, on_output, unfused
from transferzoo.attacks.techniques.ranges import Factor
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.errors import ModelError
from transferzoo.base.options import NonNegative, Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from transferzoo.attacks.techniques.work_unit import WorkUnit

VARIED = (0, 1, 4, 9, 11)
"""Of twelve blocks, those whose attention maps the authors vary."""


@TECHNIQUES.register("fpr")
@dataclass(frozen=True)
class ForwardRefinement(Patch):
    """Forward propagation refinement (FPR): attention maps vary, and tokens remember the passes before.

    In five of twelve blocks, 0, 1, 4, 9 and 11, and at the same relative places of other depths, the
    attention map A becomes softmax(A ⊙ M), with M ~ U(1 − spread, 1 + spread) for every entry and head. In
    every block the output of the attention and that of the MLP become E_t = scale · output + decay · E_{t−1},
    where E_{t−1}, held constant, is that of the forward pass before and E_{−1} = 0.

    Each image has maps of its own, new ones at every forward pass. In TransferAttack's code all images of a
    batch share one M, and what tokens remember is global: it goes over to the next batch, which then has to
    be as large. Fused attention is switched off during the attack, since it never shows a map.

    Attributes:
        spread: half the width of M's range, at least 0.
        scale: of an output, above 0.
        decay: weight of the pass before, 0..1.
    """

    place: ClassVar[str] = "the attention maps"
    paper: ClassVar[str] = "Ren et al. 2025, https://arxiv.org/abs/2503.15404"

    spread: NonNegative = 25.0
    scale: Positive = 0.8
    decay: Factor = 0.3

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`: it has acted when maps and outputs have been changed.

        Raises:
            ModelError: the model has no blocks of attention and MLP.
        """
        parents = (dict(part.named_children()) for part in model.modules())
        blocks = [children for children in parents if children.keys() >= {"attn", "mlp"}]
        found = attentions(model)
        if len(blocks) != len(found):
            raise ModelError(
                "'fpr' does not know the surrogate's blocks",
                expected="as many blocks with attn and mlp as attentions",
                got=f"{len(blocks)} and {len(found)}",
                hint="choose a vision transformer of timm",
            )
        varied = sorted({place * len(found) // 12 for place in VARIED})
        past: dict[nn.Module, Tensor] = {}
        acts = Counter({"map": 0, "tokens": 0})

        def vary(attention: Tensor) -> Tensor:
            acts["map"] += 1
            if len(attention) != len(unit.images):
                raise ModelError(
                    "'fpr' does not know the surrogate's attention",
                    expected="a map for each image",
                    got=f"{len(attention)} for {len(unit.images)}, as of windows",
                    hint="choose a vision transformer of timm",
                )
            draws = 2 * unit.uniform(*attention.shape[1:]) - 1
            return (attention * sent(1 + self.spread * draws, attention)).softmax(-1)

        def remember(part: nn.Module, output: Tensor) -> Tensor:
            acts["tokens"] += 1
            before = past.get(part)
            now = self.scale * output if before is None else self.decay * before + self.scale * output
            past[part] = now.detach().clone()  # what comes next may work in place
            return now

        parts = [children[name] for children in blocks for name in ("attn", "mlp")]
        with (
            unfused(found),
            hooked(on_output(found[place].get_submodule("attn_drop"), vary) for place in varied),
            hooked(on_output(part, lambda output, part=part: remember(part, output)) for part in parts),  # type: ignore[misc]
        ):
            yield lambda: min(acts.values())
