"""`dispatchlake webhooks`: who may deliver. A new secret is shown once, and alone on stdout."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from dispatchlake.cli.known_centers import refuse_unknown
from dispatchlake.cli.terminal import console, errors, table
from dispatchlake.settings import load_settings
from dispatchlake.spool import DeliveryKind
from dispatchlake.webhooks.credentials import Credential, CredentialFile, CredentialKind

app = App(name="webhooks", help="Say who may deliver to us: issue, rotate, revoke, list.")

_OAuth = Annotated[bool, Parameter(name="--oauth")]
_New = Annotated[bool, Parameter(name="--new")]


@app.command
def issue(center: str, /, *, oauth: _OAuth = False, new: _New = False) -> None:
    """Issue a center's first bearer token, or OAuth client, and show the secret this once.

    Args:
        center: Id of the dispatch center.
        oauth: A client id and secret with which the vendor fetches short-lived tokens from us.
        new: The center is known neither to the lake nor to the register, and that is no mistake.
    """
    kind = _kind(oauth)
    if not new:
        refuse_unknown(
            load_settings(),
            center,
            otherwise="Register it first (dispatchlake centers add --help), or say --new.",
        )
    _show(center, *_file().issue(center, kind))


@app.command
def rotate(center: str, /, *, oauth: _OAuth = False) -> None:
    """Issue another beside the one in use; both are valid until you revoke the old one.

    Args:
        center: Id of the dispatch center.
        oauth: Rotate the OAuth client and not the bearer token.
    """
    kind = _kind(oauth)
    _show(center, *_file().rotate(center, kind))
    old = _file().current().of_center(center, kind)[0]
    errors.print(
        f"The one before, {old.credential_id}, stays valid. Once the receiver's log shows the new one, end "
        f"the old one: dispatchlake webhooks revoke {center} {old.credential_id}",
        soft_wrap=True,
    )


@app.command
def revoke(center: str, credential: str | None = None, /) -> None:
    """End one credential of a center at once, or all of them.

    Args:
        center: Id of the dispatch center.
        credential: Which, as `webhooks list` names it; all if none is named.
    """
    ended = _file().revoke(center, credential)
    errors.print(f"Revoked: {', '.join(ended)}. A running receiver refuses it from now on.", soft_wrap=True)


@app.command(name="list")
def list_(center: str | None = None, /) -> None:
    """Show what was issued; no secret is ever shown again.

    Args:
        center: Only of this dispatch center.
    """
    centers = _file().current().centers
    rows = [
        [center_id, credential.kind, credential.credential_id, credential.issued_at]
        for center_id, credentials in sorted(centers.items())
        for credential in credentials
        if center in (None, center_id)
    ]
    if not rows:
        whose = f"for center {center}" if center else "yet"
        console.print(f"Nothing was issued {whose}. Issue a token: dispatchlake webhooks issue CENTER")
        return
    console.print(table(["center", "kind", "credential", "issued"], rows))


def _file() -> CredentialFile:
    return CredentialFile(load_settings().webhooks_dir)


def _kind(oauth: bool) -> CredentialKind:
    return CredentialKind.OAUTH if oauth else CredentialKind.BEARER


def _show(center: str, credential: Credential, secret: str) -> None:
    paths = ", ".join(f"POST /webhooks/{center}/{kind}" for kind in DeliveryKind)
    if credential.kind is CredentialKind.OAUTH:
        what = (
            f"client id {credential.credential_id}, token endpoint POST /oauth/token, and the client secret"
        )
    else:
        what = "the token, for the header Authorization: Bearer"
    errors.print(
        f"Hand to the vendor, by a safe way: {paths}; {what}, which is shown only now:",
        soft_wrap=True,
        markup=False,
    )
    print(secret)  # noqa: T201 - alone on stdout, as it is, for a pipe
