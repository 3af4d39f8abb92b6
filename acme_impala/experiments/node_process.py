"""A process for nodes that a supervisor starts.

    python -m acme_impala.experiments.node_process <descriptor> <name>

Its standard input carries `messages`: what to run, and then the news. The end of it is the end of
whoever started the process, and of the process. What it has to say goes as lines into a pipe, of
which it has the descriptor. Its name is for whoever lists processes.
"""

import os
import signal
import sys
import threading

import acme_impala  # noqa: F401 (before TensorFlow, for which it sets what must be set)

# ruff: isort: split
import cloudpickle
import launchpad as lp
from absl import flags
from launchpad.launch import worker_manager

from acme_impala.experiments import keepalive, membership, messages

_INPUT = 0


def main():
    """Runs a task to its end."""
    flags.FLAGS([sys.argv[0]])  # Launchpad has some.
    events = os.fdopen(int(sys.argv[1]), "w")
    is_said = threading.Lock()

    def ask_for_stop(*_, **__):
        if is_said.acquire(blocking=False):
            print(messages.STOP, file=events, flush=True)

    manager = worker_manager.WorkerManager(register_in_thread=True, register_signals=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Of a terminal; the supervisor heeds it.
    signal.signal(signal.SIGTERM, ask_for_stop)
    task = messages.read(_INPUT)
    member = membership.Membership(task.life)
    membership.join(member)
    keepalive.start()
    is_known = threading.Event()  # To the others, with its addresses.

    def listen():
        try:
            while True:
                news = messages.read(_INPUT)
                if news.stop and not is_known.is_set():
                    os._exit(0)  # It has done nothing yet.
                if news.stop:
                    manager.stop_event().set()
                member.update(news)
                if news.lives.get(task.name) == task.life:
                    is_known.set()
        except EOFError:
            os._exit(1)

    threading.Thread(target=listen, name="news", daemon=True).start()
    node = cloudpickle.loads(task.node)
    is_known.wait()
    node._launch_context.initialize(lp.LaunchType.LOCAL_MULTI_PROCESSING, None, ask_for_stop)
    node.function()


if __name__ == "__main__":
    main()
