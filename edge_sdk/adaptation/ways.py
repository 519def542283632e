"""What each way of a task (whole on the device, or split with the server) takes of a device. Pure.

Memory is the peak that was seen of the way and stage, the least of all times, because the counter
never falls within a process. Before there is one, with the server's estimates of what training
takes beyond the program (`Task.split`):

    peak = base + working(way)

where base is the other way's peak less its own working memory if that was seen, else what the
process held at most so far and what loading the training runtime adds. Where nothing tells, memory
is not known, and forbids nothing.

A split step moves what the task says. Its time and joules are those seen; before that they are a
whole step's with the transfers added: the device's layers are fewer but run forward twice.
"""

from dataclasses import dataclass
from statistics import median

from edge_sdk.adaptation.learned import Learned, mean
from edge_sdk.adaptation.rates import forecast
from edge_sdk.values import Goodput, Reading, Task, Way

RUNTIME_BYTES = 32_000_000
"""That onnxruntime with a small model adds to a device's process: from 68 to 103 MB, measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Bytes of one way of doing a task."""

    up_bytes: int
    """The update."""
    down_bytes: int
    """The model."""
    step_up_bytes: int = 0
    """Besides, for each step: activations. Nothing when training whole."""
    step_down_bytes: int = 0

    def total_bytes(self, steps: int) -> int:
        """Both directions, with so many steps."""
        each = self.step_up_bytes + self.step_down_bytes
        return self.up_bytes + self.down_bytes + steps * each

    def most_steps(self, bytes_left: int) -> int | None:
        """Steps that so many bytes allow; None: as many as one likes."""
        each = self.step_up_bytes + self.step_down_bytes
        rest = bytes_left - self.up_bytes - self.down_bytes
        return None if not each else max(0, rest // each)


def size_of(task: Task, stage: int) -> int | None:
    """Trainable parameters of a stage; None where the task does not tell."""
    return task.stage_sizes[stage] if stage < len(task.stage_sizes) else None


def ways_of(task: Task, stage: int) -> tuple[Way, ...]:
    """The ways in which a stage may be trained, preferred first."""
    whole = stage == task.stage and not task.warm_up
    return tuple(way for way in task.ways if way == "full" or whole)


def moved(state: Learned, task: Task, *, way: Way, stage: int, codec: str) -> Moved:
    """Bytes up and down. Without sizes the download serves as a float32 copy of the model."""
    known = state.of_codec(codec)
    bits = known.bits if known and known.bits else forecast(codec).bits
    offer = task.split
    if way == "split" and offer is not None:
        down = 4 * offer.parameters if offer.download_bytes is None else offer.download_bytes
        return Moved(
            up_bytes=int(bits * offer.parameters / 8),
            down_bytes=down,
            step_up_bytes=offer.batch_up_bytes,
            step_down_bytes=offer.batch_down_bytes,
        )
    down = task.download_bytes or 0
    size, whole = size_of(task, stage), size_of(task, task.stage)
    if size and whole:
        down = int(down * size / whole)
    return Moved(up_bytes=int(bits * (down / 4 if size is None else size) / 8), down_bytes=down)


def a_step(
    state: Learned, task: Task, moves: Moved, link: Goodput, *, way: Way, stage: int
) -> tuple[float | None, float | None]:
    """Seconds and joules of one step; of an unknown stage by its size from a known one."""
    known = state.of_stage(stage, warm_up=task.warm_up, way=way)
    if known is not None:
        return mean(known.seconds_a_step), mean(known.joules_a_step)
    if way == "split":
        return _split_step(state, task, moves, link, stage)
    size = size_of(task, stage)
    for other in state.stages:
        other_size = size_of(task, other.stage)
        if size and other_size and other.way == "full":
            # A larger stage takes at most as much more as it has parameters more, or blocks.
            factor = max(size / other_size, (stage + 1) / (other.stage + 1))
            seconds, joules = mean(other.seconds_a_step), mean(other.joules_a_step)
            return seconds and seconds * factor, joules and joules * factor
    return None, None


def _split_step(
    state: Learned, task: Task, moves: Moved, link: Goodput, stage: int
) -> tuple[float | None, float | None]:
    seconds, joules = a_step(state, task, moves, link, way="full", stage=stage)
    if seconds is not None and link.up_bytes_per_s and link.down_bytes_per_s:
        seconds += link.latency_s * (1 if task.split is None else task.split.batch_messages)
        seconds += moves.step_up_bytes * (1 + link.up_margin) / link.up_bytes_per_s
        seconds += moves.step_down_bytes * (1 + link.down_margin) / link.down_bytes_per_s
    extra = transfer_j(state, link, moves.step_up_bytes, moves.step_down_bytes)
    return seconds, None if joules is None or extra is None else joules + extra


def transfer_j(state: Learned, link: Goodput, up_bytes: int, down_bytes: int) -> float | None:
    """Joules of moving so much: watts for as long as it takes. None before any transfer told."""
    watts = mean(state.transfer_watts)
    if watts is None or link.up_bytes_per_s is None:
        return None
    seconds = 2 * link.latency_s + up_bytes / link.up_bytes_per_s
    if link.down_bytes_per_s is not None:
        seconds += down_bytes / link.down_bytes_per_s
    return watts * seconds


def untrained_j(state: Learned, link: Goodput, moves: Moved) -> float | None:
    """Joules of a round without its training: transfers, and what it costs however little moves."""
    moving_j = transfer_j(state, link, moves.up_bytes, moves.down_bytes)
    return None if moving_j is None else moving_j + median(state.overhead_j or (0.0,))


def expected_peak(state: Learned, task: Task, now: Reading, *, way: Way, stage: int) -> int | None:
    """Bytes that the process is expected to hold at most; None where nothing tells."""
    known = state.of_stage(stage, warm_up=task.warm_up, way=way)
    if known is not None and known.peak_bytes is not None:
        return known.peak_bytes
    offer = task.split
    if offer is None:
        return None
    split, full = offer.working_bytes, offer.full_working_bytes
    own, others = (split, full) if way == "split" else (full, split)
    other = state.of_stage(
        task.stage, warm_up=task.warm_up, way="full" if way == "split" else "split"
    )
    if other is not None and other.peak_bytes is not None:
        return max(0, other.peak_bytes - others) + own
    return None if now.resident_bytes is None else now.resident_bytes + RUNTIME_BYTES + own


def free_for_training(now: Reading) -> int | None:
    """Bytes the process can hold before the machine has none left; None where nothing tells."""
    if now.resident_bytes is None or now.free_memory_bytes is None:
        return None
    return now.resident_bytes + now.free_memory_bytes
