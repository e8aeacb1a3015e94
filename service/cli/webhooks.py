"""`webhooks`: who is told of what happens. They need an admin key."""

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.client import Api, KeyOption, UrlOption, open_api
from service.cli.console import Exit, JsonOption, err, escape, out, print_json, print_table

POLL_S = 0.3
PATIENCE_S = 30.0

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="As `webhooks list` shows it.")]

webhooks = typer.Typer(
    help="Tell other services what happens; needs an admin key.", no_args_is_help=True
)


@webhooks.command("create")
def create_webhook(
    address: Annotated[str, typer.Argument(metavar="URL", help="What is to be told.")],
    *,
    event: Annotated[
        list[str] | None,
        typer.Option(help="What it is told of, as video.ready; may be given again. All if unset."),
    ] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Tell an address of events from now on; its secret is shown this once."""
    with open_api(url, key) as api:
        made = api.post("/v1/webhooks", {"url": address, "events": event or ["*"]})
    if as_json:
        print_json(made)
        return
    out.print(f"{made['id']} {made['secret']}", soft_wrap=True)
    err.print("Keep the secret: it is not shown again. It checks the signature of each message.")


@webhooks.command("list")
def list_webhooks(
    *, as_json: JsonOption = False, url: UrlOption = None, key: KeyOption = None
) -> None:
    """List the webhooks."""
    with open_api(url, key) as api:
        found = api.get("/v1/webhooks")["webhooks"]
    if as_json:
        print_json(found)
        return
    table = Table("Id", "Address", "Events", "State", box=None, header_style="bold")
    for one in found:
        state = "enabled" if one["is_enabled"] else f"disabled {one['disabled_reason'] or ''}"
        if one["failing_since"]:
            state = f"away since {one['failing_since'][:19]}"
        row = (one["id"], one["url"], " ".join(one["events"]), state.strip())
        table.add_row(*map(escape, row))
    print_table(table)


@webhooks.command("delete")
def delete_webhook(webhook_id: WebhookId, *, url: UrlOption = None, key: KeyOption = None) -> None:
    """Tell a webhook of nothing more."""
    with open_api(url, key) as api:
        api.delete(f"/v1/webhooks/{webhook_id}")
    out.print("Deleted.")


@webhooks.command("test")
def send_test(
    webhook_id: WebhookId,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Send a webhook a message that says nothing, and say what it answered."""
    with open_api(url, key) as api:
        sent = api.post(f"/v1/webhooks/{webhook_id}/test", {})
        told = _wait_for_try(api, webhook_id, sent)
    if as_json:
        print_json(told)
    elif told["state"] == "delivered":
        out.print(f"It took the message ({told['status']}).")
    elif told["tries"]:
        err.print(f"It did not take the message: {escape(told['detail'] or '')}", soft_wrap=True)
    else:
        err.print("No courier has sent it yet; `serve` brings one, or `worker --courier`.")
    if told["state"] != "delivered":
        raise typer.Exit(Exit.FAILED)


def _wait_for_try(api: Api, webhook_id: str, sent: dict[str, Any]) -> dict[str, Any]:
    """Return the message after its first try; as it is when nobody tries it."""
    ends = time.monotonic() + PATIENCE_S
    while sent["state"] == "waiting" and not sent["tries"] and time.monotonic() < ends:
        time.sleep(POLL_S)
        page = api.get(f"/v1/webhooks/{webhook_id}/deliveries", limit=200)["deliveries"]
        sent = next((one for one in page if one["id"] == sent["id"]), sent)
    return sent
