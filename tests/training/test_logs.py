"""TensorBoard's logs: what is logged is what is read in them."""

from pathlib import Path

from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from gqn.core.figure import Figure, save_png
from gqn.data.tfrecord import read_records
from gqn.training.logs import Logs


def test_numbers_and_pictures_are_read_as_they_were_logged(tmp_path: Path) -> None:
    png = tmp_path / "curves.png"
    save_png(Figure(figsize=(2, 1), dpi=50), png)
    with Logs(tmp_path) as logs:
        logs.scalar("loss", 0.5, 3)
        logs.picture("curves", png, 4)
    (file,) = tmp_path.glob("events*")
    events = [Event.FromString(record) for record in read_records(file)]
    (number,), (picture,) = (event.summary.value for event in events[-2:])
    assert [event.step for event in events[-2:]] == [3, 4]
    assert (number.tag, number.simple_value) == ("loss", 0.5)
    assert (picture.tag, picture.image.width, picture.image.height) == ("curves", 100, 50)
    assert picture.image.encoded_image_string == png.read_bytes()
    with Image.open(png) as image:
        assert len(image.getbands()) == picture.image.colorspace
