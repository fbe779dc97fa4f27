"""A phone's XCAP client for tests: httpx with digest, URIs built from selectors."""

from __future__ import annotations

from urllib.parse import quote

import httpx

ELEMENT = "application/xcap-el+xml"
LISTS = "application/resource-lists+xml"
RULES = "application/auth-policy+xml"
SERVICES = "application/rls-services+xml"


class Xcap:
    """The documents of one user. `root` without a slash at its end."""

    def __init__(self, root: str, address: str, password: str) -> None:
        self.root = root
        self.address = address
        auth = httpx.DigestAuth(address.partition("@")[0], password)
        self._http = httpx.AsyncClient(auth=auth, verify=False)

    async def __aenter__(self) -> Xcap:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def url(self, auid: str, selector: str = "", name: str = "index") -> str:
        node = f"/~~/{quote(selector, safe='/@=:*')}" if selector else ""
        return f"{self.root}/{auid}/users/sip:{self.address}/{name}{node}"

    async def get(self, auid: str, selector: str = "") -> str:
        answer = await self._http.get(self.url(auid, selector))
        assert answer.status_code == 200, answer
        return answer.text

    async def tag(self, auid: str) -> str:
        """Entity-tag of a document."""
        answer = await self._http.get(self.url(auid))
        return str(answer.headers["ETag"]).strip('"')

    async def put(self, auid: str, body: str, kind: str, selector: str = "") -> httpx.Response:
        answer = await self._http.put(
            self.url(auid, selector), content=body.encode(), headers={"Content-Type": kind}
        )
        assert answer.status_code in (200, 201), (answer, answer.text)
        return answer

    async def delete(self, auid: str, selector: str = "") -> httpx.Response:
        answer = await self._http.delete(self.url(auid, selector))
        assert answer.status_code == 200, (answer, answer.text)
        return answer
