"""2,000 damaged files of deployed networks: each is refused in clear words, or is a network that runs or says
why it cannot."""

import subprocess
import sys
from collections import Counter

import pytest
from conftest import optional

from checkout import SUPPORT

optional("torch")
optional("safetensors")
from damaged_files import NETWORKS  # noqa: E402

DAMAGES = 2000 // len(NETWORKS) + 1
PATIENCE = 300


@pytest.mark.soak
@pytest.mark.parametrize("name", NETWORKS)
def test_a_damaged_file_is_refused_or_makes_a_network(name):
    command = [sys.executable, str(SUPPORT / "damaged_files.py"), name, "0", str(DAMAGES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the last of these ended the process:\n{lines[-1:]}\n{done.stderr}"
    outcomes = Counter(line.split(": ")[1] for line in lines)
    assert not outcomes.keys() - {"refused", "ran", "run refused"}, "\n".join(lines)
    assert outcomes.total() == DAMAGES
    assert outcomes["refused"] > DAMAGES / 2
    assert outcomes["ran"] > DAMAGES / 10
