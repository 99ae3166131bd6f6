"""What our programs share: how they end, the files and numbers they are given, steps and tables.

All but ``steps`` and ``tables``, which need rich, are content with the standard library.
"""
