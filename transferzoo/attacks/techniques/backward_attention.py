"""Attention: what comes back through the attention of a vision transformer, and through its tokens."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Patch
from transferzoo.attacks.techniques.layers import (
    PROJECTIONS,
    attentions,
    hooked,
    on_gradient,
    on_output,
    unfused,
)
from transferzoo.attacks.techniques.ranges import Factor
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.errors import ModelError
from transferzoo.base.options import added

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("pna")
@dataclass(frozen=True)
class PayNoAttention(Patch):
    """Pay no attention (PNA): no gradient comes back through the attention maps, A = softmax(QKᵀ/√d).

    A is held constant in the gradient, so that it flows through the values alone. With `keep` below 1 the
    paper's PatchOut joins: at every forward pass a random share of the patches of each image keeps its
    perturbation, and the others are the clean image's. Use that without techniques that transform the image,
    which are not applied to the clean one.

    The paper keeps 130 of 196 patches, and adds 0.1·‖δ‖ to the loss, which is left out here. Fused attention
    is switched off during the attack, since it never shows a map.

    Attributes:
        keep: share of the patches, above 0, at most 1.
    """

    place: ClassVar[str] = "the attention maps"
    paper: ClassVar[str] = "Wei et al. 2022, https://arxiv.org/abs/2109.04176"

    keep: Annotated[float, Field(gt=0, le=1, description="a share")] = 1.0

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            ModelError: the model has no attention, or for PatchOut no grid of patches.
        """
        found = attentions(model)
        maps = [part.get_submodule("attn_drop") for part in found]
        grid = _grid(model) if self.keep < 1 else (1, 1)
        acts: Counter[str] = Counter()

        def ignore(attention: Tensor) -> Tensor:
            acts["map"] += 1
            return attention.detach()

        def cut(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            mask = self.mask(unit, grid)
            return (inputs[0] * mask + unit.images * (1 - mask),)

        entrances = [model] if self.keep < 1 else []
        with (
            unfused(found),
            hooked(on_output(part, ignore) for part in maps),
            hooked(entrance.register_forward_pre_hook(cut) for entrance in entrances),
        ):
            yield acts.total

    def mask(self, unit: WorkUnit, grid: tuple[int, int]) -> Tensor:
        """Draw which pixels keep their perturbation: 1 or 0, (N, 1, H, W), like the images.

        Args:
            unit: what is attacked.
            grid: rows and columns of patches; ⌊keep · rows · columns + ½⌋ of them are 1, at least one.
        """
        from torch.nn.functional import interpolate

        rows, columns = grid
        draws = unit.uniform(rows * columns)
        count = max(1, int(self.keep * rows * columns + 0.5))
        chosen = draws.argsort(1).argsort(1) < count
        patches = sent(chosen, unit.images).view(-1, 1, rows, columns)
        return interpolate(patches, unit.images.shape[-2:], mode="nearest")


def _grid(model: nn.Module) -> tuple[int, int]:
    """Return rows and columns of patches."""
    for part in model.modules():
        grid = getattr(part, "grid_size", None)
        if isinstance(grid, tuple):
            return grid
    raise ModelError(
        "the surrogate has no grid of patches",
        expected="a patch embedding with 'grid_size'",
        hint="leave option 'keep' of 'pna' at 1",
    )


@TECHNIQUES.register("tgr")
@dataclass(frozen=True)
class TokenGradients(Patch):
    """Token gradient regularisation (TGR): gradients in a transformer shrink, and their extremes are cut out.

    In every block three gradients are scaled, of the attention maps (N, heads, T, T), of queries, keys and
    values, and of the output of the MLP. Then for every head the row and the column of the map's largest and
    smallest gradient become 0, and for every channel of the other two those of the two tokens with its
    largest and smallest gradient. Extremes are those of each image; the authors' code takes the first
    image's for the whole batch, and its hook at the maps acts on the gradient that has come through the
    softmax, that of the scores: `at=scores`.

    Fused attention is switched off during the attack, since it never shows a map. In a Swin transformer a
    window counts as an image of its own for what is inside its attention.

    Attributes:
        attention: factor for the maps, 0..1.
        qkv: factor for queries, keys and values, 0..1.
        mlp: factor for the MLP, 0..1; the paper has 0.25, the authors' code 0.5.
        at: whose gradient the first of the three is, that of the "maps" or of the "scores" before softmax.
    """

    place: ClassVar[str] = "the attention maps"
    paper: ClassVar[str] = "Zhang et al. 2023, https://arxiv.org/abs/2303.15754"

    attention: Factor = 0.25
    qkv: Factor = 0.75
    mlp: Factor = 0.5
    at: Literal["maps", "scores"] = added("maps")

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`: it has acted when each of the three gradients has been changed.

        Raises:
            ModelError: the model has no attention, or no MLP beside it.
        """
        found = attentions(model)
        blocks = (dict(part.named_children()) for part in model.modules())
        mlps = [children["mlp"] for children in blocks if children.keys() >= {"attn", "mlp"}]
        maps = [part.get_submodule("attn_drop") for part in found]
        inputs = [projection for part in found for projection in _projections(part)]
        if not mlps or not inputs:
            raise ModelError(
                "'tgr' does not know the surrogate's blocks",
                expected="blocks with attn and mlp, and attentions with qkv or q, k and v",
                hint="choose a vision transformer of timm",
            )
        acts = Counter({"attention": 0, "qkv": 0, "mlp": 0})

        def regularised(
            kind: str, factor: float, rule: Callable[[Tensor], Tensor]
        ) -> Callable[[Tensor], Tensor]:
            def change(gradient: Tensor) -> Tensor:
                acts[kind] += 1
                return factor * gradient * rule(gradient)

            return change

        change_map = on_gradient if self.at == "maps" else _on_scores
        ordered = regularised("attention", self.attention, _ordinary_maps)
        places = [
            *((part, regularised("qkv", self.qkv, _ordinary(part))) for part in inputs),
            *((part, regularised("mlp", self.mlp, _ordinary(part))) for part in mlps),
        ]
        with (
            unfused(found),
            hooked(change_map(part, ordered) for part in maps),
            hooked(on_gradient(part, change) for part, change in places),
        ):
            yield lambda: min(acts.values())


def _on_scores(part: nn.Module, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Change the gradient of the scores whose softmax a module gives on."""

    def mark(output: Tensor) -> None:
        made = output.grad_fn
        if made is None:
            return
        if "softmax" not in made.name().lower():
            raise ModelError(
                "'tgr' finds no scores in an attention of the surrogate",
                expected="maps that are a softmax",
                got=made.name(),
                hint="leave option 'at' of 'tgr' at maps",
            )
        made.register_hook(lambda inward, outward: (change(inward[0]),))

    return on_output(part, mark, first=True)


def _projections(attention: nn.Module) -> list[nn.Module]:
    """Return what gives queries, keys and values."""
    children = dict(attention.named_children())
    for names in PROJECTIONS:
        if children.keys() >= {*names}:
            return [children[name] for name in names]
    return []


def _ordinary(part: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the rule for what a module gives: behind convolutions the channels come first."""
    from torch import nn

    if any(isinstance(inner, nn.Conv2d) for inner in part.modules()):
        return lambda gradient: _ordinary_tokens(gradient.movedim(1, -1)).movedim(-1, 1)
    return _ordinary_tokens


def _ordinary_maps(gradient: Tensor) -> Tensor:
    """Return 0 in rows and columns of each map's largest and smallest value, else 1: (N, heads, T', T).

    The map of a class token alone, T' = 1, loses columns only.
    """
    import torch

    rows, columns = (torch.arange(size, device=gradient.device) for size in gradient.shape[-2:])
    kept = torch.ones_like(gradient)
    for place in (gradient.flatten(-2).argmax(-1), gradient.flatten(-2).argmin(-1)):
        row, column = place // len(columns), place % len(columns)
        kept = kept * (columns != column[..., None])[..., None, :]
        if len(rows) > 1:
            kept = kept * (rows != row[..., None])[..., :, None]
    return kept


def _ordinary_tokens(gradient: Tensor) -> Tensor:
    """Return 0 at the tokens of each channel's largest and smallest value, else 1: (N, …, channels).

    A single token, (N, channels), is both.
    """
    import torch

    tokens = gradient.flatten(1, -2) if gradient.ndim > 2 else gradient[:, None]
    number = torch.arange(tokens.shape[1], device=gradient.device)[:, None]
    highest, lowest = tokens.argmax(1, keepdim=True), tokens.argmin(1, keepdim=True)
    return ((number != highest) & (number != lowest)).to(gradient).view_as(gradient)
