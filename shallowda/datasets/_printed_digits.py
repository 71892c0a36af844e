"""Printed digits, rendered from fonts into the 8 x 8 format of scikit-learn's handwritten ones."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_random_state, check_scalar

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

# Every text font that matplotlib ships, named one by one: a search for fonts would depend on the machine.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmr10",
    "cmb10",
    "cmss10",
    "cmtt10",
)

_FONT_SIZE = 64  # pixels per em: digits about 47 high, enough to distort before they shrink to the frame
_CANVAS = 96
_FRAME = 32  # the bitmaps behind the handwritten digits: 32 x 32 pixels, the glyph centred in a box ...
_BOX_WIDTH = 24  # ... as high as the frame and three quarters as wide
_BLOCK = 4  # each feature counts the ink in a block of 4 x 4 pixels


def make_printed_digits(
    n_samples: int = 2000, *, random_state: int | np.random.RandomState | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Render printed digits in the 8 x 8 format of :func:`sklearn.datasets.load_digits`.

    Each sample is a digit in one of the 20 text fonts that ship with matplotlib (DejaVu, STIX, Computer Modern),
    slightly rotated, sheared and stretched, its strokes thickened and blurred at random. It then goes the way of the
    handwritten digits: cropped, fitted into a 32 x 32 bitmap, and reduced to the number of ink pixels in each
    4 x 4 block. Features and classes are those of ``load_digits``; the domain is another.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of samples. Classes, and fonts within a class, are as balanced as this number allows.
    random_state : int, RandomState instance or None, default=None
        Seed of the order, the fonts and the distortions. An int gives the same samples at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, 64), dtype float64
        Ink per block, row by row: whole numbers from 0 (paper) to 16 (ink).
    y : ndarray of int of shape (n_samples,)
        The digits, 0 to 9, in random order.

    Raises
    ------
    ImportError
        If matplotlib or pillow is missing.
    FileNotFoundError
        If this installation of matplotlib lacks one of the fonts.
    TypeError, ValueError
        If `n_samples` is not an integer of at least 1.

    See Also
    --------
    sklearn.datasets.load_digits : The handwritten counterpart.

    Notes
    -----
    Another version of pillow may draw the outline of a glyph differently by a pixel, so samples of one seed
    are equal on one installation, and nearly so across installations.

    Examples
    --------
    >>> from shallowda.datasets import make_printed_digits
    >>> X, y = make_printed_digits(100, random_state=0)
    >>> X.shape, float(X.min()), float(X.max())
    ((100, 64), 0.0, 16.0)
    >>> [int((y == digit).sum()) for digit in range(10)]
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
    rng = check_random_state(random_state)
    fonts = _load_fonts()
    order = rng.permutation(n_samples)
    y = order % 10
    X = [_block_counts(_fit_frame(_draw(fonts[i // 10 % len(fonts)], i % 10, rng), rng)) for i in order]
    return np.array(X, dtype=np.float64), y


def _load_fonts() -> list[FreeTypeFont]:
    try:
        import matplotlib
        from PIL import ImageFont
    except ImportError as error:
        raise ImportError(
            "make_printed_digits draws with pillow and the fonts of matplotlib, and one of them is missing "
            f'({error}). Install both with: pip install "shallowda[demo]"'
        ) from error
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    paths = [folder / f"{name}.ttf" for name in FONTS]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise FileNotFoundError(
            f"This installation of matplotlib has no {', '.join(missing)} in {folder}. make_printed_digits needs "
            "every font, so that its samples are the same everywhere: reinstall matplotlib from PyPI."
        )
    return [ImageFont.truetype(path, _FONT_SIZE) for path in paths]


def _draw(font: FreeTypeFont, digit: int, rng: np.random.RandomState) -> Image:
    """Draw one digit, distort it, and return the black-and-white bitmap inside its bounding box (ink is 255)."""
    from PIL import Image, ImageDraw, ImageFilter

    canvas = Image.new("L", (_CANVAS, _CANVAS))
    centre = (_CANVAS / 2, _CANVAS / 2)
    ImageDraw.Draw(canvas).text(centre, str(digit), fill=255, font=font, anchor="mm", stroke_width=rng.randint(2))
    angle, shear = rng.normal(scale=(0.07, 0.12))
    stretch = rng.uniform(0.85, 1.15)
    cos, sin = np.cos(angle), np.sin(angle)
    inverse = np.array([[stretch, shear], [0, 1]]) @ np.array([[cos, -sin], [sin, cos]])  # where a pixel comes from
    offset = centre - inverse @ centre
    rows = np.column_stack([inverse, offset])
    canvas = canvas.transform(canvas.size, Image.Transform.AFFINE, rows.ravel().tolist(), Image.Resampling.BILINEAR)
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    bitmap = canvas.point(lambda ink: 255 * (ink > 96))  # below one half: hairlines outlive the blur
    return bitmap.crop(bitmap.getbbox())


def _fit_frame(glyph: Image, rng: np.random.RandomState) -> np.ndarray:
    """Scale the glyph to the height of the frame, squeeze it if too wide, and place it near the middle."""
    from PIL import Image

    height = rng.randint(_FRAME - 3, _FRAME + 1)
    width = min(_BOX_WIDTH, max(1, round(glyph.width * height / glyph.height)))
    left = (_FRAME - width) // 2 + rng.randint(-2, 3)
    top = rng.randint(0, _FRAME - height + 1)
    frame = Image.new("L", (_FRAME, _FRAME))
    frame.paste(glyph.resize((width, height), Image.Resampling.BOX), (left, top))
    return np.asarray(frame) > 127


def _block_counts(bitmap: np.ndarray) -> np.ndarray:
    blocks = bitmap.reshape(_FRAME // _BLOCK, _BLOCK, _FRAME // _BLOCK, _BLOCK)
    return blocks.sum(axis=(1, 3)).ravel()
