"""Draw the schematic figures of the docs as SVG: a dilated ResNet, and ASPP."""

from html import escape

FONT = "font-family='Helvetica, Arial, sans-serif'"
INK, FAINT, BLUE, ORANGE, GREEN = "#1f2933", "#7b8794", "#2f6fb0", "#d9822b", "#2f9e6e"


class Drawing:
    """An SVG under construction, on a white ground so that it reads on dark pages too.

    Args:
        width, height: [pixels].
        title: for readers who do not see it.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img' {FONT}>"
            f"<title>{escape(title)}</title><rect width='{width}' height='{height}' rx='10' fill='#fff'/>"
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
            f"<path d='M0 0L8 4L0 8z' fill='{FAINT}'/></marker></defs>"
        )
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, size: int = 14, color: str = INK, anchor: str = "middle") -> None:
        self._parts.append(
            f"<text x='{x:g}' y='{y:g}' font-size='{size}' fill='{color}' text-anchor='{anchor}'>{escape(text)}</text>"
        )

    def bold(self, x: float, y: float, text: str, anchor: str = "middle") -> None:
        self._parts.append(
            f"<text x='{x:g}' y='{y:g}' font-size='15' font-weight='bold' fill='{INK}' text-anchor='{anchor}'>"
            f"{escape(text)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, color: str, opacity: float = 0.16) -> None:
        self._parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='4' fill='{color}' "
            f"fill-opacity='{opacity}' stroke='{color}' stroke-width='1.5'/>"
        )

    def grid(self, x: float, y: float, side: float, cells: int, color: str) -> None:
        """A square map of features, one cell per feature."""
        self.box(x, y, side, side, color)
        for line in range(1, cells):
            at = side * line / cells
            self._parts.append(
                f"<path d='M{x + at:g} {y:g}v{side:g}M{x:g} {y + at:g}h{side:g}' stroke='{color}' "
                "stroke-width='.6' stroke-opacity='.7' fill='none'/>"
            )

    def taps(self, x: float, y: float, dilation: int, color: str, step: float = 5.5) -> None:
        """The nine taps of a 3x3 convolution on a grid of 9 x 9 features around (x, y)."""
        half = 4 * step
        self.grid(x - half - step / 2, y - half - step / 2, 9 * step, 9, "#b8c2cc")
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                left, top = x + (column * dilation - 0.5) * step, y + (row * dilation - 0.5) * step
                self._parts.append(
                    f"<rect x='{left:g}' y='{top:g}' width='{step:g}' height='{step:g}' fill='{color}'/>"
                )

    def arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        self._parts.append(
            f"<path d='M{x:g} {y:g}L{to_x:g} {to_y:g}' stroke='{FAINT}' stroke-width='1.5' fill='none' "
            "marker-end='url(#tip)'/>"
        )

    def svg(self) -> str:
        return self._head + "".join(self._parts) + "</svg>\n"


def dilated_resnet() -> str:
    """The four stages of a ResNet at output stride 32, 16 and 8, for an image of 512 x 512."""
    drawing = Drawing(680, 570, "The stages of a ResNet at output stride 32, 16 and 8")
    names = ("image", "stem", "stage 1", "stage 2", "stage 3", "stage 4")
    middles = (70, 198, 304, 408, 510, 612)
    for name, middle in zip(names, middles, strict=True):
        drawing.bold(middle, 30, name)
    rows = (
        (32, (512, 128, 128, 64, 32, 16), (0, 0, 1, 1, 1, 1)),
        (16, (512, 128, 128, 64, 32, 32), (0, 0, 1, 1, 1, 2)),
        (8, (512, 128, 128, 64, 64, 64), (0, 0, 1, 1, 2, 4)),
    )
    sides = {512: 100, 128: 76, 64: 60, 32: 44, 16: 30}
    for row, (stride, sizes, dilations) in enumerate(rows):
        top = 50 + 168 * row
        drawing.text(20, top + 10, f"output_stride={stride}", 14, BLUE, "start")
        right = 0.0
        for middle, size, dilation in zip(middles, sizes, dilations, strict=True):
            side = sides[size]
            if right:
                drawing.arrow(right + 4, top + 66, middle - side / 2 - 3, top + 66)
            right = middle + side / 2
            if size == 512:
                drawing.box(20, top + 22, side, 88, FAINT)
                drawing.text(middle, top + 71, "512 x 512")
                continue
            color = ORANGE if dilation > 1 else BLUE
            drawing.grid(middle - side / 2, top + 66 - side / 2, side, size // 8, color)
            drawing.text(middle, top + 124, f"{size} x {size}")
            if dilation:
                drawing.text(middle, top + 142, f"dilation {dilation}", 13, color if dilation > 1 else FAINT)
    drawing.text(
        340, 556, "A cell stands for 8 x 8 features. Orange stages are dilated: they do not stride.", 13, FAINT
    )
    return drawing.svg()


def aspp() -> str:
    """ASPP at output stride 16, with the taps of each branch."""
    drawing = Drawing(700, 470, "ASPP: five branches side by side, concatenated and projected")
    drawing.box(12, 180, 96, 100, BLUE)
    drawing.bold(60, 227, "features")
    drawing.text(60, 248, "stride 16", 13, FAINT)
    branches = (
        ("1x1 convolution", "each feature alone", 0),
        ("3x3 convolution, rate 6", "96 pixels to each side", 1),
        ("3x3 convolution, rate 12", "192 pixels to each side", 2),
        ("3x3 convolution, rate 18", "288 pixels to each side", 3),
        ("image pooling", "the whole image", -1),
    )
    for row, (name, reach, dilation) in enumerate(branches):
        top = 20 + 86 * row
        middle = top + 36
        drawing.arrow(110, 230, 153, middle)
        drawing.box(156, top, 240, 72, ORANGE if dilation > 0 else GREEN, 0.1)
        if dilation > 0:
            drawing.taps(192, middle, dilation, ORANGE)
        elif dilation == 0:
            drawing.taps(192, middle, 0, GREEN)
        else:
            drawing.box(192 - 24.75, middle - 24.75, 49.5, 49.5, GREEN, 0.6)
        drawing.text(226, middle - 4, name, 14, INK, "start")
        drawing.text(226, middle + 16, reach, 12, FAINT, "start")
        drawing.arrow(398, middle, 441, 200 + 15 * row)
    drawing.box(444, 160, 86, 140, BLUE)
    drawing.bold(487, 227, "concat")
    drawing.text(487, 248, "5 x 256", 13, FAINT)
    drawing.arrow(532, 230, 567, 230)
    drawing.box(570, 180, 118, 100, BLUE)
    drawing.bold(629, 222, "1x1, dropout")
    drawing.text(629, 245, "256 channels", 13, FAINT)
    drawing.text(
        350, 458, "Taps are drawn at a sixth of their distance. At output stride 8 the rates double.", 13, FAINT
    )
    return drawing.svg()
