"""fastconv beside other libraries: this machine's times beside theirs, and the targets we set.

Run it by ``python asv_benchmarks/peers``; docs/performance.md says how to read what it prints. Rows are
declared next to the functions that say what is timed: ``xnor``, ``correlation``, ``bits``, ``patches``,
``small_calls`` and ``gpu`` in this process, ``trunk`` and ``processes`` in processes of their own. The
program needs what the extra ``fastconv[peers]`` installs, of which PyTorch, OpenCV and OpenVINO may be
missing.
"""
