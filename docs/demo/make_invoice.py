#!/usr/bin/env python3
"""Draws invoice.pdf, the scanned document of the demo, from invoice.txt.

The demo needs a page that only recognition can read and whose text is known to the letter. So the text is kept
as the ground truth in invoice.txt (pages apart by a form feed) and drawn from it as grey pixels, slightly turned,
shaded and noisy as a flat-bed scanner leaves them. The PDF holds these pictures and no text layer. The same text
gives the same file.

Needs Pillow (tried with 13) and Debian's fonts-dejavu-core (Bitstream Vera licence, which lets documents be made
and passed on freely). The companies and people are made up.

    python3 docs/demo/make_invoice.py
"""

import random
from pathlib import Path
from time import gmtime

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).resolve().parent
FONTS = Path("/usr/share/fonts/truetype/dejavu")
DPI = 200
PAGE_PIXELS = (1654, 2339)  # A4 at 200 dpi
MARGIN_PIXELS = 190
LINE_PIXELS = 48
TURN_DEGREES = (0.4, -0.3)  # one for each page: nobody lays paper down straight
HEADINGS = {"Harbour Lane Archive Services", "Your collection of shipping records", "INVOICE"}
STRONG = ("Total due:",)
RULED = ("Subtotal:", "Total due:")  # a thin line is drawn above these


def font(name: str, points: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / name), round(points * DPI / 72))


def draw_page(text: str) -> Image.Image:
    """The clean page, black on white."""
    page = Image.new("L", PAGE_PIXELS, 255)
    pen = ImageDraw.Draw(page)
    plain = font("DejaVuSerif.ttf", 10.5)
    bold = font("DejaVuSerif-Bold.ttf", 10.5)
    heading = font("DejaVuSans-Bold.ttf", 13)
    y = MARGIN_PIXELS
    for line in text.strip("\n").split("\n"):
        face = heading if line in HEADINGS else bold if line.startswith(STRONG) else plain
        if line.startswith(RULED):
            pen.line((MARGIN_PIXELS, y - 10, MARGIN_PIXELS + 760, y - 10), fill=60, width=2)
            y += 8
        pen.text((MARGIN_PIXELS, y), line, font=face, fill=0)
        y += LINE_PIXELS + (10 if face is heading else 0)
    return page


def scan(page: Image.Image, turn_degrees: float, seed: int) -> Image.Image:
    """What a scanner makes of it: turned, soft, grey ink on grey paper, uneven light, grain."""
    turned = page.rotate(turn_degrees, resample=Image.Resampling.BICUBIC, fillcolor=255)
    soft = turned.filter(ImageFilter.GaussianBlur(0.6))
    inked = soft.point(lambda level: 52 + level * 184 // 255)
    light = Image.linear_gradient("L").rotate(90).resize(page.size).point(lambda level: 243 + level * 12 // 255)
    shaded = ImageChops.multiply(inked, light)
    grain = Image.frombytes("L", page.size, random.Random(seed).randbytes(page.width * page.height))
    grain = grain.filter(ImageFilter.GaussianBlur(0.7)).point(lambda level: level // 7)
    return ImageChops.subtract(shaded, grain, offset=18)


def main() -> None:
    texts = (HERE / "invoice.txt").read_text(encoding="utf-8").split("\f")
    pages = [scan(draw_page(text), turn, seed) for seed, (text, turn) in enumerate(zip(texts, TURN_DEGREES, strict=True))]
    day = gmtime(1794787200)  # fixed, so that the file is the same each time
    pages[0].save(
        HERE / "invoice.pdf",
        save_all=True,
        append_images=pages[1:],
        resolution=DPI,
        quality=30,
        title="Scanned invoice (demo)",
        creationDate=day,
        modDate=day,
    )


if __name__ == "__main__":
    main()
