"""What the demo reads and draws: the photograph going in, the picture coming out."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import cbook, colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from scipy import ndimage

from fastconv._backends import Array
from fastconv.programs.ending import said_of
from fastconv.programs.files import check, write

MAX_SIDE = 1024  # a larger image is reduced: the notebook's size
NEIGHBOURHOOD = 15  # side of the square whose mean is taken off each pixel


@dataclass(frozen=True)
class Photograph:
    """A grey image (H, W), float32 from 0 to 1, and what to call it."""

    description: str
    grey: Array


def load_photograph(path: str | None, min_shape: tuple[int, ...]) -> Photograph:
    """Read an image as grey levels; transparent parts are white, and large images are made smaller.

    Parameters
    ----------
    path : str or None
        Any file that Pillow reads, "-" for standard input; None for the photograph that matplotlib carries.
    min_shape : (int, int)
        The least height and width.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be opened.
    ValueError
        If it is no image that Pillow can read, too small, or holds a value that is not finite.
    """
    if path is None:
        file = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        name = "matplotlib's photograph of Grace Hopper"
    elif path == "-":
        file = name = "standard input"
    else:
        file, name = path, Path(path).name
    content = sys.stdin.buffer.read() if path == "-" else Path(file).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            grey = _grey_levels(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's decoders fail in many ways
        raise ValueError(f"{file}: Pillow cannot read this as an image") from error
    h, w = grey.shape
    if h < min_shape[0] or w < min_shape[1]:
        raise ValueError(f"{file}: {h}×{w} pixels are fewer than the filter's {min_shape[0]}×{min_shape[1]}")
    if not np.isfinite(grey).all():
        raise ValueError(f"{file}: holds values that are not finite")
    grey -= grey.min()
    grey /= grey.max() or 1
    smaller = _reduced(grey.astype(np.float32), min_shape)
    size = "×".join(map(str, smaller.shape))
    return Photograph(
        f"{name}, {size}" + (f" (reduced from {h}×{w})" if smaller.shape != (h, w) else ""), smaller
    )


def _grey_levels(image: Image.Image) -> Array:
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):  # those have over 256 levels
        if "A" in image.getbands() or "transparency" in image.info:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("L")
    return np.array(image, np.float64)


def _reduced(grey: Array, min_shape: tuple[int, ...]) -> Array:
    h, w = grey.shape
    scale = MAX_SIDE / max(h, w)
    if scale >= 1:
        return grey
    size = max(round(w * scale), min_shape[1]), max(round(h * scale), min_shape[0])
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))


def centred(grey: Array) -> Array:
    """``grey`` less the mean of each pixel's neighbourhood, so that signs tell light from dark in place.

    No pixel of the result is 0: the notebook gives 0 the sign -1 and fastconv +1, and all methods are to
    see the same signs.
    """
    image = grey - ndimage.uniform_filter(grey, NEIGHBOURHOOD)
    image[image == 0] = np.finfo(np.float32).eps
    return np.ascontiguousarray(image)


def place_of(path: Path) -> Path:
    """``path``, once its folder is there and a file can be written to it.

    Raises
    ------
    CannotError
        If the folder cannot be made, or the file not be written.
    """
    with said_of(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
    check(path)
    return path


def draw(path: Path, photograph: Photograph, edges: Array, approximation: Array) -> None:
    """Write a PNG of the input, its edges, the XNOR approximation of them, and the difference."""
    h, w = photograph.grey.shape
    rows, columns = (1, 4) if w < 1.25 * h else (2, 2)
    panel = 11 / columns  # inches of width; one of the 12 goes to the colour bar
    height = min(rows * (panel * h / w + 0.28), 24)
    figure = Figure(figsize=(12, height), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns).ravel()
    limit = float(np.percentile(np.abs(edges), 99))
    panels = (
        (photograph.grey, "input", "gray", 0, 1),
        (edges, "edges (float correlation)", "gray", -limit, limit),
        (approximation, "XNOR approximation (sign sums × α·K)", "gray", -limit, limit),
        (approximation - edges, "error (approximation − edges)", "RdBu_r", -limit, limit),
    )
    for axis, (values, title, colours, low, high) in zip(axes, panels, strict=True):
        # With this few colours all fit one palette, which halves the file.
        palette = colormaps[colours].resampled(96)
        shown = axis.imshow(values, cmap=palette, vmin=low, vmax=high, interpolation_stage="data")
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes[-1], shrink=0.8, extend="both")
    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(256).save(png, "PNG", optimize=True)
    write(path, png.getvalue())
