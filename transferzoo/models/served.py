"""A client of the Open Inference Protocol: it asks a served model, see `inference_protocol` for what is said.

Each image is asked for once, see `kept_answers`. Requests that fail for a moment are repeated. The token in
the variable TRANSFERZOO_OIP_TOKEN, if any, is sent as a bearer token, over HTTPS or to this machine only.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, ValidationError

from transferzoo.base.errors import ModelError, TransferZooError, UsageError, reason
from transferzoo.base.foreign_files import parse_json
from transferzoo.base.printable import printable
from transferzoo.hub.sentences import retry_after
from transferzoo.models.inference_protocol import Answer, Interface, Metadata, numbers, request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from transferzoo.models.kept_answers import KeptAnswers

TOKEN = "TRANSFERZOO_OIP_TOKEN"
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before the second to fifth try."""
MOST_PAUSE = 60.0
"""Seconds that are waited at most where the server asks for it."""
SECONDS = 120.0
"""Within which a request is answered."""
BUSY = (429, 502, 503, 504)
TOO_MANY = (400, 413)
"""What servers say to a batch that is too large; half of it is tried then."""
NEXT = {
    3: "give the address that it leads to; redirects are not followed",
    4: "check that the server's metadata describe what the model reads",
    5: "look into the server's log",
}
"""What is to be done about a status, by its first digit."""
MOST_BYTES = 2**27
"""Bytes of an answer; scores of 64 images and 21,000 classes have a quarter of it."""
MOST_IMAGES, MOST_VALUES = 64, 2**20
"""Images of a request, and pixels of all of them, at most."""
LOCAL = ("localhost", "127.0.0.1", "::1")


Form = TypeVar("Form", bound=BaseModel)


@dataclass
class Service:
    """A served model.

    Attributes:
        url: of the model, http(s)://HOST/v2/models/NAME.
        requests_per_second: at most so many; None without a limit.
        kept: its answers; None where only metadata are asked for.
    """

    url: str
    requests_per_second: float | None = None
    kept: KeptAnswers | None = None

    def metadata(self) -> Metadata:
        """Return what the server says about the model.

        Raises:
            TransferZooError: it cannot be reached, or refuses.
            ModelError: there is no such model, or the answer is none of the protocol.
            UsageError: the token would be sent in the clear.
        """
        return self._asked("GET", self.url, Metadata)

    def infer(self, images: NDArray[Any], reads: Interface) -> NDArray[Any]:
        """Return scores, float32 (N, K), or labels, int64 (N,), of images as the model takes them.

        Raises:
            TransferZooError, UsageError: as for `metadata`.
            ModelError: it answers something else.
        """
        answer = self._asked("POST", f"{self.url}/infer", Answer, request(images, reads))
        return numbers(self.url, answer, reads, reads.batch or len(images))[: len(images)]

    def _asked(
        self, method: str, url: str, form: type[Form], content: Mapping[str, Any] | None = None
    ) -> Form:
        import httpx2

        pauses = PAUSES if content else PAUSES[:1]  # what cannot even be reached is said soon
        direct = httpx2.HTTPTransport() if _is_local(self.url) else None  # a proxy would see the token
        with httpx2.Client(timeout=SECONDS, headers=authorization(self.url), transport=direct) as client:
            for pause in (*pauses, None):
                if self.kept is not None and self.requests_per_second is not None:
                    self.kept.wait(self.requests_per_second)
                try:
                    response = _bounded(client, method, url, content)
                except httpx2.RequestError as error:
                    if pause is None:
                        raise TransferZooError(
                            f"{self.url} cannot be reached: {_clean(reason(error))}",
                            hint="check the address and whether the server runs",
                        ) from None
                    time.sleep(pause)
                    continue
                if pause is None or response.status_code not in BUSY:
                    break
                time.sleep(min(retry_after(response.headers) or pause, MOST_PAUSE))
        if response.status_code != 200:
            raise _refusal(self.url, response)
        try:
            return form.model_validate_json(response.content)
        except ValidationError:
            raise ModelError(
                f"{self.url} does not speak the Open Inference Protocol",
                expected="http(s)://HOST/v2/models/NAME",
                got=_clean(response.text) or "an empty answer",
                hint="check the address",
            ) from None


