"""Faults that the tests of patches must find."""

from faults import Fault, of

IM2COL = "test_patches.py::test_im2col_equals_reference[numpy]"
COL2IM = "test_patches.py::test_col2im_equals_reference[numpy]"

FAULTS: list[Fault] = [
    *of(
        "cpu/patches.py",
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
            "the step of rows is that of columns",
            "at = (above * p.stride_rows + down) * p.width",
            "at = (above * p.stride_columns + down) * p.width",
            COL2IM,
        ),
        (
            "columns of windows begin a row too low",
            "lo = max(above, -((j - first) // width))",
            "lo = max(above, 1 - (j - first) // width)",
            IM2COL,
        ),
    ),
    *of(
        "cpu/patches.py",
        ("byte order is forgotten", "native(np.asarray(x[index]))", "np.ascontiguousarray(x[index])", IM2COL),
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
