"""The gateway's page in headless Chromium, before a real gateway with virtual nodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from page_fleet import PageFleet
from variant_parallelism.virtual import NodeFaults

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium here: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

PATIENCE_MS = 20_000
DESKTOP, PHONE = (1440, 900), (360, 740)
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Chromium's sandbox refuses to work for root.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=args)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageFleet]:
    """Five nodes that are asked about 20 images a second."""
    with PageFleet(tmp_path_factory.mktemp("five"), 5) as fleet:
        fleet.feed(20)
        yield fleet


@pytest.fixture
def look(browser: Any) -> Iterator[Open]:
    """Opens a fleet's page. It must not fail, load from elsewhere or break its own policy."""
    contexts, troubles = [], []

    def open_page(fleet: PageFleet, size: tuple[int, int] = DESKTOP, **options: Any) -> Any:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console",
            lambda said: "Content Security Policy" in said.text and troubles.append(said.text),
        )
        page.on(
            "request",
            lambda sent: sent.url.startswith(fleet.url) or troubles.append(f"asked {sent.url}"),
        )
        page.goto(fleet.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def wait_text(page: Any, selector: str, text: str) -> None:
    page.locator(selector, has_text=text).first.wait_for()


def until(page: Any, truth: str) -> None:
    """Wait for a JavaScript expression (Playwright's own way needs an eval, which is banned)."""
    for _ in range(PATIENCE_MS // 50):
        if page.evaluate(truth):
            return
        page.wait_for_timeout(50)
    raise AssertionError(truth)


def fits(page: Any) -> bool:
    """Whether nothing sticks out to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def tile(node: int) -> str:
    return f".tile[data-node='{node}']"


def test_tiles_and_live_answers(look: Open, five: PageFleet) -> None:
    page = look(five)
    wait_text(page, "#fleet-name", "virtual-5")
    wait_text(page, "#link-text", "live")
    page.wait_for_selector(".row:not(.empty) img")
    until(page, "document.querySelectorAll('.tile[data-state=up]').length === 5")
    assert page.locator(".tile").count() == 5
    assert "virtual · udp" in page.inner_text(tile(0))
    until(page, "document.querySelector('.row img')?.naturalWidth === 8")
    assert page.eval_on_selector(".row img", "it => getComputedStyle(it).imageRendering") == (
        "pixelated"
    )
    first = page.locator(".row").first
    chips = first.locator(".chip")
    assert chips.count() == 5
    assert set(chips.evaluate_all("all => all.map(it => it.dataset.vote)")) == {"agree"}
    assert "virtual" not in first.inner_text() and " ms" in first.inner_text()
    assert first.locator(".chips").get_attribute("aria-label").startswith("5 agree, 0 differ")
    page.wait_for_selector(".verdict[data-right='false']")
    wait_text(page, ".verdict", "is c")
    until(page, "document.querySelector('#figure-up').textContent === '5'")
    until(page, "parseFloat(document.querySelector('#figure-rate').textContent) > 1")
    wait_text(page, "#figure-labelled.labelled", "of ")
    wait_text(page, "#chart-availability .values", " of 5 always up")
    until(page, "document.querySelectorAll('#chart-rate path.line').length === 2")


def test_rows_and_tiles_keep_their_places(look: Open, five: PageFleet) -> None:
    page = look(five)
    page.wait_for_selector(".row:not(.empty) img")
    page.wait_for_selector(tile(4))
    where = """['.stream', '.history', '#chart-latency'].map(name => {
        const box = document.querySelector(name).getBoundingClientRect();
        return [box.top, box.height];
    })"""
    before = page.evaluate(where)
    until(page, "!document.querySelector('.row.empty')")
    assert page.locator(".row").count() == 12
    assert page.evaluate(where) == before


def test_a_node_that_dies_and_returns(look: Open, five: PageFleet) -> None:
    page = look(five)
    page.wait_for_selector(f"{tile(3)}[data-state='up']")
    five.nodes.die(3)
    page.wait_for_selector(f"{tile(3)}[data-state='dead']")
    wait_text(page, "#said", "Node 3 v3 is dead")
    wait_text(page, "#fleet-states", "1 dead")
    page.click(tile(3))
    wait_text(page, "#details-reason", "silent for")
    five.nodes.revive(3)
    page.wait_for_selector(f"{tile(3)}[data-state='up']")
    wait_text(page, "#details-state", "up")


def test_a_node_without_a_vote_is_late(look: Open, five: PageFleet) -> None:
    page = look(five)
    page.wait_for_selector(f"{tile(1)}[data-state='up']")
    five.nodes.fault(1, NodeFaults(stall=True))
    try:
        page.wait_for_selector(f"{tile(1)}:is([data-state='late'], [data-state='quarantined'])")
        page.wait_for_selector(".row .chip[data-vote='missing']")
    finally:
        five.nodes.fault(1, NodeFaults())
    page.wait_for_selector(f"{tile(1)}[data-state='up']")


def test_quarantine_and_back_by_keyboard(look: Open, five: PageFleet) -> None:
    page = look(five)
    page.wait_for_selector(f"{tile(2)}[data-state='up']")
    page.focus(tile(2))
    page.keyboard.press("Enter")
    page.wait_for_selector("#details[open]")
    wait_text(page, "#details-list", "udp 127.1.0.3")
    wait_text(page, "#details-list", "Agrees with the other nodes")
    for ask, state in (("Quarantine", "quarantined"), ("Take back", "up")):
        page.locator("#details-quarantine", has_text=f"{ask}…").wait_for()
        page.focus("#details-quarantine")
        page.keyboard.press("Enter")
        # What is chosen at first is to leave it.
        assert page.evaluate("document.activeElement.id") == "details-cancel"
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.textContent") == ask
        assert {node.id: node.state for node in five.gateway.nodes()}[2] != state
        page.keyboard.press("Enter")
        wait_text(page, "#details-state", state)
        assert {node.id: node.state for node in five.gateway.nodes()}[2] == state
    page.keyboard.press("Escape")
    page.wait_for_selector("#details", state="hidden")
    assert page.evaluate("document.activeElement.dataset.node") == "2"


def test_a_sample_of_hundreds_of_answers_a_second(look: Open, five: PageFleet) -> None:
    page = look(five)
    page.wait_for_selector(".row:not(.empty)")
    five.feed(1000)
    try:
        wait_text(page, "#stream-note", "a sample: 1 of ")
        assert page.locator(".row").count() == 12
    finally:
        five.feed(20)
    page.click("#pause")
    wait_text(page, "#stream-note", "paused")
    shown = page.inner_text("#stream")
    page.wait_for_timeout(600)
    assert page.inner_text("#stream") == shown


def test_it_comes_back_when_the_gateway_does(look: Open, five: PageFleet) -> None:
    page = look(five)
    page.wait_for_selector(".row:not(.empty)")
    five.stop_gateway()
    wait_text(page, "#link-text", "no gateway: trying again (last heard ")
    page.evaluate("document.querySelectorAll('.row').forEach(row => row.classList.add('old'))")
    five.start_gateway()
    wait_text(page, "#link-text", "The gateway restarted; connected again")
    five.feed(20)
    page.wait_for_selector(".row:not(.old)")
    page.wait_for_selector(f"{tile(0)}[data-state='up']")
    assert page.get_attribute("body", "data-link") == "live"


def test_a_phone_needs_no_scrolling_to_the_side(look: Open, five: PageFleet) -> None:
    page = look(five, PHONE, has_touch=True, is_mobile=True, color_scheme="dark")
    page.wait_for_selector(".row:not(.empty) img")
    page.wait_for_selector(tile(4))
    assert fits(page)
    page.tap(tile(0))
    wait_text(page, "#details-list", "Reached by")
    box = page.locator("#details").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE[0]
    assert fits(page)
    page.tap("#details-close")
    page.locator("input[value=hour]").check()
    until(page, "document.querySelectorAll('#chart-rate path.line').length === 2")


def test_names_are_text_whatever_is_in_them(
    look: Open, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    evil = "<img src=x onerror='window.pwned=1'><b>7</b>"
    with PageFleet(tmp_path / "evil", 2, class_name=evil) as fleet:
        page = look(fleet, PHONE)
        page.wait_for_selector(tile(1))
        fleet.feed(10)
        wait_text(page, ".row .class", evil)
        wait_text(page, ".row .chip", evil)
        wait_text(page, ".row .verdict", evil)
        assert page.locator(".row b b, .chip img, .verdict img").count() == 0
        assert page.evaluate("window.pwned") is None
        assert fits(page)
        # Not even a defect of the page's own could make markup of it.
        page.evaluate("window.blocked = false")
        page.evaluate(
            "try { document.body.innerHTML = 'x' } catch { window.blocked = true }; undefined"
        )
        assert page.evaluate("window.blocked") is True


def test_a_hundred_nodes(look: Open, tmp_path: Path) -> None:
    with PageFleet(tmp_path / "hundred", 100) as fleet:
        page = look(fleet, (1920, 1080))
        until(page, "document.querySelectorAll('.tile').length === 100")
        fleet.feed(5)
        page.wait_for_selector(".row:not(.empty) .chip:nth-child(100)")
        assert fits(page)
        assert page.get_attribute("#tiles", "data-size") == "compact"
        assert page.locator("#tiles").bounding_box()["height"] < 700
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert fits(page)
        chips = page.locator(".row:not(.empty) .chips").first
        assert chips.evaluate("it => it.scrollHeight <= it.clientHeight + 1")


def test_the_token_is_asked_for(look: Open, tmp_path: Path) -> None:
    token = "0123456789abcdef" * 4
    with PageFleet(tmp_path / "token", 1, token=token) as fleet:
        page = look(fleet)
        page.wait_for_selector("#login[open]")
        page.keyboard.press("Escape")
        page.fill("#token", "wrong")
        page.press("#token", "Enter")
        wait_text(page, "#login-error", "this is not the gateway's token")
        assert page.locator(".tile").count() == 0
        page.fill("#token", token)
        page.press("#token", "Enter")
        page.wait_for_selector(tile(0))
        page.reload()
        page.wait_for_selector(tile(0))
        assert "token" not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
        page.click("#logout")
        page.wait_for_selector("#login[open]")
