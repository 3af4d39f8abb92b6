"""The way of unrolls from actors to the learner, through Reverb."""

from acme_impala.replay.adder import ActingExtras, UnrollAdder, block_of_one
from acme_impala.replay.dataset import UnrollDataset, in_background
from acme_impala.replay.mixing import MixedDataset
from acme_impala.replay.priorities import PriorityWriter
from acme_impala.replay.reader import ItemReader
from acme_impala.replay.recording import RecordedUnrolls, Recording, RecordingWriter
from acme_impala.replay.server import check_saved, in_this_process, save_tables, start_server
from acme_impala.replay.tables import (
    QUEUE,
    REPLAY,
    make_queue,
    make_queues,
    make_replay,
    unroll_signature,
)
from acme_impala.replay.writer import UnrollWriter

__all__ = [
    "QUEUE",
    "REPLAY",
    "ActingExtras",
    "ItemReader",
    "MixedDataset",
    "PriorityWriter",
    "RecordedUnrolls",
    "Recording",
    "RecordingWriter",
    "UnrollAdder",
    "UnrollDataset",
    "UnrollWriter",
    "block_of_one",
    "check_saved",
    "in_background",
    "in_this_process",
    "make_queue",
    "make_queues",
    "make_replay",
    "save_tables",
    "start_server",
    "unroll_signature",
]
