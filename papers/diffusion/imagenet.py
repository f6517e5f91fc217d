"""The numbers that the paper prints for ImageNet, and the claims on them, which no run here can meet."""

import pandas as pd

from shared.claims import Claim

# Table 4, ImageNet 256: (model, scale) -> FID, precision, recall. Scale 0 is the paper's "no guidance".
TABLE4 = {
    ("unconditional", 0.0): (26.21, 0.61, 0.63),
    ("unconditional", 1.0): (33.03, 0.56, 0.65),
    ("unconditional", 10.0): (12.00, 0.76, 0.44),
    ("conditional", 0.0): (10.94, 0.69, 0.63),
    ("conditional", 1.0): (4.59, 0.82, 0.52),
    ("conditional", 10.0): (9.11, 0.88, 0.32),
}
# Table 5: FID without guidance, with it, and of BigGAN-deep, by resolution.
TABLE5 = {128: (5.91, 2.97, 6.02), 256: (10.94, 4.59, 6.95), 512: (23.24, 7.72, 8.43)}
TABLE3 = {"AdaGN": 13.06, "addition and GroupNorm": 15.08}
NO_IMAGENET = "ImageNet, hundreds of V100-days and Inception features are not to be had here"


def not_here(rows: pd.DataFrame) -> list[float]:
    return []


def printed(claim: str, source: str, what: str, value: float) -> Claim:
    """A number of the paper that no run here can meet."""
    statement = f"{what}: {NO_IMAGENET}"
    return Claim(claim, source, statement, not_here, lambda v: abs(v - value) <= 0.05 * value, "within 5 %", value)


PRINTED = [
    *(
        printed(f"diffusion-table4-{model}-{scale:g}", "Table 4", f"FID, {model}, scale {scale:g}, ImageNet 256", fid)
        for (model, scale), (fid, _, _) in TABLE4.items()
    ),
    *(
        printed(f"diffusion-table5-{side}-{name}", "Table 5", f"FID of {name}, ImageNet {side}", fid)
        for side, fids in TABLE5.items()
        for name, fid in zip(("ADM", "ADM-G", "BigGAN-deep"), fids, strict=True)
    ),
    *(
        printed(
            f"diffusion-table3-{name.split()[0]}", "Table 3", f"FID with {name}, 700K iterations, ImageNet 128", fid
        )
        for name, fid in TABLE3.items()
    ),
]