def _bounded(client: Any, method: str, url: str, content: Mapping[str, Any] | None) -> Any:
    """Return a response that was read whole.

    Raises:
        ModelError: it does not end within `MOST_BYTES`.
    """
    with client.stream(method, url, json=content) as response:
        read = bytearray()
        for piece in response.iter_bytes():
            read += piece
            if len(read) > MOST_BYTES:
                raise ModelError(
                    f"{url} answers without end",
                    expected=f"at most {MOST_BYTES:,} bytes",
                    got="more",
                    hint="let the server answer with scores or labels alone",
                )
    kept = {name: value for name, value in response.headers.items() if name.lower() == "retry-after"}
    return type(response)(response.status_code, headers=kept, content=bytes(read))


class RefusedBatchError(ModelError):
    """The server refuses a request, perhaps for its size."""


def _refusal(url: str, response: Any) -> TransferZooError:
    """Return the error that a status other than 200 stands for, with the server's own reason."""
    status = response.status_code
    try:
        said = parse_json(response.text)["error"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    why = f"{status} {response.reason_phrase}: {_clean(str(said))}".rstrip(": ")
    if status in (401, 403):
        return TransferZooError(
            f"{url} refuses access ({why})", hint=f"put a token into the variable {TOKEN}"
        )
    if status == 404:
        return ModelError(
            f"there is no model at {url} ({why})",
            expected="http(s)://HOST/v2/models/NAME of one that runs",
            hint="check the name and the version",
        )
    kind = RefusedBatchError if status in TOO_MANY else ModelError
    return kind(f"{url} gives no answer ({why})", hint=NEXT.get(status // 100, NEXT[5]))


def _clean(text: str) -> str:
    """Return foreign text in one line, without the token."""
    token = os.environ.get(TOKEN)
    return printable(shorten(text.replace(token, "…") if token else text, 200, placeholder=" …"))


def authorization(url: str) -> dict[str, str]:
    """Return the header that carries the token, if there is one.

    Raises:
        UsageError: it would be sent in the clear, or is no token.
    """
    token = os.environ.get(TOKEN, "")
    if not token:
        return {}
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"the variable {TOKEN} holds no token", expected="letters, digits and signs")
    scheme = urlsplit(url).scheme
    if scheme != "https" and not _is_local(url):
        raise UsageError(
            f"the token in {TOKEN} is not sent in the clear",
            expected="https://",
            got=f"{scheme}://",
            hint=f"use https, or unset {TOKEN}",
        )
    return {"Authorization": f"Bearer {token}"}


def _is_local(url: str) -> bool:
    """Return whether an address is this machine's: it is asked without a proxy, whatever HTTP_PROXY says."""
    return urlsplit(url).hostname in LOCAL


class Asked:
    """A served model as a function of images.

    Args:
        service: asks it.
        reads: how.
    """

    def __init__(self, service: Service, reads: Interface) -> None:
        self._service, self._reads = service, reads
        self._most = reads.batch

    def __call__(self, images: Tensor) -> NDArray[Any]:
        """Return the answers for images, float32 (N, C, H, W) in [0, 1]; those not known yet are asked for.

        Raises:
            TransferZooError, ModelError, UsageError: see `Service.infer`.
        """
        reads, kept = self._reads, self._service.kept
        assert kept is not None
        pixels = images.mul(255).round() if reads.dtype == "uint8" else images
        pixels = pixels.permute(0, 2, 3, 1) if reads.channels_last else pixels
        given = np.ascontiguousarray(pixels.numpy().astype(reads.dtype))
        kind = f"{given.dtype} {given.shape[1:]}".encode()
        marks = [hashlib.sha256(kind + image.tobytes()).digest() for image in given]
        answers = kept.known({*marks})
        missing = [at for at, mark in enumerate(marks) if mark not in answers]
        missing = list({marks[at]: at for at in reversed(missing)}.values())[::-1]
        most = self._most or max(1, min(MOST_IMAGES, MOST_VALUES // max(1, given[0].size)))
        while missing:
            now, later = missing[:most], missing[most:]
            try:
                found = self._service.infer(given[now], reads)
            except RefusedBatchError:
                if reads.batch or len(now) == 1:
                    raise
                self._most = most = (len(now) + 1) // 2
                continue
            new = {marks[at]: answer.tobytes() for at, answer in zip(now, found, strict=True)}
            kept.add(new)
            answers |= new
            missing = later
        dtype = np.int64 if reads.labels else np.float32
        rows = [np.frombuffer(answers[mark], dtype) for mark in marks]
        return np.concatenate(rows) if reads.labels else np.stack(rows)
