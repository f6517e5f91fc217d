"""The numbers that the paper prints for ImageNet, and the claims on them, which no run here can meet."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shared.claims import Claim, unmeasured

METRICS = ("FID", "IS", "Precision", "Recall")  # the tables print sFID too, of which there is not even a likeness here
NO_IMAGENET = "ImageNet, hundreds of V100-days and Inception features are not to be had here"


class Number(NamedTuple):
    """One number of a table: of which network on which images, in words."""

    table: str
    metric: str
    setting: str
    value: float


def numbers() -> Iterator[tuple[str, Number]]:
    """Those of Tables 3, 4 and 5 in reference.csv, where Table 5's four metrics are one entry, by the claim's id."""
    with Path(__file__).with_name("reference.csv").open() as file:
        facts = [fact for fact in csv.DictReader(file) if re.match(r"ADM-T(3|4|5-\d)", fact["claim_id"])]
    for fact in facts:
        values = fact["value"].split("/")
        metrics = ["FID", "sFID", "Precision", "Recall"] if len(values) > 1 else fact["quantity"].split()[:1]
        for metric, value in zip(metrics, values, strict=True):
            name = fact["claim_id"].replace("ADM-T", "diffusion-table").removesuffix(f"-{metric}")
            if metric in METRICS:
                yield f"{name}-{metric}".lower(), Number(fact["source"], metric, fact["setting"], float(value))


def printed(claim: str, number: Number) -> Claim:
    """A number of the paper that no run here can meet."""
    statement, value = f"{number.metric}, {number.setting}: {NO_IMAGENET}", number.value
    return Claim(
        claim, number.table, statement, unmeasured, lambda v: abs(v - value) <= 0.05 * value, "within 5 %", value
    )


NUMBERS = dict(numbers())
PRINTED = [printed(claim, number) for claim, number in NUMBERS.items()]
# Table 4, ImageNet 256: (model, scale) -> FID, precision, recall. Scale 0 is the paper's "no guidance".
TABLE4 = {
    (model, scale): tuple(
        NUMBERS[f"diffusion-table4-{row}-{metric}"].value for metric in ("fid", "precision", "recall")
    )
    for model in ("unconditional", "conditional")
    for scale, row in ((0.0, model[0]), (1.0, f"{model[0]}-s1"), (10.0, f"{model[0]}-s10"))
}
