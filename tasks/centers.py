"""The register of dispatch centers: one block each on the Prefect server."""

from __future__ import annotations

import time
from collections.abc import Collection

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from dispatchlake.errors import ConfigError
from dispatchlake.model import RESOURCES, DispatchCenter, Resource, configure_center, unusable_center
from tasks.blocks import DispatchCenterBlock

_SLUG = DispatchCenterBlock.get_block_type_slug()
_PER_REQUEST = 200


class _Recent:
    """The blocks that a plan was made from, for the cells of that plan: a request less for each of them.

    Short-lived: a cell that is tried again minutes later reads a block that somebody may have mended.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, DispatchCenterBlock] = {}
        self._until_s = 0.0

    def replace(self, blocks: dict[str, DispatchCenterBlock]) -> None:
        self._blocks, self._until_s = blocks, time.monotonic() + _RECENT_S

    def get(self, center_id: str) -> DispatchCenterBlock | None:
        return self._blocks.get(center_id) if time.monotonic() < self._until_s else None

    def all(self) -> dict[str, DispatchCenterBlock]:
        return self._blocks if time.monotonic() < self._until_s else {}

    def forget(self) -> None:
        self._until_s = 0.0


_RECENT_S = 30.0
_recent = _Recent()


def save_center(center: DispatchCenter) -> None:
    """Register the center, or replace what is registered under its id."""
    DispatchCenterBlock.from_center(center).save(center.center_id, overwrite=True)
    _recent.forget()


def load_center(center_id: str) -> DispatchCenter:
    """Load one registered center with its secrets; what this process has just read is not asked for again.

    Raises:
        ConfigError: Not registered, or not usable; the text says which and what to do.
    """
    if block := _recent.get(center_id):
        return block.to_center(center_id)
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(center_id, _SLUG, include_secrets=True)
        except ObjectNotFound:
            raise unknown_centers([center_id], list(load_blocks())) from None
    return _block(document).to_center(center_id)


def load_blocks() -> dict[str, DispatchCenterBlock]:
    """Return every registered center's block by center id, in order of the ids, not validated yet."""
    documents: list[BlockDocument] = []
    with get_client(sync_client=True) as client:
        try:
            client.read_block_type_by_slug(_SLUG)
        except ObjectNotFound:  # nobody has ever registered a center here
            return {}
        while True:
            more = client.read_block_documents_by_type(_SLUG, offset=len(documents), limit=_PER_REQUEST)
            documents += more
            if len(more) < _PER_REQUEST:
                break
    documents.sort(key=lambda document: str(document.name))
    blocks = {str(document.name): _block(document) for document in documents}
    _recent.replace(blocks)
    return blocks


def recent_blocks() -> dict[str, DispatchCenterBlock]:
    """Return the same, without another request where a plan has just been made."""
    return _recent.all() or load_blocks()


def load_register() -> dict[tuple[str, str], bool]:
    """Return the listings that registered centers have credentials for, and whether scheduled runs read them.

    By center id and listing; no secret is looked at.
    """
    return {
        (center_id, name): block.enabled
        for center_id, block in recent_blocks().items()
        for name in block.resource_names()
    }


def load_resources(center_ids: Collection[str]) -> dict[tuple[str, str], Resource]:
    """Return the listings of the centers as they are configured, by center id and name; none of who is not.

    Needs no credentials: what was archived can be read again whether they still work or not.

    Raises:
        ConfigError: A block's overrides cannot be used; the text names center and field.
    """
    resources: dict[tuple[str, str], Resource] = {}
    for center_id, block in load_blocks().items():
        if center_id not in center_ids:
            continue
        center = configured(center_id, block)
        resources |= {(center_id, name): center.resource(name) for name in RESOURCES}
    return resources


def configured(center_id: str, block: DispatchCenterBlock, *, time_zone: str = "UTC") -> DispatchCenter:
    """Return a center as its block configures it, without credentials; its time zone only where it matters.

    Raises:
        ConfigError: The block holds something that cannot be used; the text names center and field.
    """
    return configure_center(
        center_id=center_id,
        name=block.display_name,
        time_zone=time_zone,
        base_url=block.base_url,
        resources=block.resources,
    )


def choose_centers(named: Collection[str], registered: Collection[str]) -> list[str]:
    """Return the named center ids if all are registered, or every registered one if none is named.

    Raises:
        ConfigError: One is not registered, or there are none at all.
    """
    if not registered:
        raise no_centers()
    if unknown := sorted(set(named) - set(registered)):
        raise unknown_centers(unknown, list(registered))
    return list(named or registered)


def delete_center(center_id: str) -> None:
    """Forget a center's registration; its records stay in the lake.

    Raises:
        ConfigError: Not registered.
    """
    choose_centers([center_id], load_blocks())
    DispatchCenterBlock.delete(center_id)
    _recent.forget()


def unknown_centers(unknown: list[str], registered: list[str]) -> ConfigError:
    """Return the error for centers nobody registered, naming those that are."""
    if not registered:
        return no_centers()
    return ConfigError(
        f"Unknown dispatch center: {', '.join(unknown)}. Registered are: {', '.join(registered)}."
    )


def no_centers() -> ConfigError:
    """Return the error for an empty register."""
    return ConfigError("No dispatch center is registered. Register one: dispatchlake centers add --help")


def _block(document: BlockDocument) -> DispatchCenterBlock:
    # Prefect's own way to build a block it has already fetched; `load` would ask the server once more.
    try:
        block = DispatchCenterBlock._from_block_document(document)  # noqa: SLF001
    except ValidationError as error:
        raise unusable_center(str(document.name), error) from None
    if not isinstance(block, DispatchCenterBlock):
        raise ConfigError("A block of type 'Dispatch center' on the Prefect server is not one of ours.")
    return block
