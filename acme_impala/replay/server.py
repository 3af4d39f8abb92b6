"""A Reverb server whose tables are saved, and that goes on from saved tables."""

import pathlib
import shutil
from collections.abc import Callable, Iterable

import reverb
import tensorflow as tf
from absl import logging
from reverb import reverb_types

from acme_impala.replay import tables
from acme_impala.replay.reader import untuned

_SETTINGS = "settings.txt"  # Beside what Reverb writes.


def start_server(
    make_tables: Callable[[], list[reverb.Table]],
    port: int | None,
    directory: str,
    saved: str | None = None,
) -> reverb.Server:
    """Starts a server, with empty queues.

    Unrolls that waited in a queue when it was saved were acted by a policy of that time. To
    Reverb, saved tables come with the settings that they were saved with: where these are other
    ones now, the server starts without what was saved.

    Args:
        make_tables: makes the tables.
        port: None for any.
        directory: where Reverb writes its tables when it is asked to; empty, for it loads the
            newest that it finds there, whatever that belongs to.
        saved: what `save_tables` saved, to fill the tables from.
    """
    made = make_tables()
    if saved and (pathlib.Path(saved) / _SETTINGS).read_text() != _describe(t.info for t in made):
        logging.warning(
            "The replay table in %s was saved with other settings (of replay, batches or actors). "
            "The run goes on with an empty one.",
            saved,
        )
        saved = None
    checkpointer = reverb.checkpointers.DefaultCheckpointer(
        directory, fallback_checkpoint_path=saved
    )
    server = reverb.Server(made, port, checkpointer)
    client = reverb.Client(f"localhost:{server.port}")
    for queue in tables.queues_of({table.name: table.info for table in made}):
        client.reset(queue)
    return server


def save_tables(client: reverb.Client, path: pathlib.Path):
    """Lets a server write its tables, and moves that out of its sight.

    Reverb deletes what it wrote before. But that is needed until whatever else belongs to the same
    checkpoint has been written too.

    Args:
        client: of the server.
        path: where they are to be, on the disk of the server's directory. What is there is deleted.
    """
    written = pathlib.Path(client.checkpoint())
    (written / _SETTINGS).write_text(_describe(client.server_info().values()))
    if path.exists():  # Of a start that was killed before it could write the rest.
        shutil.rmtree(path)
    written.rename(path)


def in_this_process(client: reverb.Client) -> reverb.Client:
    """A client of the same server, in whose process this is.

    Only at the address `localhost` does Reverb look for a server whose memory it can read; at any
    other of this machine's it takes unrolls through gRPC.
    """
    port = client.server_address.rpartition(":")[2]
    return reverb.Client(f"localhost:{port}")


def check_saved(path: pathlib.Path):
    """Reads what `save_tables` saved. Every record of it has a checksum.

    Raises:
        Exception: something is missing or broken.
    """
    if not all((path / name).exists() for name in ("DONE", _SETTINGS)):
        raise ValueError(f"{path} was not written to its end.")
    files = [str(path / name) for name in ("tables.tfrecord", "chunks.tfrecord")]
    with tf.device("/CPU:0"):
        for _ in tf.data.TFRecordDataset(files).with_options(untuned()):
            pass


def _describe(infos: Iterable[reverb_types.TableInfo]) -> str:
    """What was chosen about tables, without what happened to them since."""

    def describe(info: reverb_types.TableInfo) -> str:
        limiter = info.rate_limiter_info
        return "\n".join(
            [
                f"table: {info.name}",
                f"sampler: {info.sampler_options}",
                f"remover: {info.remover_options}",
                f"max_size: {info.max_size}",
                f"max_times_sampled: {info.max_times_sampled}",
                f"samples_per_insert: {limiter.samples_per_insert}",
                f"differences: {limiter.min_diff} {limiter.max_diff}",
                f"min_size_to_sample: {limiter.min_size_to_sample}",
                f"signature: {info.signature}",
            ]
        )

    return "\n".join(sorted(map(describe, infos)))
