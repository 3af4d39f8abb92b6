"""The way of unrolls from actors to the learner, through Reverb."""

from acme_impala.replay.adder import UnrollAdder
from acme_impala.replay.dataset import UnrollDataset
from acme_impala.replay.tables import QUEUE, make_queue, unroll_signature

__all__ = ["QUEUE", "UnrollAdder", "UnrollDataset", "make_queue", "unroll_signature"]
