"""Windows that slide over images: their geometry; pieces of a batch that fit the cache."""

from collections.abc import Iterator

Pair = tuple[int, int]

CHUNK = 1 << 18  # scalars: what is worked on at a time stays, with its result, in the second-level cache


def pair(value: int | Pair) -> Pair:
    """(vertical, horizontal) of a number for both or of such a pair."""
    return value if isinstance(value, tuple) else (value, value)


def check_window(layer: str, kernel: int | Pair, stride: int | Pair, padding: int | Pair) -> None:
    """ValueError for a window that cannot be."""
    for name, value, least in (("kernel", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        numbers = pair(value)
        if len(numbers) != 2 or any(not isinstance(number, int) or number < least for number in numbers):
            raise ValueError(f"{layer}: {name} must be an integer of at least {least}, or two of them, got {value}")


def output_size(layer: str, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """floor((size + 2 padding - kernel) / stride) + 1 on each axis; ValueError where the kernel does not fit."""
    padded = (size[0] + 2 * padding[0], size[1] + 2 * padding[1])
    if kernel[0] > padded[0] or kernel[1] > padded[1]:
        kernels, sizes, pads = (f"{h} x {w}" for h, w in (kernel, size, padding))
        raise ValueError(f"{layer}: a kernel of {kernels} does not fit into an image of {sizes} with padding {pads}")
    return (padded[0] - kernel[0]) // stride[0] + 1, (padded[1] - kernel[1]) // stride[1] + 1


def chunks(part: slice, floats: int) -> Iterator[slice]:
    """``part`` of an array's rows in pieces of CHUNK scalars or less, at least a row each; ``floats`` is one row's."""
    step = max(1, CHUNK // max(1, floats))
    for start in range(part.start, part.stop, step):
        yield slice(start, min(start + step, part.stop))
