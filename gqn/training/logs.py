"""TensorBoard logs of a run."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from PIL import Image
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

FLUSH_INTERVAL = 10.0  # seconds
RGBA = 4  # as TensorBoard numbers colour spaces


class Logs:
    """TensorBoard logs in a folder, on the disk as they come.

    Where the disk takes no more, a line says so and what follows is not logged: tensorboardX's own writer would block
    for ever.

    Args:
        folder: where the events go.
        step: what an earlier, longer run logged from this step on is hidden.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.folder, self._flushed = folder, 0.0
        self._events: EventsWriter | None = None
        with self._going_on():
            self._events = EventsWriter(str(folder / "events"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Log a number."""
        self._write(Event(step=step, summary=summary.scalar(name, value)))

    def picture(self, name: str, png: Path, step: int) -> None:
        """Log a picture as it lies in a file."""
        with Image.open(png) as file:
            width, height = file.size
        shown = Summary.Image(height=height, width=width, colorspace=RGBA, encoded_image_string=png.read_bytes())
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, image=shown)])))

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._events:
            with suppress(OSError):
                self._events.close()

    def _write(self, event: Event) -> None:
        if self._events:
            with self._going_on():
                event.wall_time = time.time()
                self._events.write_event(event)
                if time.monotonic() - self._flushed > FLUSH_INTERVAL:
                    self._events.flush()
                    self._flushed = time.monotonic()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            print(f"{self.folder}: {error.strerror or error}: TensorBoard's logs end here", file=sys.stderr)
            events, self._events = self._events, None
            with suppress(OSError):
                if events:
                    events.close()
