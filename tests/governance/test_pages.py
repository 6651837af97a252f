"""The HTML pages, opened in a real browser: what is drawn, what a keyboard reaches, and that no name becomes markup."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.governance import browser, scene
from tests.governance.scene import Scene

HACKED = "typeof window.hacked"


class Elements(HTMLParser):
    """The names and attributes of a page's elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.fixture
def lineage(run_here: Run, both: Scene, tmp_path: Path) -> Path:
    """The page of prod's churn."""
    page = tmp_path / "lineage.html"
    place = ("--uri", both.prod.url, "--server", f"dev={both.dev.url}")
    run_here("lineage", "show", "churn/1", *place, "--format", "html", "--output", page).expect(0)
    return page


def of_kind(run_here: Run, both: Scene, kind: str, folder: Path) -> Path:
    """A page of the dev server."""
    page = folder / f"{kind}.html"
    command = {"audit": ("audit", "run"), "inventory": ("inventory",)}[kind]
    run_here(*command, "--tracking-uri", both.dev.url, "--format", "html", "--output", page).expect(0)
    return page


def test_a_page_has_one_script_of_its_own_and_asks_nobody_for_anything(
    run_here: Run, both: Scene, lineage: Path, tmp_path: Path
) -> None:
    for page in (lineage, of_kind(run_here, both, "audit", tmp_path), of_kind(run_here, both, "inventory", tmp_path)):
        elements = Elements()
        elements.feed(page.read_text("utf-8"))
        assert elements.tags.count("script") == 1
        assert not {"img", "iframe", "object", "link", "base", "form"} & set(elements.tags)
        assert not [name for name, _ in elements.attributes if name.startswith("on") or name in {"src", "style"}]
        outward = [value for name, value in elements.attributes if name == "href" and not value.startswith("#")]
        assert all(value.startswith((both.dev.url, both.prod.url)) for value in outward)


@pytest.mark.slow
@browser.NEEDED
def test_the_graph_is_drawn_with_a_node_for_each_thing_and_a_line_for_each_tie(
    run_here: Run, both: Scene, lineage: Path
) -> None:
    place = ("--uri", both.prod.url, "--server", f"dev={both.dev.url}")
    document = run_here("lineage", "show", "churn/1", *place, "--json").expect(0).json
    with browser.opened(lineage) as found:
        page = found.page
        labels = [node.get_attribute("aria-label") for node in page.query_selector_all("#graph a.node")]
        wanted = [
            f"{node['kind']} {node['name']}" + (f" at {node['environment']}" if node["environment"] else "")
            for node in document["nodes"]
        ]
        assert sorted(labels) == sorted(wanted)
        assert len(page.query_selector_all("#graph path.edge")) == len(document["edges"])
        boxes = [rect.bounding_box() for rect in page.query_selector_all("#graph a.node rect")]
        for number, one in enumerate(boxes):
            for other in boxes[number + 1 :]:
                apart_x = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
                apart_y = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
                assert apart_x or apart_y
        commit = page.get_by_label(f"git commit {scene.COMMIT}").bounding_box()
        version = page.get_by_label("model version churn version 1 at here").bounding_box()
        assert commit["x"] < version["x"]
        assert found.said == []
        assert found.asked == [lineage.as_uri()]
        assert page.evaluate(HACKED) == "undefined"


@browser.NEEDED
def test_a_keyboard_alone_reaches_every_node_and_its_facts(lineage: Path) -> None:
    with browser.opened(lineage) as found:
        page = found.page
        assert page.locator("article:visible h2").inner_text().endswith("churn version 1")
        numbers = [node.get_attribute("data-node") for node in page.query_selector_all("a.node")]
        page.locator("#theme").focus()
        reached: list[str] = []
        for _ in range(len(numbers)):
            page.keyboard.press("Tab")
            if not reached:
                # The drawing itself can be scrolled, and takes the focus for that in some browsers.
                while page.evaluate("document.activeElement.dataset.node ?? ''") == "":
                    page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.dataset.node"))
            assert page.locator("article:visible").get_attribute("data-facts") == reached[-1]
        assert reached == numbers
        page.get_by_label("model version churn version 1 at here").focus()
        page.keyboard.press("ArrowLeft")
        assert page.locator("article:visible h2").inner_text() == "model version churn version 1"
        assert page.locator("article:visible p").first.inner_text() == "at dev"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.closest('article').id").startswith("d")
        run = page.get_by_label("run week 3 at dev")
        run.focus()
        assert scene.HOSTILE in page.locator("article:visible").inner_text()
        assert page.evaluate(HACKED) == "undefined"


@browser.NEEDED
def test_a_page_is_dark_or_light_as_the_system_prefers_and_as_the_button_says(lineage: Path) -> None:
    with browser.opened(lineage, "dark") as found:
        dark = browser.background(found)
        found.page.locator("#theme").click()
        light = browser.background(found)
    with browser.opened(lineage, "light") as found:
        assert browser.background(found) == light
        found.page.locator("#theme").click()
        assert browser.background(found) == dark
    assert dark != light


@browser.NEEDED
@pytest.mark.parametrize("kind", ["audit", "inventory"])
def test_the_pages_of_audit_and_inventory_open_without_a_fault(
    run_here: Run, both: Scene, tmp_path: Path, kind: str
) -> None:
    page = of_kind(run_here, both, kind, tmp_path)
    with browser.opened(page) as found:
        if kind == "audit":
            assert found.page.get_by_text(scene.HOSTILE, exact=False).count() > 0
            assert found.page.locator("tr[data-finding]").count() > 0
        else:
            assert found.page.locator("li[data-count=run] strong").inner_text() == "3"
            assert found.page.locator("figure svg rect.bar").count() > 0
            assert found.page.locator("figure").count() == found.page.locator("figure details table").count()
        assert found.said == []
        assert found.asked == [page.as_uri()]
        assert found.page.evaluate(HACKED) == "undefined"


def test_an_address_that_is_no_server_of_the_web_is_never_a_link(run_here: Run, both: Scene, tmp_path: Path) -> None:
    page = tmp_path / "database.html"
    place = f"sqlite:///{both.dev.database}"
    roots = ("--artifact-root", both.dev.artifacts)
    run_here("lineage", "show", "churn/1", "--uri", place, *roots, "--format", "html", "--output", page).expect(0)
    elements = Elements()
    elements.feed(page.read_text("utf-8"))
    assert [value for name, value in elements.attributes if name == "href" and not value.startswith("#")] == []
