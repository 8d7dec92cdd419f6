"""PDF files that declare, nest, lock or promise too much."""

import zlib
from collections.abc import Iterator

from tests.hostile.files import HostileFile, pdf, pdf_page, stream

_CATALOG = "<< /Type /Catalog /Pages 2 0 R >>"
_BOXES = (
    "0 0 14400 14400",
    "0 0 1000000000 1000000000",
    "0 0 1e38 1e38",
    "0 0 1e9 1",
    "0 0 0 0",
    "0 0 -5 -5",
    "100 100 0 0",
    "nan nan nan nan",
    "0 0 1e-9 1e-9",
    "0 0 0.5 30000",
)
_LOCK = "/Filter /Standard /V 1 /R 2 /P -4 /O <{0}> /U <{0}>"


def _pages(kids: str, count: int) -> str:
    return f"<< /Type /Pages /Kids [{kids}] /Count {count} >>"


def pdfs() -> Iterator[HostileFile]:
    """Each is refused with a reason or drawn, within the limits of a worker."""
    yield HostileFile("name-only.pdf", b"%PDF-1.7", "refused")
    yield HostileFile("late-header.pdf", b"\n" * 900 + pdf_page())
    yield HostileFile("no-pages.pdf", pdf(_CATALOG, _pages("", 0)), "refused")
    yield HostileFile("pages-declared.pdf", pdf(_CATALOG, _pages("", 2_000_000_000)), "refused")
    yield HostileFile("cycle.pdf", pdf(_CATALOG, _pages("2 0 R", 1)))
    deep = [_pages(f"{number} 0 R", 1) for number in range(3, 5_003)]
    yield HostileFile("nested-pages.pdf", pdf(_CATALOG, *deep))
    for box in _BOXES:
        yield HostileFile(f"box-{box.replace(' ', '_')}.pdf", pdf_page(box=box))
    lock = f"/Root 1 0 R /ID [<00><00>] /Encrypt << {_LOCK.format('00' * 32)} >>"
    yield HostileFile("locked.pdf", pdf(_CATALOG, _pages("", 0), trailer=lock), "refused")
    script = "<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (while(1);) >> >>"
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>"
    yield HostileFile("script.pdf", pdf(script, _pages("3 0 R", 1), page), "opens")
    yield from _content()
    yield from _images()


def _content() -> Iterator[HostileFile]:
    """Pages that take long to draw."""
    yield HostileFile("nested-states.pdf", pdf_page(b"q " * 300_000 + b"0 0 9 9 re f"))
    yield HostileFile("nested-arrays.pdf", pdf_page(b"[" * 500_000))
    form = "/Type /XObject /Subtype /Form /BBox [0 0 200 100]"
    forms = [
        stream(b"/X Do /X Do", f"{form} /Resources << /XObject << /X {number + 1} 0 R >> >>")
        for number in range(5, 45)
    ]
    leaf = stream(b"0 0 9 9 re f", form)
    data = pdf_page(b"/X Do", resources="/XObject << /X 5 0 R >>", more=[*forms, leaf])
    yield HostileFile("forms-doubling.pdf", data)
    own = stream(b"/X Do", f"{form} /Resources << /XObject << /X 5 0 R >> >>")
    data = pdf_page(b"/X Do", resources="/XObject << /X 5 0 R >>", more=[own])
    yield HostileFile("form-of-itself.pdf", data)
    lines = b" ".join(b"%d 0 m 0 %d l S" % (n % 200, n % 100) for n in range(900_000))
    yield HostileFile("many-lines.pdf", pdf_page(b"0.1 w " + lines))
    pattern = "/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 1 1]"
    tile = stream(b"0 0 1 1 re f", f"{pattern} /XStep 0.0001 /YStep 0.0001 /Resources << >>")
    drawn = b"/Pattern cs /P scn 0 0 200 100 re f"
    data = pdf_page(drawn, resources="/Pattern << /P 5 0 R >>", more=[tile])
    yield HostileFile("tiny-pattern.pdf", data)


def _images() -> Iterator[HostileFile]:
    """Images that unpack to 400 megapixels."""
    once = zlib.compress(bytes(400_000_000), 9)
    facts = "/Type /XObject /Subtype /Image /BitsPerComponent 8 /ColorSpace /DeviceGray"
    for filters, body in (("/Flate", once), ("[/Flate /Flate]", zlib.compress(once, 9))):
        packed = filters.replace("/Flate", "/FlateDecode")
        image = stream(body, f"{facts} /Width 20000 /Height 20000 /Filter {packed}")
        content = b"200 0 0 100 0 0 cm /I Do"
        data = pdf_page(content, resources="/XObject << /I 5 0 R >>", more=[image])
        yield HostileFile(f"image-bomb-{len(body)}.pdf", data)
