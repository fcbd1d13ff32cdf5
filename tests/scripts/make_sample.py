"""Make the built-in Fashion-MNIST sample: `python tests/scripts/make_sample.py SOURCE`.

SOURCE is any layout of the full test split, for example /usr/share/datasets/fashion-mnist (Debian's package
`dataset-fashion-mnist`). The sample is 100 images a class, drawn with a fixed seed, in order of id; an id is
the position in the original test file. Columns: the Hub's (image, a struct of bytes and path; label), and id.
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from transferzoo.datasets.sources import load_split
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from collections.abc import Sequence

PER_CLASS = 100
SEED = 0
TARGET = assets() / "fashion-mnist" / "sample-00000-of-00001.parquet"


def drawn(labels: Sequence[int]) -> list[int]:
    """Return the sorted positions of PER_CLASS images of each class."""
    generator = random.Random(SEED)
    members = [[i for i, label in enumerate(labels) if label == known] for known in sorted(set(labels))]
    return sorted(i for positions in members for i in generator.sample(positions, PER_CLASS))


def make(source: Path, target: Path) -> None:
    batch = load_split(load_zoo().datasets["fashion-mnist"], "test", root=source)
    ids = drawn(batch.labels.tolist())
    images = []
    for picture in batch.select(ids).images:
        buffer = io.BytesIO()
        Image.fromarray(picture[0].numpy()).save(buffer, "png", compress_level=0)  # zstd packs them better
        images.append({"bytes": buffer.getvalue(), "path": None})
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {"image": pa.array(images, image), "label": batch.labels[ids].tolist(), "id": ids},
    )
    pq.write_table(table, target, compression="zstd", compression_level=22, use_dictionary=False)
    print(f"{target}: {len(ids)} images, {target.stat().st_size} bytes")


if __name__ == "__main__":
    make(Path(sys.argv[1]), TARGET)
