"""The gate in front of a device."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from xcloudfree.models.admission import Admission


def test_callers_on_a_cpu_share_its_threads_and_give_them_back():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        gate, met = Admission("cpu"), threading.Barrier(2)
        with gate():
            assert torch.get_num_threads() == 4

        def compute(_):
            own = torch.get_num_threads()
            with gate():
                inside = torch.get_num_threads()
                met.wait(timeout=20)
            return own, inside, torch.get_num_threads()

        with ThreadPoolExecutor(2) as pool:
            seen = list(pool.map(compute, range(2)))
        assert sorted(inside for _, inside, _ in seen) == [2, 4]
        assert all(own == after for own, _, after in seen)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_an_accelerator_takes_one_caller_at_a_time():
    gate, inside, most = Admission("cuda"), [], []

    def compute(n):
        with gate():
            inside.append(n)
            time.sleep(0.001)
            most.append(len(inside))
            inside.remove(n)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(compute, range(40)))
    assert max(most) == 1
