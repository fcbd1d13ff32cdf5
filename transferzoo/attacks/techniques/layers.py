"""What a surrogate is made of: layers by name, residual blocks and attention by the attributes they have.

Nothing here knows a model's name. A row of `BLOCKS` or `ATTENTION` says what a part looks like, and adding
a kind of network is adding a row.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

MIDDLE = "middle"
"""The option `layer` that stands for the end of the first half; see `find_layer`."""
NUMBERED = r"(layer|stage|s)\d+"
"""Attributes of a network that are its stages: layer1, layer2, …"""
SEQUENCES = ("stages", "transformers", "blocks", "features", "layers")
"""Attributes that hold the stages of a network."""


# ---------------------------------------------------------------- layers by name


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return path → module in order of definition; wrappers, with one child each, are no part of a path."""
    while len(children := list(model.children())) == 1:
        model = children[0]
    return {path: module for path, module in model.named_modules() if path}


def find_layer(model: nn.Module, name: str) -> tuple[str, nn.Module]:
    """Return a layer and its path.

    Args:
        model: the surrogate.
        name: a path such as "layer2.0", or "middle": of an odd number of stages the middle one, of an even
            number the last of the first half. Stages are what `NUMBERED` names, else what the first of
            `SEQUENCES` holds, else the longest `nn.Sequential`. For a ResNet that is layer2, for a
            transformer of 12 blocks blocks.5.

    Raises:
        ModelError: no middle can be found.
        UnknownNameError: no such layer.
    """
    known = layers(model)
    if name == MIDDLE:
        name = _middle(known)
    if name not in known:
        raise UnknownNameError("layer of the surrogate", name, known)
    return name, known[name]


