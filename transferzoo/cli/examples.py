"""What the help shows beside options: examples of every command, and what to do first. Commands that work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

QUICK_START = """\
How do adversarial examples, crafted on one image classifier, fool others?

  transferzoo attack -s resnet50-sam             a first table: 20 seconds, nothing to download
  transferzoo list                               models; also attacks, minimizers, data sets, …
  transferzoo train --minimizer gsam             train a surrogate of your own, with GSAM
  transferzoo attack -s ./checkpoints/NAME       attack from it, against all targets
  transferzoo report runs/* --html page.html     everything you found, as one page

Every command has --help, with examples. Commands: {commands}."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 failed, with the reason on stderr; 2 the request is wrong; 130 interrupted "
    "(by SIGTERM 143), and the same command goes on; of an audit also 3 fail and 4 cannot tell. Data goes "
    "to stdout, talk to stderr."
)

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "list": (
        ("Models of another data set", "transferzoo list --dataset imagenet"),
        ("Attacks whose name holds mi", "transferzoo list attacks --match mi"),
    ),
    "show": (
        ("A model: licence, accuracy, recipe, files", "transferzoo show resnet50-sam"),
        ("An attack, as its paper calls it", "transferzoo show TI-DIM"),
    ),
    "attack": (
        ("The built-in zoo: no download, all targets", "transferzoo attack -s resnet50-sam"),
        (
            "All surrogates of a kind, two attacks, at equal cost",
            "transferzoo attack -s 'resnet50-*' -a bim -a MI-FGSM --max-gradients 100",
        ),
        (
            "A model of yours, a smaller budget, a table for a paper",
            "transferzoo attack -s ./checkpoints/NAME -t vgg --eps 8/255 -o table.tex",
        ),
    ),
    "search": (
        ("The strongest attack of 50 gradients an image", "transferzoo search --max-gradients 50"),
        (
            "Of two techniques, from a model of yours, into a zoo file",
            "transferzoo search mi di -s ./NAME --save my.yaml",
        ),
    ),
    "compare": (
        ("All techniques, in some hours", "transferzoo compare --save all.yaml --results all.jsonl.gz"),
        ("One more beside them", "transferzoo compare emi --beside all.yaml --results all.jsonl.gz"),
        ("One alone, in a few minutes", "transferzoo compare di --alone --images 50 --choose-on 20"),
    ),
    "score": (
        ("PNGs that somebody made of the built-in images", "transferzoo score ./pngs -t all --eps 16/255"),
        (
            "TransferAttack's output folder, and what a phone said of it",
            "transferzoo score ./results --clean ./data --predictions phone.csv",
        ),
    ),
    "audit": (
        ("A model of the built-in zoo, in some minutes", "transferzoo audit vgg"),
        (
            "Yours, against the last release",
            "transferzoo audit model.onnx --data val/ --baseline last/audit.json",
        ),
    ),
    "report": (
        ("All runs in one table", "transferzoo report runs/*"),
        ("One page to look at, with figures and images", "transferzoo report runs/* --html page.html"),
        ("What a study of the package found", "transferzoo report schedule --verdicts"),
    ),
    "train": (
        ("A recipe of the zoo", "transferzoo train --recipe resnet50-lsam"),
        ("The same with a larger radius", "transferzoo train --recipe resnet50-lsam --rho 0.4"),
        (
            "Fine-tune a model with SAM",
            "transferzoo train --from resnet50-sgd --minimizer sam:rho=0.4 --epochs 2",
        ),
    ),
    "pull": (
        ("Models and images of a data set; then attack offline", "transferzoo pull all --dataset cifar10"),
        ("What would come, and how large it is", "transferzoo pull imagenet/resnet50-tv --dry-run"),
    ),
    "push": (
        ("Look at the model card first", "transferzoo push ./checkpoints/NAME --licence mit --dry-run"),
        ("Send it", "transferzoo push ./checkpoints/NAME --licence mit"),
    ),
    "study": (
        ("What a study of the package would do", "transferzoo study minimizers --dry-run"),
        (
            "One of yours, in four processes",
            "transferzoo study my-study.yaml --jobs 4 --results all.jsonl.gz",
        ),
    ),
    "sharpness": (
        ("Eigenvalue, trace and rise of the loss", "transferzoo sharpness resnet50-sgd resnet50-lsam"),
        (
            "Loss on the line between two models, drawn",
            "transferzoo sharpness --between resnet50-sgd resnet50-sam --picture line.png",
        ),
    ),
}


def examples(command: str) -> str:
    """Return the examples at the end of a command's help; some versions of Typer join a paragraph's lines."""
    return "\n\n".join(["Examples", *(f"{comment}:\n{example}" for comment, example in EXAMPLES[command])])
