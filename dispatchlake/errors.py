"""Every error this product raises on purpose, and the one judge of what is worth another try.

DispatchLakeError
├── ConfigError                  a person must change something
├── Cancelled                    a person has asked the run to stop
├── CenterError                  talking to a dispatch center (carries center_id, status, retry_after_s)
│   ├── CenterUnavailable        transient: time-outs, 5xx, a dropped connection
│   ├── RateLimited              transient: 429
│   ├── AuthRejected             credentials, scope, or even a fresh token refused
│   ├── RequestRejected          any other 4xx: we asked wrongly
│   └── ContractBroken           an answer the API's contract does not allow: a paging loop, another origin
├── DeliveryRefused              a request to our receiver is not taken (carries status, retry_after_s)
├── MediaError                   a media file was not fetched
│   ├── LinkExpired              its link opens nothing any more
│   ├── LinkRefused              its link leads where we do not go, or to more than we take
│   └── MediaUnavailable         transient: the host, or the way there
├── SpoolError                   deliveries cannot be kept, or those that wait cannot be read
│   └── SpoolBusy                transient: a full disk, or another process in the way
└── LakeError                    the lake could not do what was asked
    ├── LakeTooNew               made by a newer version of this software
    ├── CatalogBusy              transient: another writer holds the catalog
    └── MemoryShort              it takes more memory than this process may use

The text of an error says what happened, where, and what to do. It never carries a record's content,
a token, a secret or the query of a URL.

Extra fields have defaults because exceptions cross process borders by pickle, which rebuilds them from
their positional arguments alone.
"""

from __future__ import annotations

from collections.abc import Iterator


class DispatchLakeError(Exception):
    """Root of the tree: `except DispatchLakeError` catches what this product raises on purpose."""


class ConfigError(DispatchLakeError):
    """A person must change something before this can work."""


class Cancelled(DispatchLakeError):
    """The run was asked to stop; what it had not finished is as it was before."""


class CenterError(DispatchLakeError):
    """Talking to one dispatch center failed.

    Attributes:
        center_id: The dispatch center concerned, or "" where none is known.
        status: The HTTP status that led here, or None where no answer came.
        retry_after_s: Seconds the center asked us to wait, or None where it named none.
    """

    def __init__(
        self,
        message: str,
        center_id: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, center_id, status, retry_after_s)
        self.center_id = center_id
        self.status = status
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Return the sentence alone; the fields are for programs."""
        return str(self.args[0])


class CenterUnavailable(CenterError):
    """The center did not answer usefully within the retry budget; a later try may work."""


class RateLimited(CenterError):
    """The center asked us to slow down for longer than the retry budget allows."""


class AuthRejected(CenterError):
    """The credentials, their scope or a token fresh from them were refused; trying again risks a lock-out."""


class RequestRejected(CenterError):
    """The center refused the request itself (a 4xx other than 401 and 429)."""


class ContractBroken(CenterError):
    """An answer the contract does not allow: no list of records, a paging loop, another origin."""


class DeliveryRefused(DispatchLakeError):
    """A request to our receiver is not taken; the text is what whoever sent it is told.

    Attributes:
        status: The HTTP status of the answer.
        retry_after_s: Whole seconds after which to try again, or None where that would change nothing.
    """

    def __init__(self, message: str, status: int = 400, retry_after_s: int | None = None) -> None:
        super().__init__(message, status, retry_after_s)
        self.status = status
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Return the sentence alone; the fields are for programs."""
        return str(self.args[0])


class MediaError(DispatchLakeError):
    """A media file was not fetched; the text has nothing of its link."""


class LinkExpired(MediaError):
    """The link opens nothing, or no longer; a later delivery may bring another."""


class LinkRefused(MediaError):
    """The link leads where we do not go, or to more than we take; trying again changes nothing."""


class MediaUnavailable(MediaError):
    """The host, or the way there, failed; a later try may work."""


class SpoolError(DispatchLakeError):
    """Deliveries cannot be kept, or those that wait cannot be read; what was kept is as it was before."""


class SpoolBusy(SpoolError):
    """The disk is full, or another process held the spool for longer than we wait."""


class LakeError(DispatchLakeError):
    """The lake could not do what was asked; it is as it was before."""


class LakeTooNew(LakeError):
    """The lake was made by a newer version of this software."""


class CatalogBusy(LakeError):
    """Another writer held the catalog for longer than we wait."""


class MemoryShort(LakeError):
    """What was asked takes more memory than this process may use; less at a time may do."""


_TRANSIENT = (CenterUnavailable, RateLimited, MediaUnavailable, SpoolBusy, CatalogBusy)


def iter_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, then what caused it, and so on down; ends on a cycle."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def is_transient(error: BaseException) -> bool:
    """Say whether the same call may succeed later with nothing changed.

    The only judge of this in the product: the nearest error of our tree in the chain of causes decides,
    so wrapping an error does not lose its nature.
    """
    for cause in iter_causes(error):
        if isinstance(cause, DispatchLakeError):
            return isinstance(cause, _TRANSIENT)
    return False
