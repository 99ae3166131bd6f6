"""Faults that the tests of patches must find."""

from faults import Fault, of

IM2COL = "test_patches.py::test_im2col_equals_reference[numpy]"
TALL = "test_patches.py::test_patches_of_tall_images_equal_reference"
COL2IM = "test_patches.py::test_col2im_equals_reference[numpy]"

FAULTS: list[Fault] = [
    *of(
        "cpu/patches/im2col.py",
        (
            "columns take the dilation of rows",
            "b * p.dilation_columns - p.left\n        inside",
            "b * p.dilation_rows - p.left\n        inside",
            IM2COL,
        ),
        ("padding on the right is 1", "part[hi:] = 0", "part[hi:] = 1", IM2COL),
        (
            "a column beyond the end of a row stays",
            "if j < inside or j >= outside:",
            "if j < inside or j > outside:",
            "test_patches.py",
        ),
        (
            "columns of windows begin a row too low",
            "max(above, -((j - first) // width)), min",
            "max(above, 1 - (j - first) // width), min",
            IM2COL,
        ),
        (
            "rows below the image are those of the next one",
            "if row > max(first, below):",
            "if row > p.out_rows + below:",
            TALL,
        ),
        (
            "vectors are taken beyond the end of a column",
            "and at + lanes <= column.size and",
            "and at < column.size and",
            TALL,
        ),
    ),
    *of(
        "cpu/patches/im2col.py",
        ("byte order is forgotten", "native(np.asarray(x[index]))", "np.ascontiguousarray(x[index])", IM2COL),
        compiled=False,
    ),
    *of(
        "cpu/patches/col2im.py",
        (
            "the step of rows is that of columns",
            "at = (above * p.stride_rows + down) * p.width",
            "at = (above * p.stride_columns + down) * p.width",
            COL2IM,
        ),
        (
            "rows after those that vectors hold are forgotten",
            "_add_taps(p, plane, (below, last), own)",
            "_add_taps(p, plane, (last, last), own)",
            TALL,
        ),
        (
            "several rows begin between two strides",
            "// p.stride_rows) * p.stride_rows)",
            ") * 1)",
            TALL,
        ),
    ),
    *of(
        "cpu/patches/moves.py",
        (
            "rows that not all taps see are added up at once",
            "max(0, *(row - row % down for row in below))",
            "max(0, *(row - row % down for row in below[:1]))",
            TALL,
        ),
        (
            "the last rows of windows are taken for those of all taps",
            "min(below) + height * down",
            "max(below) + height * down",
            TALL,
        ),
        (
            "pixels between strides are added",
            "((z - right) % across == 0)",
            "(z >= 0)",
            TALL,
        ),
        (
            "windows that see nothing see the pixel before",
            "(j >= inside) & (j < outside), i * down",
            "(j < outside), i * down",
            TALL,
        ),
        compiled=False,
    ),
    *of(
        "cpu/windows.py",
        (
            "the image begins at the bottom's padding",
            "(top, _), (left, _) = window.padding",
            "(_, top), (left, _) = window.padding",
            COL2IM,
        ),
        compiled=False,
    ),
    *of(
        "_geometry.py",
        (
            "the odd row of 'same' is at the top",
            "return (rows // 2, rows - rows // 2)",
            "return (rows - rows // 2, rows // 2)",
            "test_patches.py",
        ),
        ("a window's reach forgets its last tap", "(d * (k - 1) + 1 for", "(d * k for", "test_patches.py"),
        compiled=False,
    ),
]
