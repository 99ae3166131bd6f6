"""``fastconv bench``: this machine's times beside those of other libraries, with the targets we set.

Rows are declared, each next to the function that says what is timed: ``binary``, ``filters`` and ``memory``
in this process, ``processes`` in processes of their own. Needs the extra ``fastconv[peers]``, of which
PyTorch, OpenCV and OpenVINO may be missing.
"""
