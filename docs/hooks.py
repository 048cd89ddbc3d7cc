"""What happens to the pages when they are built.

Formulas become MathML, for which a browser needs no script. In the place of a line `<!-- notebook: 03_loss_gallery -->`
stand the text and the outputs of that notebook, as they were committed, without its code.
"""

import base64
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:span|div)>', re.DOTALL)
NOTEBOOK = re.compile(r"^<!-- notebook: (\w+) -->$", re.MULTILINE)
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PICTURE = "images/{}_{}.png"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures of the notebooks that pages show."""
    for page in files.documentation_pages():
        for name in NOTEBOOK.findall(page.content_string):
            for number, png in enumerate(part for kind, part in parts_of(name) if kind == "image/png"):
                files.append(File.generated(config, PICTURE.format(name, number), content=base64.b64decode(png)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put notebooks where pages ask for them."""
    return NOTEBOOK.sub(lambda found: as_markdown(found[1]), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas that the Markdown extension `arithmatex` has marked."""
    return FORMULA.sub(
        lambda found: convert(html.unescape(found[2]), display="block" if found[1] == "[" else "inline"), content
    )


def as_markdown(name: str) -> str:
    """Return a notebook's text and outputs; its title is left to the page."""
    lines: list[str] = []
    heading, pictures = "", 0
    for kind, part in parts_of(name):
        if kind == "image/png":
            lines.append(f"![Curves: {heading}]({PICTURE.format(name, pictures)})")
            pictures += 1
        else:
            lines.append(re.sub(r"^# .*\n+", "", part))
            heading = ([heading, *re.findall(r"^#+ (.*)", part, re.MULTILINE)])[-1]
    return "\n\n".join(lines)


def parts_of(name: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and content of each text and output of a notebook, in order."""
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            yield "text/markdown", cell.source
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            yield from ((kind, data[kind]) for kind in ("text/markdown", "text/html", "image/png") if kind in data)
