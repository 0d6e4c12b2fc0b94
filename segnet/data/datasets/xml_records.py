"""Read XML with the checks of `json_records`: the attributes of an element are a record of strings.

Document type declarations are refused, because their entities can make a small file expand without limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from segnet.data.datasets.json_records import MAX_JSON_BYTES, Record
from segnet.data.datasets.text_files import read_bytes
from segnet.errors import DataError

MAX_NESTING = 100


@dataclass(slots=True)
class Element:
    """An element.

    Attributes:
        tag: name of the element.
        attributes: their names and values.
        text: text directly in the element.
        children: elements directly in the element.
    """

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def find(self, *tags: str) -> Iterator["Element"]:
        """Return the elements along a path of tags below this one."""
        for child in self.children:
            if child.tag == tags[0]:
                yield from child.find(*tags[1:]) if len(tags) > 1 else (child,)

    def value(self, tag: str) -> str:
        """Return the text of the first element of a tag; empty if there is none."""
        return next((child.text.strip() for child in self.find(tag)), "")


def read_xml(path: Path, tag: str) -> Element:
    """Read the top element of an XML file.

    Args:
        tag: its expected name.

    Raises:
        DataError: missing, damaged, nested too deeply, with a document type declaration, or with another top element.
    """
    stack = [Element("", {})]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > MAX_NESTING:
            raise DataError(f"{path}: is nested too deeply for an annotation file")
        stack[-1].children.append(Element(name, attributes))
        stack.append(stack[-1].children[-1])

    def end(name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse_type(*_: object) -> None:
        raise DataError(f"{path}: has a document type declaration, which no annotation tool writes: remove it")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse_type
    top = stack[0]
    try:
        parser.Parse(read_bytes(path, MAX_JSON_BYTES), True)
    except (expat.ExpatError, ValueError) as error:
        raise DataError(f"{path}: is not valid XML, damaged or cut off ({error})") from None
    if top.children[0].tag != tag:
        raise DataError(f"{path}: its top element is <{top.children[0].tag[:40]}>, not <{tag}>")
    return top.children[0]


def record_of(element: Element, source: Path, parent: Record | None, index: int) -> Record:
    """Return the attributes of an element as a record; `index` is its place in its parent."""
    return Record(dict(element.attributes), source, parent or Record({}, source), element.tag, index)