def _middle(known: dict[str, nn.Module]) -> str:
    from torch import nn

    numbered = [path for path in known if re.fullmatch(NUMBERED, path)]
    named = [path for path in known if path.rpartition(".")[2] in SEQUENCES]
    plain = [path for path, module in known.items() if isinstance(module, nn.Sequential)]
    top = [path for path in known if "." not in path and path.isdigit()]
    inside = [[f"{path}.{child}" for child, _ in known[path].named_children()] for path in named]
    longest = sorted(([f"{p}.{c}" for c, _ in known[p].named_children()] for p in plain), key=len)
    for sequence in (numbered, *inside, top, *reversed(longest)):
        if len(sequence) > 1:
            return sequence[(len(sequence) - 1) // 2]
    raise ModelError(
        "the surrogate has no middle layer",
        expected=f"layer1, layer2, … or one of {', '.join(SEQUENCES)}",
        hint="name one with the option 'layer'",
    )


# ---------------------------------------------------------------- residual blocks


@dataclass(frozen=True)
class BlockShape:
    """What a block with skip connections looks like.

    Attributes:
        has: attributes that a module must have, be they None.
        ends: for each branch, modules that may end it, in order: the last that is there does.
        skip: modules that the skip connection may pass; without any it is the block's input. None where it
            is neither: after the first of two branches, or where features are concatenated.
        alone: the block has no other children than `has`.
    """

    has: tuple[str, ...]
    ends: tuple[tuple[str, ...], ...]
    skip: tuple[str, ...] | None = None
    alone: bool = False

    def fits(self, module: nn.Module) -> bool:
        """Say whether a module looks like this."""
        names = {name for name, _ in module.named_children()}
        if not all(hasattr(module, name) for name in self.has) or (self.alone and names != set(self.has)):
            return False
        return all(names.intersection(end) for end in self.ends)


BLOCKS = (
    BlockShape(("drop_path1", "drop_path2"), (("drop_path1",), ("drop_path2",))),  # transformers of timm
    BlockShape(("ln_1", "self_attention", "mlp"), (("dropout",), ("mlp",))),  # of torchvision
    BlockShape(("attn", "mlp", "drop_path"), (("drop_path",),)),  # CaiT and Visformer, called twice
    BlockShape(("mlp_tokens", "mlp_channels"), (("drop_path",),)),  # MLP-Mixer, likewise
    BlockShape(("conv1", "conv2", "downsample"), (("bn2", "bn3", "se", "drop_path"),), ("downsample",)),
    BlockShape(("conv_dw", "shortcut"), (("drop_path",),), ("shortcut",)),  # ConvNeXt
    BlockShape(("has_skip", "drop_path"), (("drop_path",),), ()),  # EfficientNet, MobileNet
    BlockShape(("fn",), (("fn",),), (), alone=True),  # ConvMixer
    BlockShape(("norm1", "conv1", "norm2", "conv2", "drop_rate"), (("conv2",),)),  # DenseNet
)
"""Blocks with skip connections: a module takes the first row that fits."""


@dataclass(frozen=True)
class Branch:
    """One residual branch f of x ↦ s(x) + f(x).

    Attributes:
        block: the module with the skip connection.
        end: the module whose output is f(x).
        skip: the module whose output is s(x); None where s(x) = x is the block's input.
        skips: whether s(x) can be told; `skip` says nothing where it cannot.
    """

    block: nn.Module
    end: nn.Module
    skip: nn.Module | None
    skips: bool


def branches(model: nn.Module) -> list[Branch]:
    """Return the residual branches of a model in order of definition, of the kinds in `BLOCKS`."""
    found = []
    for block in model.modules():
        shape = next((shape for shape in BLOCKS if shape.fits(block)), None)
        if shape is not None:
            children = dict(block.named_children())
            skip = next((children[name] for name in shape.skip or () if name in children), None)
            for end in shape.ends:
                last = [children[name] for name in end if name in children][-1]
                found.append(Branch(block, last, skip, shape.skip is not None))
    return found


# ---------------------------------------------------------------- attention


ATTENTION = ("attn_drop", "proj")
"""Children of a self-attention: `attn_drop` sees the map (N, heads, T, T) unless the attention is fused."""
PROJECTIONS = (("qkv",), ("q", "k", "v"), ("q_proj", "k_proj", "v_proj"))
"""Children of a self-attention that give queries, keys and values; the first that are all there."""


def attentions(model: nn.Module) -> list[nn.Module]:
    """Return the self-attentions of a model.

    Raises:
        ModelError: it has none.
    """
    found = [part for part in model.modules() if {*ATTENTION} <= {name for name, _ in part.named_children()}]
    if not found:
        raise ModelError(
            "the surrogate has no attention",
            expected=f"modules with {' and '.join(ATTENTION)}",
            hint="choose a vision transformer of timm",
        )
    return found


@contextmanager
def unfused(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Make attentions compute their maps inside the block: a fused kernel never shows them."""
    with holding([module for module in modules if hasattr(module, "fused_attn")], "fused_attn", False):
        yield


# ---------------------------------------------------------------- changing passes


@contextmanager
def holding(modules: Iterable[nn.Module], attribute: str, value: bool) -> Iterator[None]:
    """Set an attribute of modules inside the block, and put back each one's own."""
    before = [(module, getattr(module, attribute)) for module in modules]
    try:
        for module, _ in before:
            setattr(module, attribute, value)
        yield
    finally:
        for module, old in before:
            setattr(module, attribute, old)


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks inside the block; registering them is part of it, so that none stays after an error."""
    kept: list[RemovableHandle] = []
    try:
        kept.extend(handles)
        yield
    finally:
        for handle in kept:
            handle.remove()


@contextmanager
def unhooked(model: nn.Module) -> Iterator[None]:
    """Leave out the hooks that a model has, inside the block: patches count on the unit's images."""
    kept = [(part, part._forward_hooks, part._forward_pre_hooks) for part in model.modules()]
    try:
        for part, after, before in kept:
            part._forward_hooks, part._forward_pre_hooks = type(after)(), type(before)()
        yield
    finally:
        for part, after, before in kept:
            part._forward_hooks, part._forward_pre_hooks = after, before


def on_output(
    module: nn.Module, change: Callable[[Tensor], Tensor | None], *, first: bool = False
) -> RemovableHandle:
    """Change what a module gives to what it is used for; a change of None leaves it as it is.

    Args:
        module: of which a tensor is the output.
        change: output → output.
        first: before other hooks of the module.
    """

    def hook(module: nn.Module, inputs: object, output: object) -> Tensor | None:
        import torch

        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"a layer of the surrogate, {type(module).__name__}, cannot be changed",
                expected="an output that is a tensor",
                got=type(output).__name__,
                hint="name another with the option 'layer'",
            )
        return change(output)

    return module.register_forward_hook(hook, prepend=first)


def on_gradient(module: nn.Module, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Change the gradient that comes back to a module's output; what the module gives stays as it is.

    The change belongs to the output and not to the module, so no backward hook of a module is needed: they
    miss modules that work in place or are called twice.
    """

    def mark(output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(change)

    return on_output(module, mark, first=True)


def with_gradient_of(value: Tensor, stand_in: Tensor) -> Tensor:
    """Return `value`, to the last bits, with the gradient of `stand_in`."""
    return stand_in + (value - stand_in).detach()
