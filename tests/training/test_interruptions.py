# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about being stopped and about losing the processes that draw examples."""

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from engine.errors import InputError, OptionError, TrainingError
from engine.training.device import choose_device, precision
from engine.training.feed import Feed
from engine.training.interrupt import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_an_end(number, capsys):
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background of a shell
    with StopSignals() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        assert "once more to stop at once" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(signal.SIGINT) is before


class Endless(IterableDataset):
    """Process numbers, one after the other."""

    def __iter__(self):
        while True:
            yield os.getpid()


def loader(seed: int):
    return iter(DataLoader(Endless(), batch_size=None, num_workers=1, multiprocessing_context="fork"))


@pytest.fixture
def quick_to_notice(monkeypatch):
    """Torch looks after its workers each 0.2 s instead of each 5 s."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)  # nothing is raised here, in the midst of other work


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_told_of(quick_to_notice):
    told, seeds = [], []

    def make(seed):
        seeds.append(seed)
        return loader(seed)

    feed = Feed(make, 5, warn=told.append)
    first = feed.next()
    assert first is not None
    kill(first)
    found = {feed.next() for _ in range(8)}  # what it had drawn before may still come
    assert found - {first}
    assert len(told) == 1
    assert "killed by signal" in told[0] or "exited unexpectedly" in told[0]
    assert len(set(seeds)) == 2


@pytest.mark.slow
def test_a_worker_killed_along_with_the_wish_to_stop_ends_quietly(quick_to_notice):
    stopping, told = [False], []
    feed = Feed(loader, 5, lambda: stopping[0], told.append)
    first = feed.next()
    assert first is not None
    stopping[0] = True
    kill(first)
    assert None in [feed.next() for _ in range(8)]
    assert told == []


def test_a_stream_that_breaks_again_and_again_is_given_up():
    def make(seed):
        raise RuntimeError("Caught OSError in a worker\n  File x\nOSError: too many files")
        yield seed

    told = []
    with pytest.raises(TrainingError, match="3 times in a row: OSError: too many files"):
        Feed(make, 0, warn=told.append).next()
    assert len(told) == 2


def test_bad_data_is_not_tried_again():
    def make(seed):
        raise InputError("No such pack.")

    told = []
    with pytest.raises(InputError, match="No such pack"):
        Feed(make, 0, warn=told.append).next()
    assert told == []


# ---- device ---------------------------------------------------------------------------------------------------------


def test_a_missing_card_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(OptionError, match=r"no NVIDIA card.*--device cpu"):
        choose_device("cuda")
    with pytest.raises(OptionError, match="Choose one of auto, cpu, cuda"):
        choose_device("tpu")


def test_more_processes_than_cards_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(OptionError, match=r"Process 3 .* 2 NVIDIA cards.*--nproc-per-node 2"):
        choose_device("auto", local_rank=2)


def test_precision_is_one_that_the_processor_has():
    assert precision(torch.device("cpu")) in (torch.float32, torch.bfloat16)
