"""A JSON client for Prefect's API: kept-alive connections, time-outs, retries, credentials, CSRF.

Built on urllib3, which costs a cold start a tenth of what httpx does, and knows ``Retry-After``.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import urllib3
from urllib3.connectionpool import ConnectionPool
from urllib3.util.retry import Retry

from fargate_agent.errors import PermanentError

RETRIED_STATUSES = (429, 500, 502, 503, 504)
TIMEOUT = urllib3.Timeout(connect=3, read=5)
"""Seconds. With three retries a server that hangs holds a call up for less than 25, so that even
two such calls leave a function the time to put its messages back."""

PATIENCE_SECONDS = 5
"""A longer ``Retry-After`` is waited for in the queue, where it costs nothing."""


class Patience(Retry):
    """Retries as urllib3 does, but does not sit out a long ``Retry-After``."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count a try; see :meth:`urllib3.Retry.increment`."""
        asked = self.get_retry_after(response) if response else None
        left = self.new(total=0) if (asked or 0) > PATIENCE_SECONDS else self
        return super(Patience, left).increment(method, url, response, error, _pool, _stacktrace)


RETRIES = Patience(
    total=3,
    status_forcelist=RETRIED_STATUSES,
    allowed_methods=None,  # every call here may be repeated: claims are compare-and-set
    backoff_factor=0.2,
    backoff_max=5,
    backoff_jitter=0.3,
    raise_on_status=False,
)

HASTY = RETRIES.new(total=1)
"""For calls that nothing depends on."""


class ApiError(Exception):
    """The orchestrator answered with an error, or not at all (``status`` is then None).

    ``retry_after`` is how many seconds it asked to be left alone.
    """

    def __init__(
        self, call: str, status: int | None, detail: str, *, retry_after: float = 0
    ) -> None:
        super().__init__(f"{call}: {status or 'no answer'}: {detail[:500]}")
        self.status = status
        self.retry_after = retry_after


class CredentialsExpired(ApiError):
    """The orchestrator does not know the agent's credentials, now: no run is to blame for it."""


class CredentialsRefused(PermanentError):
    """The agent's credentials may not do this one thing."""


class JsonClient:
    """Calls one API.

    Parameters
    ----------
    base_url
        The API's address, as ``PREFECT_API_URL``.
    authorization
        Gives the ``Authorization`` header, or None for a server without one. Called with True
        once after the server refused what the last call gave, for a rotated secret.
    headers
        Sent with every call.
    retries
        When and how to try again; by default three times, on 429, 5xx and broken connections.
    """

    def __init__(
        self,
        base_url: str,
        authorization: Callable[[bool], str | None],
        *,
        headers: Mapping[str, str] | None = None,
        retries: Retry = RETRIES,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self.headers = dict(headers or {})
        """Sent with every call."""
        self._authorization = authorization
        self._retries = retries
        self._pool = urllib3.PoolManager(maxsize=16, timeout=TIMEOUT)
        self._csrf = CsrfToken()

    def get(self, path: str) -> Any:
        """Read a resource. Raises :class:`ApiError` as :meth:`send` does."""
        return self.send("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """Send a JSON body. Raises :class:`ApiError` as :meth:`send` does."""
        return self.send("POST", path, body)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        refresh: bool = False,
        decode: Callable[[str], Any] = json.loads,
        retries: Retry | None = None,
    ) -> Any:
        """Make one call and return its decoded answer, or None for an empty one.

        Parameters
        ----------
        refresh
            Read the credentials again first, for the server refused them in words of its own.
        decode
            Reads the answer's text.
        retries
            How often to try, and after which answers; by default as the client was told.

        Raises
        ------
        ApiError
            The answer's status is not 2xx, or it is not JSON, or there was no answer.
        CredentialsExpired
            The answer is 401, even with a freshly read secret.
        CredentialsRefused
            The answer is 403.
        """
        csrf = self._csrf.headers
        request = partial(self._request, method, path, body, retries=retries)
        response = request(csrf, refresh=refresh)
        if response.status == 401:
            response = request(csrf, refresh=True)
        if response.status == 403 and b"csrf" in response.data.lower():
            response = request(self._csrf.fetch(self._request, refused=csrf))
        return _decoded(f"{method} {path}", response, decode, hidden=self._authorization(False))

    def _request(
        self,
        method: str,
        path: str,
        body: Any,
        csrf: Mapping[str, str],
        *,
        refresh: bool = False,
        retries: Retry | None = None,
    ) -> urllib3.BaseHTTPResponse:
        headers = {
            "Content-Type": "application/json",
            **self.headers,
            **csrf,
        }
        authorization = self._authorization(refresh)
        if authorization:
            headers["Authorization"] = authorization
        encoded = None if body is None else json.dumps(body).encode()
        try:
            return self._pool.request(
                method,
                self._base_url + path,
                body=encoded,
                headers=headers,
                retries=retries or self._retries,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(f"{method} {path}", None, str(error)) from error


def _decoded(
    call: str,
    response: urllib3.BaseHTTPResponse,
    decode: Callable[[str], Any],
    *,
    hidden: str | None,
) -> Any:
    text = response.data.decode(errors="replace")
    if response.status in (401, 403) and "csrf" not in text.lower():
        advice = (
            f"Prefect refused the agent's credentials ({response.status}). Check that the "
            "secret in prefect.api_key_secret or prefect.auth_string_secret holds a valid key, and "
            "that the key may use the workspace."
        )
        if response.status == 401:
            raise CredentialsExpired(call, 401, advice)
        raise CredentialsRefused(f"{call}: {advice}")
    if not 200 <= response.status < 300:
        wait = RETRIES.get_retry_after(response) or 0
        told = _without_the_request(text, hidden)
        raise ApiError(call, response.status, told, retry_after=wait)
    try:
        return decode(text) if text else None
    except ValueError as error:
        told = _without_the_request(text, hidden)
        raise ApiError(call, response.status, f"not JSON: {told}") from error


def _without_the_request(text: str, authorization: str | None) -> str:
    """Return an error's text without what was sent, which may be a secret.

    Prefect repeats the body, a gateway may repeat the headers.
    """
    for secret in filter(None, [authorization, (authorization or "").rpartition(" ")[2]]):
        text = text.replace(secret, "[credentials]")
    try:
        told = json.loads(text)
        details = told["exception_detail"]
        return f"{told['exception_message']} {[(d['loc'], d['msg']) for d in details]}"
    except (ValueError, KeyError, TypeError):
        return text


class CsrfToken:
    """The token of a server with CSRF protection; no call is made until such a server asks.

    The server keeps one token per client id, so each function instance has an id of its own.
    """

    def __init__(self) -> None:
        self._client = str(uuid.uuid4())
        self._lock = threading.Lock()
        self.headers: Mapping[str, str] = {}

    def fetch(
        self, request: Callable[..., Any], *, refused: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return new headers for the refused ones, unless another thread has fetched them."""
        with self._lock:
            if self.headers is refused:
                answer = request("GET", f"/csrf-token?client={self._client}", None, {})
                if answer.status == 200:
                    self.headers = {
                        "Prefect-Csrf-Token": json.loads(answer.data)["token"],
                        "Prefect-Csrf-Client": self._client,
                    }
            return self.headers
