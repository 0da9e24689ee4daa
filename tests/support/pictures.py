"What a diagram's SVG shows, as boxes and points in pixels"

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from dialsum.report.diagrams.drawing import SIZE, text_width


@dataclass(frozen=True)
class Area:
    "A rectangle"

    left: float
    top: float
    right: float
    bottom: float
    text: str = ""
    look: str = ""  # class

    def meets(self, other: "Area") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Area") -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def has(self, point: tuple[float, float]) -> bool:  # not on its edge
        return self.left + 0.5 < point[0] < self.right - 0.5 and self.top + 0.5 < point[1] < self.bottom - 0.5


def _text_area(element) -> Area:  # as wide as the drawing takes it to be
    bold = element.get("font-weight") == "600"
    size = float(element.get("font-size", SIZE))
    width = text_width(element.text) * size / SIZE * (1.06 if bold else 1)
    x, y = float(element.get("x")), float(element.get("y"))
    left = x - dict(middle=0.5, end=1.0).get(element.get("text-anchor"), 0.0) * width
    look = "bold" if bold else element.get("class", "")
    return Area(left, y - 0.8 * size, left + width, y + 0.2 * size, element.text, look)


def _rect_area(element) -> Area:
    x, y, width, height = (float(element.get(name)) for name in ("x", "y", "width", "height"))
    return Area(x, y, x + width, y + height, look=element.get("class"))


def _curve_points(path: str) -> list[tuple[float, float]]:  # of M, L and C with absolute coordinates
    points: list[tuple[float, float]] = []
    for letter, numbers in re.findall(r"([MLC])([-\d. ]+)", path):
        values = [float(n) for n in numbers.split()]
        ends = list(zip(values[::2], values[1::2]))
        if letter == "M":
            points += ends
            continue
        begin = points[-1]
        a, b = (begin, ends[0]) if letter == "L" else ends[:2]
        for i in range(1, 41):
            t = i / 40
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            corners = (begin, a, b, ends[-1])
            points.append(tuple(sum(w * c[k] for w, c in zip(weights, corners)) for k in (0, 1)))
    return points


@dataclass(frozen=True)
class Picture:
    "An SVG"

    frame: Area
    texts: list[Area]
    boxes: list[Area]  # of a flowchart
    bars: list[Area]  # of a Gantt chart
    arrows: list[list[tuple[float, float]]]  # points along each


def read_picture(svg: str) -> Picture:
    "What a diagram of ours shows; fails where it has no size of its own"
    root = ElementTree.fromstring(svg)
    elements = [(e.tag.split("}")[-1], e) for e in root.iter()]
    assert "style" not in root.attrib, "it may be shrunk"
    frame = Area(0, 0, float(root.get("width")), float(root.get("height")))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    rects = [e for tag, e in elements if tag == "rect"]
    return Picture(
        frame,
        [_text_area(e) for tag, e in elements if tag == "text"],
        [_rect_area(e) for e in rects if e.get("rx") == "5"],
        [_rect_area(e) for e in rects if e.get("rx") == "3"],
        [_curve_points(e.get("d")) for tag, e in elements if tag == "path" and e.get("class") == "line"],
    )
