"""Benchmarks for asv, one file for each noun of the library.

Each setup ends with the call that is then timed: compiling is startup.py's subject, and no other's.
"""
