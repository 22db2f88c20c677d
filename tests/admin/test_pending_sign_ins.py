"""Sign-ins under way: bound to their browser, finished once, and back to a page of ours."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.pending_sign_ins import (
    PENDING_S,
    PendingSignIns,
    is_browser,
    new_browser,
    own_path,
)
from tests.support.operators import Clock, FailingStore

BASE = "https://gateway.example.com/ops"


async def test_a_sign_in_is_finished_once_by_its_own_browser_and_in_time() -> None:
    clock = Clock()
    waiting = PendingSignIns(FailingStore(clock).records)
    mine, other = new_browser(), new_browser()

    async def begin() -> str:
        return (await waiting.begin(mine, BASE, f"{BASE}/back", "/keys", "here")).state

    state = await begin()
    assert await waiting.finish(other, state) is None
    assert await waiting.finish(None, state) is None
    assert await waiting.finish(mine, "forged") is None
    found = await waiting.finish(mine, state)
    assert found is not None
    assert (found.return_to, found.base, found.source) == ("/keys", BASE, "here")
    assert (found.pending.state, found.pending.redirect_uri) == (state, f"{BASE}/back")
    assert await waiting.finish(mine, state) is None
    late = await begin()
    clock.now += PENDING_S + 1
    assert await waiting.finish(mine, late) is None


async def test_the_store_has_no_text_that_opens_a_sign_in() -> None:
    store = FailingStore(Clock())
    browser = new_browser()
    begun = await PendingSignIns(store.records).begin(browser, BASE, BASE, "/", "here")
    [(key, value)] = (await store.kept.all("sign_in")).items()
    for secret in (begun.state, browser):
        assert secret not in key
        assert secret.encode() not in value


def test_a_cookie_that_was_not_made_here_is_replaced() -> None:
    assert is_browser(new_browser())
    for text in (None, "", "short", "A" * 44, "é" * 43):
        assert not is_browser(text)


def test_paths_of_pages_are_kept() -> None:
    for path in ("/", "/requests/abc?status=5xx", "/audit?who=ann%40example.com"):
        assert own_path(path) == path


@given(st.text() | st.from_regex(r"[/\\]{1,3}[a-z:@.?#%\t\n ]{0,9}", fullmatch=True))
def test_every_other_text_stays_on_this_listener(text: str) -> None:
    there = urlsplit(urljoin("https://gateway.example.com/", own_path(text)))
    assert (there.scheme, there.netloc) == ("https", "gateway.example.com")
    assert own_path(text).isprintable()
