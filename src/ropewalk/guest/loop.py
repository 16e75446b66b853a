"""Runs a coroutine without an event loop for as long as it asks for none.

A method that only makes host calls never needs a loop: these block. So its coroutine is stepped by hand, while a *dormant* loop stands where
asyncio looks for the running one. The first thing that asks anything of it (`sleep`, `gather`, `timeout`, an HTTP library) wakes it:
the same object becomes a real loop, with a real Task for the coroutine, which is handed over at its next `await`.

Before: `attempt`, which gives the coroutine. After: asyncio, or nothing at all. What is promised is what `asyncio.run` does: one context for
all steps, leftover tasks cancelled, async generators closed, failures that nobody looked at reported. The names with an underscore are
asyncio's own interface for loops and tasks made elsewhere; the tests run on every supported Python.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import selectors
import sys
from asyncio import events, tasks
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar, TypeVarTuple, cast
from weakref import WeakSet

from ropewalk.wire.control import THREADS

T = TypeVar("T")
Args = TypeVarTuple("Args")

log = logging.getLogger("ropewalk")

_Executor = concurrent.futures.ThreadPoolExecutor  # imported by being named, before any fork

_WORKERS = THREADS - 4
"""Threads that `asyncio.to_thread` uses: on a large machine asyncio itself would take more than there may be."""


class Loop(asyncio.SelectorEventLoop):
    """The event loop of an attempt, once something has asked for one. It remembers its tasks, to report what they raised."""

    _made: WeakSet[asyncio.Task[Any]]
    _asyncgens: WeakSet[AsyncGenerator[Any, Any]]
    _stepped_by_hand = False

    def begin(self) -> None:
        """Be made, in place of a dormant loop."""
        # poll() needs no descriptor of its own, and an attempt has few of others.
        super().__init__(selectors.PollSelector())
        self._made = WeakSet()
        self._stepped_by_hand = True

    def is_running(self) -> bool:
        """Whether the coroutine is being stepped, by hand or by this loop."""
        return self._stepped_by_hand or super().is_running()

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task and remember it."""
        task = super().create_task(coro, **options)
        self._made.add(task)
        return task

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[*Args], T], *args: *Args
    ) -> asyncio.Future[T]:
        """Run a function in a thread; in one of a few when no executor is named."""
        if executor is None and getattr(self, "_default_executor", None) is None:
            self.set_default_executor(_Executor(_WORKERS, thread_name_prefix="asyncio"))
        return super().run_in_executor(executor, func, *args)

    def take_over(self, generators: Iterable[AsyncGenerator[Any, Any]]) -> None:
        """Take over from the hand that stepped, and these generators to close at the end."""
        self._stepped_by_hand = False
        self._asyncgens.update(generators)

    def wind_up(self) -> None:
        """Cancel what still runs, close async generators, and log the exceptions that nobody has looked at."""
        left = asyncio.all_tasks(self)
        if left:
            log.warning("%d tasks still ran when the method ended, and were cancelled: await what has to be done", len(left))
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.wait(left))
        self.run_until_complete(self.shutdown_asyncgens())
        for task in self._made:
            if task.done() and getattr(task, "_log_traceback", False) and not task.cancelled():
                self.call_exception_handler(
                    {"message": "Task exception was never retrieved", "exception": task.exception(), "task": task}
                )


class DormantLoop(Loop):
    """Stands where the running loop is looked for, and becomes a `Loop`, the same object, when anything is asked of it.

    Its hash counts as a question: asyncio looks up the current task by the running loop.
    """

    def __init__(self, on_wake: Callable[[], None]) -> None:
        object.__setattr__(self, "_on_wake", on_wake)

    def __getattribute__(self, name: str) -> Any:
        wake(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        wake(self)
        setattr(self, name, value)

    def __hash__(self) -> int:
        wake(self)
        return hash(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __del__(self) -> None:
        """Nothing was opened."""


def wake(loop: Loop) -> None:
    """Make a dormant loop a real one; of no effect on a real one."""
    if type(loop) is DormantLoop:
        on_wake = object.__getattribute__(loop, "_on_wake")
        object.__setattr__(loop, "__class__", Loop)
        loop.begin()
        on_wake()


class Resumed(Coroutine[Any, Any, Any]):
    """The rest of a coroutine whose first step was made by hand, as a coroutine for a Task to go on with."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._first: Callable[[], Any] | None = None

    def waits_for(self, awaited: Any) -> None:
        """Say what the first step yielded."""
        self._first = lambda: awaited

    def ended_by(self, error: BaseException) -> None:
        """Say what the first step ended with: StopIteration with the result, or what it raised."""

        def fail() -> Any:
            raise error

        self._first = fail

    def send(self, value: Any) -> Any:
        """Go on; at first, with what was yielded to the hand that made the first step."""
        first, self._first = self._first, None
        return self._coroutine.send(value) if first is None else first()

    def throw(self, error: Any, *rest: Any) -> Any:
        """Raise within the coroutine. A cancellation that came during the first step cancels what that waits for, as in any task."""
        first, self._first = self._first, None
        if first is not None:
            awaited = first()
            if isinstance(error, asyncio.CancelledError) and asyncio.isfuture(awaited) and awaited.cancel():
                return awaited
        return self._coroutine.throw(error, *rest)

    def close(self) -> None:
        """Close the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)


class Driver:
    """Runs one coroutine.

    Args:
        on_loop: called with the loop when there is one.
    """

    def __init__(self, on_loop: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self._loop = DormantLoop(self._woken)
        self._on_loop = on_loop
        self._context = contextvars.copy_context()
        self._begun: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()
        self._dropped: list[AsyncGenerator[Any, Any]] = []
        self._resumed: Resumed | None = None
        self._task: asyncio.Task[Any] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine to its end and return its result. Raises what it raises."""
        whole = self._closing_generators(coroutine)
        self._resumed = resumed = Resumed(whole)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._begun.add, finalizer=self._dropped.append)
        events._set_running_loop(self._loop)  # noqa: SLF001 — see the module's docstring
        try:
            resumed.waits_for(self._context.run(whole.send, None))
        except StopIteration as end:
            if self._task is None:
                return cast("T", end.value)
            resumed.ended_by(end)
        except BaseException as error:
            if self._task is None:
                raise
            resumed.ended_by(error)
        finally:
            events._set_running_loop(None)  # noqa: SLF001
            sys.set_asyncgen_hooks(*hooks)
        return cast("T", self._go_on())

    def close(self) -> None:
        """Close the loop, if there is one."""
        if self._task is not None:
            self._loop.close()

    def _go_on(self) -> Any:
        """Hand the coroutine over to the loop and run that until the coroutine ends."""
        loop = self._loop
        wake(loop)
        assert self._task is not None
        tasks._leave_task(loop, self._task)  # noqa: SLF001
        loop.take_over(self._begun)
        try:
            return loop.run_until_complete(self._task)
        finally:
            loop.wind_up()

    def _woken(self) -> None:
        """Make the coroutine's Task, in the middle of its first step or right after it."""
        self._task = self._loop.create_task(self._resumed, context=self._context)
        tasks._enter_task(self._loop, self._task)  # noqa: SLF001
        self._on_loop(self._loop)

    async def _closing_generators(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await the coroutine, then close the async generators that it began while there was no loop to close them."""
        try:
            return await coroutine
        finally:
            if self._begun or self._dropped:
                for generator in [*self._dropped, *self._begun]:
                    await _close(generator)


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    try:
        await generator.aclose()
    except Exception:
        # As asyncio does: the coroutine's own outcome stands.
        log.exception("closing the async generator %r failed", generator)
