"""The README and the pages: their examples run, their commands compose, and no public name is missing."""

import re
import runpy
import shlex
from pathlib import Path
from types import ModuleType

import pytest

import lightning_losses as ll
from tests.test_plot import OF_CLASSES

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.filterwarnings("default")  # the trainer warns of small loaders and absent loggers
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(blocks(PAGES[page], "python")), page, "exec"), {"__name__": "__main__"})


def commands():
    for page, text in PAGES.items():
        for line in "".join(blocks(text, "bash")).splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "lightning-losses":
                yield pytest.param(words[1:], id=f"{page}: {line}")


@pytest.mark.parametrize("words", list(commands()))
def test_commands_compose(words):
    sweep = "--multirun" in words
    of_the_job = [word for word in words if not word.startswith(("--", "hydra")) and "interval(" not in word]
    ll.compose(*(word.split(",")[0] if sweep else word for word in of_the_job))


def public_names(module):
    return {name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)}


def test_reference_names_everything_public():
    documented = set(re.findall(r"^::: (\S+)", "".join(PAGES.values()), re.MULTILINE))
    expected = {f"lightning_losses.{name}" for name in public_names(ll)}
    expected |= {f"lightning_losses.functional.{name}" for name in public_names(ll.functional)}
    assert expected - documented == set()


def test_gallery_shows_every_loss_of_classes():
    page = runpy.run_path(str(ROOT / "docs" / "hooks.py"))["on_page_markdown"](PAGES["docs/gallery.md"])
    sections = dict(re.findall(r"^### `(\w+)`$(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE))
    assert sorted(sections) == sorted(OF_CLASSES)
    for section in sections.values():
        assert all(part in section for part in ("$$", "*What holds:*", "](images/03_loss_gallery_"))


def test_table_of_losses_is_complete():
    first_cells = re.findall(r"^\| (`.*?) \|", PAGES["docs/losses.md"], re.MULTILINE)
    assert set(ll.list_losses()) - set(re.findall(r"`(\w+)`", "".join(first_cells))) == set()
