"""The way of unrolls from actors to the learner, through Reverb."""

from acme_impala.replay.adder import ActingExtras, UnrollAdder
from acme_impala.replay.dataset import UnrollDataset
from acme_impala.replay.tables import QUEUE, make_queue, unroll_signature
from acme_impala.replay.writer import UnrollWriter

__all__ = [
    "QUEUE",
    "ActingExtras",
    "UnrollAdder",
    "UnrollDataset",
    "UnrollWriter",
    "make_queue",
    "unroll_signature",
]
