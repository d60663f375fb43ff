# SPDX-License-Identifier: GPL-3.0-or-later
"""One sitting of a training: all of its loop that is not about what is learned.

    with Sitting(run, plan, resume, limits) as sitting:
        network = Network().to(sitting.device)
        ...
        sitting.begin(network, ema, optimizer)
        while sitting.goes_on():
            batch = sitting.batch("stage", lambda seed: batches(seed))
            if batch is None:
                break
            rate = sitting.set_rate(learning_rate(sitting.fraction, sitting.step, peak))
            loss, parts = ...
            sitting.take(loss, parts)
            sitting.report(stage="stage", rate=rate)
            sitting.save_when_due()
        sitting.end()

It holds the run's folder, keeps time over sittings, averages gradients over processes, skips and goes back where
numbers go wrong, saves, and ends well when asked to stop.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from engine.errors import Cancelled, GaussmithError, OptionError
from engine.training.checkpoint import Saver, save_checkpoint
from engine.training.distributed import GroupLost, join_group
from engine.training.ema import Ema
from engine.training.feed import Feed
from engine.training.guard import Guard, Verdict, finite
from engine.training.interrupt import StopSignals
from engine.training.run_folder import RunFolder, RunPlan, attempt, open_run
from engine.training.schedule import TimeBudget
from engine.training.stats import Stats

B = TypeVar("B")

SAME_EVERY = 200
"""Steps after which all processes take the first one's weights: rounding differs between kinds of processors."""


@dataclass(frozen=True)
class Limits:
    """How long a training goes on, how large its steps may be, how often it saves."""

    minutes: float  # over all sittings
    batch: int  # examples of one process in one step
    clip: float = 1.0  # largest norm of the gradient
    seed: int = 0
    save_every: float = 180.0  # seconds
    figures_every: float = 600.0  # seconds
    clock: Callable[[], float] = time.monotonic  # by which `minutes` are counted, in seconds


