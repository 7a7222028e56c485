"""Joins the pages that the browser printed into one document: bookmarks, links from page to page, numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject, TextStringObject


def spot(sheet: Any, top: float) -> ArrayObject:
    """Return a place on a sheet, as links name it."""
    return ArrayObject([sheet, NameObject("/XYZ"), FloatObject(0), FloatObject(top), NullObject()])


def joined(parts: dict[str, bytes], address: str, site: str | None, numbers: Callable[[int], bytes]) -> PdfWriter:
    """Join printed pages, given by name, into one document.

    Args:
        parts: what was printed.
        address: of the server from which it was printed; links to it lead into the document where that has the page.
        site: the address of the public site, where other pages are; None while there is none.
        numbers: prints so many numbered sheets.
    """
    book, places = PdfWriter(), {}
    for name, content in parts.items():
        part, first = PdfReader(io.BytesIO(content)), len(book.pages)
        known = {}  # names such as `id1` stand in many parts: their links get the place itself
        for anchor, place in part.named_destinations.items():
            at = part.get_destination_page_number(place) or 0
            known[anchor], places[name, unquote(anchor.lstrip("/"))] = (at, place.top or 800), (first + at, place.top)
        places[name, ""] = (first, 842)
        for sheet in part.pages:
            for link in (link.get_object() for link in sheet.get("/Annots", [])):
                if link.get("/Dest") in known:
                    at, top = known[link["/Dest"]]
                    link[NameObject("/Dest")] = spot(part.pages[at].indirect_reference, top)
        book.append(part)  # with the bookmarks of its headings
    for sheet in book.pages:
        for link in (link.get_object() for link in sheet.get("/Annots", [])):
            address_of = str(link.get("/A", {}).get("/URI", ""))
            if not address_of.startswith(address):
                continue
            path, _, anchor = address_of.removeprefix(f"{address}/").partition("#")
            name = path.removesuffix(".html")
            place = places.get((name, unquote(anchor))) or places.get((name, ""))
            if place is not None:
                del link[NameObject("/A")]
                link[NameObject("/Dest")] = spot(book.pages[place[0]].indirect_reference, place[1] or 842)
            elif site is not None:
                link["/A"][NameObject("/URI")] = TextStringObject(site + address_of.removeprefix(f"{address}/"))
            else:
                del link[NameObject("/A")]  # the site is nowhere yet: the words stay, the link leads nowhere
    for sheet, number in zip(book.pages, PdfReader(io.BytesIO(numbers(len(book.pages)))).pages):
        sheet.merge_page(number)
    return book
