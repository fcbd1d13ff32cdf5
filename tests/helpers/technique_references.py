"""What each attack technique is checked against, and where it knowingly differs from its source.

A test sees to it that every registered technique is here, and that the named test file knows it.
"""

from __future__ import annotations

from dataclasses import dataclass

LITERAL = "a literal loop over one image, in float64"


@dataclass(frozen=True)
class Checked:
    """How a technique is checked.

    Attributes:
        file: the test file.
        against: what it is compared with.
        differs: from the paper or the published code; empty where it does not.
    """

    file: str
    against: str
    differs: str = ""


REFERENCES = {
    # losses
    "ce": Checked("test_momentum", "torch's cross_entropy"),
    "logit": Checked("test_momentum", "values by hand"),
    "margin": Checked("test_momentum", "values by hand"),
    "dlr": Checked(
        "test_momentum", "values by hand", "targeted it has AutoAttack's denominator, not its numerator"
    ),
    "lmargin": Checked("test_momentum", "values by hand"),
    # features
    "fia": Checked(
        "test_features", LITERAL, "the probability, as the code has it, where the paper writes the logit"
    ),
    "naa": Checked("test_features", LITERAL, "probability for logit; no F(0), a constant; noise an option"),
    "ila": Checked("test_features", LITERAL, "the first phase is BIM with the attack's own step"),
    "bfa": Checked("test_features", LITERAL, "the length of a fit goes with size and budget"),
    # patches
    "sgm": Checked(
        "test_backward",
        "a forward pass written by hand",
        "once a branch, of every block, no root, no division by the batch's deviation",
    ),
    "bpa": Checked(
        "test_backward", "gradients by hand", "padding gets no share; the softmax subtracts its maximum"
    ),
    "ghost": Checked("test_forward", "a forward pass written by hand", "one scale a block and image"),
    "ilpd": Checked("test_forward", "a forward pass written by hand", "any network, not ResNet-50 alone"),
    "cfm": Checked(
        "test_feature_mixing",
        "a network rewired by hand, in float64",
        "each image mixes or not, with images of the pool and not of its batch",
    ),
    "ftm": Checked(
        "test_feature_mixing",
        "a network rewired by hand, in float64",
        "as cfm; TransferAttack never asks for the gradient of the perturbation",
    ),
    "pna": Checked(
        "test_attention",
        "attention written by hand",
        "without the term of the perturbation's length",
    ),
    "tgr": Checked(
        "test_attention",
        LITERAL,
        "extremes are each image's own, not those of the first; at=scores is the authors' place",
    ),
    "awt": Checked(
        "test_tuning",
        "a loop over one image with torch's SGD, in float64",
        "each image has weights of its own; the ascent has no gradient of the step before in it",
    ),
    "fpr": Checked(
        "test_attention",
        "attention written by hand",
        "each image has a map's factors and a memory of its own, which end with it",
    ),
    # views
    "di": Checked("test_techniques", LITERAL, "the size stays; torchattacks hands the padded one on"),
    "si": Checked("test_views", LITERAL),
    "admix": Checked("test_views", LITERAL, "partners come from a pool, not from the batch"),
    "ssa": Checked(
        "test_views", "scipy's dctn and idctn", "none; the gradient is taken at T(z), as the code does"
    ),
    "sia": Checked(
        "test_views_blocks", LITERAL, "draws are each image's own; two slips of the code are not copied"
    ),
    "bsr": Checked("test_views_blocks", "torchvision's rotate, image by image", "uniform angles"),
    "maskblock": Checked("test_views", LITERAL, "a grid in proportion, not of 56 pixels"),
    "decowa": Checked("test_views", "scipy's RBFInterpolator", "each image has its own warp"),
    "dem": Checked("test_views", LITERAL, "the step is the attack's own, not ε"),
    # weights
    "mba": Checked(
        "test_weights",
        "moments of the draws",
        "drawn once, not for every step; one model's sigma is relative",
    ),
    # surrogates and ensembles
    "ens": Checked("test_ensembles", LITERAL),
    "long": Checked("test_ensembles", LITERAL),
    "sub": Checked("test_ensembles", LITERAL),
    "svre": Checked(
        "test_ensembles", LITERAL, "the mean of gradients, computed once, for that of the mean logits"
    ),
    "cwa": Checked("test_ensembles", LITERAL, "the way is divided by its length image by image"),
    "adaea": Checked(
        "test_ensembles", LITERAL, "gradients are weighed, not logits; weights are each image's own"
    ),
    "smer": Checked("test_ensembles", LITERAL, "each image has weights of its own, which end with it"),
    # estimators
    "vt": Checked(
        "test_estimators", "torchattacks' VMI-FGSM", "its VNI-FGSM has the neighbours around the image"
    ),
    "emi": Checked("test_estimators", LITERAL),
    "pi-look": Checked("test_estimators", LITERAL),
    "pgn": Checked("test_estimators", LITERAL, "a view acts once at either point, not twice"),
    "gra": Checked("test_estimators", LITERAL, "the step's mask is a technique of its own"),
    "rap": Checked("test_estimators", LITERAL, "the box is that of L∞ in L2, too"),
    "mef": Checked("test_estimators", LITERAL),
    "mumodig": Checked(
        "test_estimators",
        LITERAL,
        "no transforms of its own: views do that part; without a path a gradient counts a little, see floor",
    ),
    "ops": Checked(
        "test_operators",
        "torchvision's and torch's own functions, image by image",
        "draws are each image's own and new at every step; DI's largest size and offset belong to it",
    ),
    # filters, momentum, steps, starts
    "ti": Checked("test_loop_references", "torchattacks' TI-FGSM, its diversity off"),
    "mi": Checked("test_loop_references", "torchattacks' MI-FGSM"),
    "ni": Checked("test_momentum", "torchattacks' NI-FGSM"),
    "pi-patch": Checked(
        "test_momentum", "torchattacks' PI-FGSM", "gamma is a multiple of ε; sums near 0 have no sign"
    ),
    "gra-mask": Checked("test_momentum", LITERAL),
    "geo": Checked("test_momentum", LITERAL),
    "cos": Checked("test_momentum", LITERAL),
    "rs": Checked("test_loop_references", "torchattacks' PGD"),
    "gi": Checked("test_momentum", LITERAL),
}