class Sitting:
    """See the module's text. `step`, `examples` and `fraction` (of the minutes) count over all sittings."""

    def __init__(
        self, run: str | Path, plan: RunPlan, resume: bool, limits: Limits, device: str = "auto", command: str = ""
    ) -> None:
        """`command` is what continues the run when `--resume RUN` is added, to be told to who stops it."""
        self._run, self._plan, self._resume, self.limits = Path(run), plan, resume, limits
        self._wanted, self._command = device, command
        self._exit = ExitStack()
        self.step = self.examples = 0
        self.fraction = 0.0
        self.guard = Guard()
        self._stopping = False
        self._feed: Feed[Any] | None = None
        self._feed_of: tuple[str, int] | None = None

    def __enter__(self) -> "Sitting":
        with ExitStack() as exits:
            self.group = exits.enter_context(join_group(self._wanted))
            self.device = self.group.device
            self._stop = exits.enter_context(StopSignals(self.group.first))
            self.run: RunFolder = exits.enter_context(open_run(self._run, self._plan, self._resume, self.group))
            self._exit = exits.pop_all()
        first = self.group.first
        self.stats = Stats(self.run.path if first else None, self.say)
        self.saver = Saver(self.run.checkpoint, self.limits.save_every, self.say)
        self._budget = TimeBudget(self.limits.minutes, clock=self.limits.clock)
        self._figures_at = time.monotonic() + self.limits.figures_every
        shown = first and sys.stderr.isatty()
        self._bar = tqdm(total=100, unit="%", disable=not shown, bar_format="{l_bar}{bar}| {postfix}")
        self._exit.callback(self._bar.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if isinstance(error, GroupLost) and self.group.first:  # raised before a step is taken: all is whole
                self._save(self.saver.save)
        finally:
            self._exit.close()

    def say(self, sentence: str) -> None:
        """Tells the user, once for all processes."""
        if self.group.first:
            tqdm.write(sentence, file=sys.stderr)

    def begin(self, network: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
        """Goes on from the last checkpoint, or saves a first one: what a training that diverges early goes back to.

        Raises `InputError` where no checkpoint can be read, `OutputError` where the first cannot be written.
        """
        self.network, self.ema, self.optimizer = network, ema, optimizer
        saved = self.group.from_first(self.run.load)
        if saved:
            self._restore(saved)
            self.guard.load_state_dict(saved.get("guard", self.guard.state_dict()))
            self._budget = TimeBudget(self.limits.minutes, saved["seconds"], self.limits.clock)
            minutes = saved["seconds"] / 60
            self.say(f"Continuing {self.run.path} ({self.run.id}) at step {self.step}, {minutes:.1f} minutes used.")
        else:
            self.group.same_weights(network)
            ema.load_state_dict({name: value.detach() for name, value in network.state_dict().items()})
            self._budget = TimeBudget(self.limits.minutes, clock=self.limits.clock)
            self.group.from_first(lambda: save_checkpoint(self.run.checkpoint, self.state()))
        self._tell_notes()
        torch.manual_seed(self.seed())
        self._agree()

    def seed(self) -> int:
        """A seed that no other process has, and that changes with the step and with each recovery."""
        return self.group.seed(self.limits.seed + self.step + 7_919 * self.guard.recoveries)

    def goes_on(self) -> bool:
        """Whether there are minutes left and nobody asked to stop."""
        return self.fraction < 1 and not self._stopping

    def batch(self, stage: str, make: Callable[[int], Iterator[B]]) -> B | None:
        """The next batch of `make(seed)`; another stage, or going back, begins another stream.

        None where the training is to end, in all processes alike.
        """
        if self._feed_of != (stage, self.guard.recoveries):
            if self._feed_of is not None and self._feed_of[0] != stage:
                self.guard.new_stage()
            self._feed_of = (stage, self.guard.recoveries)
            self._feed = Feed(make, self.seed(), lambda: self._stop.asked, self.say)
        assert self._feed is not None
        batch = self._feed.next()
        self._agree()
        return batch if self.goes_on() else None

    def set_rate(self, rate: float) -> float:
        """Sets the learning rate, lowered after recoveries; returns what it is then."""
        rate *= self.guard.rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def take(self, loss: Tensor, parts: dict[str, float]) -> bool:
        """The step down the gradient of `loss`, and the moving average's; whether it was taken.

        A loss or gradient that is no number is skipped; where the guard says so, all goes back to the last checkpoint.
        Raises `TrainingError` where that did not help.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = list(self.network.parameters())
        self.group.average_gradients(parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.limits.clip))
        value = self.group.mean(float(loss.detach()))
        verdict = self.guard.judge(value, norm)
        if verdict is Verdict.STEP:
            self.optimizer.step()
            self.ema.update(self.network, self.step)
        self.stats.add(parts | {"loss": value, "grad_norm": norm, "skipped": float(verdict is not Verdict.STEP)})
        self.step += 1
        if self.step % SAME_EVERY == 0:
            self.group.same_weights(self.network)
        self.examples += self.limits.batch * self.group.size
        if verdict is Verdict.GO_BACK:
            self._go_back()
        return verdict is Verdict.STEP

    def report(self, **facts: float | str) -> dict[str, float | str | None]:
        """A line of figures since the last report, also shown beside the progress bar."""
        minutes = round(self._budget.elapsed() / 60, 2)
        line = self.stats.report(step=self.step, examples=self.examples, minutes=minutes, **facts)
        self._bar.n = round(100 * self.fraction, 1)
        loss = line.get("loss")
        self._bar.set_postfix_str(f"step {self.step} loss {'none' if loss is None else loss}")
        return line

    def attempt(self, work: Callable[[], object]) -> None:
        """Does what the training can go without, such as a picture grid; by the first process only."""
        if self.group.first:
            attempt(work, self.say)

    def figures_when_due(self, measure: Callable[[], dict[str, float]], better: str) -> None:
        """Measures on the first process, every so often, without the minutes running; adds a line to the figures.

        Where the figure named `better` is the highest so far, the run's `best.pt` takes the averaged weights.
        """
        if not self.group.first or time.monotonic() < self._figures_at or not self.guard.healthy:
            return
        with self._budget.paused():
            try:
                figures = measure()
            except GaussmithError as error:  # an early network may make nothing that can be measured
                self.say(f"No figures at step {self.step}: {error}")
                return
            finally:
                self._figures_at = time.monotonic() + self.limits.figures_every
        self.stats.write({"step": self.step, "examples": self.examples, "figures": figures})
        best = max((line["figures"][better] for line in self.stats.lines("figures")), default=figures[better])
        if figures[better] >= best:
            content = self.state() | {"figures": figures}
            del content["optimizer"]
            attempt(lambda: save_checkpoint(self.run.path / "best.pt", content), self.say)

    def save_when_due(self) -> None:
        """Saves every so often, where the training is healthy; a full disk is warned of and tried again."""
        if self.group.first and self.saver.due():
            self._save(self.saver.save)

    def end(self) -> None:
        """Saves the end. Raises `Cancelled` where somebody asked to stop, once it has said how to go on."""
        if self.group.first and not self._save(self.saver.save_last):
            self.say(f"The end was not saved, as {self.guard.reason}; the last good checkpoint is kept.")
        if self._stopping:
            where = f"step {self.step}, {self._budget.elapsed() / 60:.1f} of {self.limits.minutes:g} minutes"
            self.say(f"Stopped at {where}. To go on: {self._command} --resume {self.run.path}".rstrip())
            raise Cancelled()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "run": self.run.id,
            "system": self._plan.system,
            "preset": self._plan.preset,
            "settings": dict(self._plan.settings),
            "step": self.step,
            "examples": self.examples,
            "seconds": self._budget.elapsed(),
            "guard": self.guard.state_dict(),
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _agree(self) -> None:
        """The first process's time, and anyone's wish to stop, in all of them."""
        self.fraction, self._stopping = self.group.control(self._budget.fraction(), self._stop.asked)

    def _save(self, save: Callable[[dict[str, Any]], object]) -> bool:
        """Whether the training is healthy: only then is it saved."""
        if healthy := self.guard.healthy and finite(self.network):
            save(self.state())
        return healthy

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(saved["network"])
        except RuntimeError as error:  # names and shapes, one per line
            raise OptionError(
                f"The checkpoint in {self.run.path} is of another network: {str(error).splitlines()[-1].strip()}",
                "Give another --run folder; --start takes the weights that fit.",
            ) from error
        self.ema.load_state_dict({name: value.to(self.device) for name, value in saved["ema"].items()})
        try:
            self.optimizer.load_state_dict(saved["optimizer"])
        except (ValueError, KeyError):
            self.say("The checkpoint holds the state of another optimiser; this one begins anew.")
        self.step = saved["step"]
        self.examples = saved.get("examples", self.step * self.limits.batch)  # runs of before it was counted

    def _tell_notes(self) -> None:
        for note in self.run.notes:
            self.say(note)
        self.run.notes.clear()

    def _go_back(self) -> None:
        left = self.step
        told = self.guard.went_back()
        saved = self.group.from_first(self.run.load)
        assert saved is not None  # `begin` has saved one
        self._restore(saved)
        self._tell_notes()
        self.say(told)
        self.stats.write({"step": left, "event": told, "back_to": self.step, "recoveries": self.guard.recoveries})
