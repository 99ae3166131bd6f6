"""Faults of what all kernels share: records, scratch, threads."""

from faults import KEEP_OUT, Fault, of

LAUNCHER = "../process/test_launcher.py"
TOGETHER = "test_forms.py::test_all_threads_give_what_one_gives"

FAULTS: list[Fault] = [
    *of(
        "cpu/kernels.py",
        (
            "all workers have one scratch",
            "_moved(pointer, worker * p.apart)",
            "_moved(pointer, 0 * p.apart)",
            LAUNCHER,
        ),
        (
            "the first task of a chunk is nobody's",
            "return total * chunk // p.chunks, ",
            "return total * chunk // p.chunks + (chunk > 0), ",
            LAUNCHER,
        ),
        (
            "the last task of a chunk is also the next one's",
            "total * (chunk + 1) // p.chunks",
            "min(total * (chunk + 1) // p.chunks + 1, total)",
            LAUNCHER,
        ),
    ),
    *of(
        "cpu/kernels.py",
        (
            "all scratch begins at one place",
            "self.scratch.append((name, at))",
            "self.scratch.append((name, 0))",
            LAUNCHER,
        ),
        (
            "workers' scratch overlaps",
            "self.apart = at + threads.APART if at else 0",
            "self.apart = threads.APART if at else 0",
            KEEP_OUT + "[binary_max_pool2d]",
        ),
        compiled=False,
    ),
    *of(
        "cpu/chunks.py",
        (
            "chunks are computed twice",
            "    call_kernel(load(state, FUNCTION), load(state, RECORD), chunk, worker)\n",
            "    call_kernel(load(state, FUNCTION), load(state, RECORD), chunk, worker)\n" * 2,
            LAUNCHER,
        ),
        (
            "a caller alone leaves out the last chunk",
            "for chunk in range(chunks):",
            "for chunk in range(chunks - 1):",
            LAUNCHER,
        ),
        (
            "the caller does not wait for the last chunk",
            "load(state, DONE) < chunks:",
            "load(state, DONE) < chunks - 1:",
            LAUNCHER,
        ),
        (
            "all workers have one number",
            "worker = add(state, SLOT, 1)",
            "worker = add(state, SLOT, 0)",
            LAUNCHER,
        ),
        (
            "two threads begin the last chunk",
            "chunks - 1 - add(state, FROM_END, 1)",
            "chunks - 1 - max(add(state, FROM_END, 1) - 1, 0)",
            LAUNCHER,
        ),
        (
            "the first thread goes on one chunk behind",
            "chunk = taken if worker == 0",
            "chunk = max(taken - 1, 0) if worker == 0",
            LAUNCHER,
        ),
    ),
    *of(
        "cpu/threads.py",
        (
            "scratch is for one worker",
            "_kept.at_least(most * job.apart)",
            "_kept.at_least(job.apart)",
            KEEP_OUT + "[binary_max_pool2d]",
        ),
        compiled=False,
    ),
]
