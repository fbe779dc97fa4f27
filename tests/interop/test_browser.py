"""The browser other tests drive: a page's modules come from npm, and it says what went wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.browser import browser, need_npm

pytestmark = pytest.mark.interop


async def test_a_page_imports_from_npm_and_answers(tmp_path: Path) -> None:
    need_npm("sip.js")
    async with browser(tmp_path) as page:
        await page.open("blank.html")
        imported = "const sip = await import('/node_modules/sip.js/lib/index.js'); return [sip.name, ...args]"
        assert await page.run(imported, "a", 1) == ["sip.js", "a", 1]
        await page.run("window.later = null; setTimeout(() => { window.later = 'now' }, 50)")
        assert await page.until("window.later") == "now"
        with pytest.raises(AssertionError, match="it broke"):
            await page.run("console.log('here'); throw new Error('it broke')")
