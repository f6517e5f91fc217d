"""The handwritten digits that come with scikit-learn: 1,797 real 8x8 scans (UCI Optical Recognition, test part)."""

import hashlib

import numpy as np

from shared.datasets import Dataset

TRAIN = 1500


def load() -> Dataset:
    """1,500 training and 297 test images (N, 8, 8), grey values 0 to 16, labels (N,) 0 to 9; nothing is downloaded.

    The file is ordered by writer, so the split follows one fixed permutation: both parts hold every class and hand.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    # RandomState's stream is frozen by NumPy's policy; a Generator's, and the split with it, may change with NumPy.
    order = np.random.RandomState(0).permutation(len(source.target))
    images = source.images.astype(np.uint8)[order]
    labels = source.target.astype(np.uint8)[order]
    images.flags.writeable = labels.flags.writeable = False
    checksums = {
        f"digits-{part}": f"sha256:{hashlib.sha256(array.tobytes()).hexdigest()}"
        for part, array in (("images", images), ("labels", labels))
    }
    return Dataset("digits", images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:], checksums, levels=16)
