"Executors whose stages only write their facts: in threads, and as wrongly as asked"

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dialsum.runs.events import log_event
from dialsum.runs.facts import make_fact, write_fact


class MachineGone(Exception):
    "What these executors raise when they say that a machine was lost"


def succeed(spec, status="success"):
    "What a stage's process does, without a notebook"
    log_event(spec.run, "start", **spec.key_fields, attempt=spec.attempt)
    spec.folder.mkdir(parents=True, exist_ok=True)
    fact = make_fact(
        spec.run,
        spec.stage,
        status,
        spec.model,
        spec.fold,
        params=spec.all_params,
        attempt=spec.attempt,
    )
    write_fact(spec.run, spec.fact, fact)
    log_event(spec.run, "end", **spec.key_fields, attempt=spec.attempt, status=status, seconds=0)


class Nodes:
    "So many machines; what a stage does there is told by its key, and is to succeed where nothing is told"

    def __init__(self, workers=4, patience=0.0, acts=None):
        self.workers, self.patience, self.acts = workers, patience, acts or {}
        self.pool = ThreadPoolExecutor(workers, "node")
        self.tasks, self.resources, self.at_work, self.lock = [], {}, 0, threading.Lock()
        self.stopped, self.asked = 0, 0

    def has_room(self, **resources):
        self.asked += 1
        return self.at_work < self.workers

    def submit(self, task, **resources):
        with self.lock:
            self.at_work += 1
        self.tasks.append(task)
        self.resources[task.spec.key] = resources
        future = self.pool.submit(self.acts.get(task.spec.key, succeed), task.spec)
        future.add_done_callback(self.leave)
        return future

    def leave(self, future):
        with self.lock:
            self.at_work -= 1

    def lost(self, error):
        return isinstance(error, MachineGone)

    def stop(self):
        self.stopped += 1
        self.pool.shutdown(cancel_futures=True)

    def attempts(self, key):
        return [task.spec.attempt for task in self.tasks if task.spec.key == key]


def later(seconds, spec):
    "A folder that shows a fact late"
    thread = threading.Thread(target=lambda: (time.sleep(seconds), succeed(spec)))
    thread.start()
    return thread
