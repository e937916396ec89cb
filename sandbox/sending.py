"""A sending under way: deliveries at a rate or as a burst, each tried again until it is answered 200."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Any
from urllib.parse import urlencode

from sandbox.posting import Answer, NotAnsweredError, NotSentError, Poster, hold_open
from sandbox.webhook_config import (
    OAuthClient,
    SendingConfig,
    SlowLoris,
    WebhooksConfig,
    WebhookTarget,
)
from sandbox.webhook_plan import Delivery

FOLLOWING_S = 0.05
"""How long a delivery waits before it looks again whether the one it follows has been acknowledged."""

MARGIN_S = 5.0
"""A token is not used in its last seconds."""


class NoTokenError(Exception):
    """The receiver's token endpoint gave none."""


class Tokens:
    """Access tokens of a receiver's own token endpoint, one a client; used until shortly before their end."""

    def __init__(self) -> None:
        self._kept: dict[OAuthClient, tuple[str, float]] = {}
        self._lock = asyncio.Lock()
        self.asked = 0

    async def token(self, client: OAuthClient, target: WebhookTarget, *, timeout_s: float) -> str:
        """Return a token, a kept one if it may be.

        Raises:
            NoTokenError: The endpoint refused, was not reached, or answered something else.
        """
        async with self._lock:
            value, ends_s = self._kept.get(client, ("", 0.0))
            if client.is_cached and time.monotonic() < ends_s:
                return value
            return await self._ask(client, target, timeout_s)

    def forget(self, client: OAuthClient) -> None:
        """Ask for another one next time: this one was refused."""
        self._kept.pop(client, None)

    async def _ask(self, client: OAuthClient, target: WebhookTarget, timeout_s: float) -> str:
        self.asked += 1
        asked_s = time.monotonic()
        fields = {
            "grant_type": "client_credentials",
            "client_id": client.client_id,
            "client_secret": client.client_secret,
        }
        body = urlencode(fields | ({"scope": client.scope} if client.scope else {})).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        async with Poster(client.token_url, trusted_certificate=target.trusted_certificate) as poster:
            try:
                answer = await poster.post(body, headers, timeout_s=timeout_s)
                given = json.loads(answer.body) if answer.status == 200 else {}
                value, life_s = str(given["access_token"]), float(given["expires_in"])
            except (NotSentError, NotAnsweredError, ValueError, KeyError, TypeError) as error:
                raise NoTokenError(type(error).__name__) from error
        self._kept[client] = (value, asked_s + life_s - MARGIN_S)
        return value


class Sending:
    """One sending of a center: begun as a task, stopped by cancelling it.

    The webhooks are asked for anew with each attempt: a token may be rotated, or a target moved, under way.
    """

    def __init__(
        self, config: SendingConfig, deliveries: Sequence[Delivery], webhooks: Callable[[], WebhooksConfig],
        numbers: count[int],
    ) -> None:  # fmt: skip
        self.deliveries = [one for one in deliveries if one.kind in webhooks().targets]
        self.statuses: Counter[str] = Counter()
        self.attempts = self.acknowledged = self.given_up = self.wrongly_accepted = 0
        self.slow: Counter[str] = Counter()
        self.ended_s: float | None = None
        self._config = config
        self._webhooks = webhooks
        self._numbers = numbers
        self._began_s = time.monotonic()
        self._tokens = Tokens()
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self._left = len(self.deliveries)
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Send everything, and return when each delivery is acknowledged or given up."""
        if not self._left:
            self._settled.set()
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work()) for _ in range(self._config.connections)]
            if self._config.slow_loris:
                group.create_task(self._drip(self._config.slow_loris))
            for number, delivery in enumerate(self.deliveries):
                await self._turn(number)
                self._queue.put_nowait(delivery)
            await self._settled.wait()
            self.ended_s = time.monotonic()
            for worker in workers:
                worker.cancel()

    async def _turn(self, number: int) -> None:
        """Wait until it is a delivery's turn; behind, what is missed is caught up with at once."""
        if self._config.rate_per_s is None:
            return
        early_s = self._began_s + number / self._config.rate_per_s - time.monotonic()
        if early_s > 0:
            await asyncio.sleep(early_s)

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            posters: dict[WebhookTarget, Poster] = {}
            while True:
                delivery = await self._queue.get()
                if delivery.follows is not None and self._must_wait(delivery, delivery.follows):
                    continue
                target = self._webhooks().targets.get(delivery.kind)
                if target is None:  # taken away while we send
                    self._try_again(delivery)
                    continue
                if target not in posters:
                    posters[target] = await stack.enter_async_context(
                        Poster(target.url, trusted_certificate=target.trusted_certificate)
                    )
                await self._attempt(delivery, target, posters[target])

    def _must_wait(self, delivery: Delivery, first: Delivery) -> bool:
        if first.acknowledged is not None:
            return False
        if first.is_given_up:
            self._give_up(delivery)
        else:
            asyncio.get_running_loop().call_later(FOLLOWING_S, self._queue.put_nowait, delivery)
        return True

    async def _attempt(self, delivery: Delivery, target: WebhookTarget, poster: Poster) -> None:
        delivery.attempts += 1
        self.attempts += 1
        is_forged = delivery.is_forged and delivery.attempts == 1
        timeout_s = self._webhooks().retry.timeout_s
        headers = {"content-type": "application/json", "user-agent": "sandbox"}
        try:
            if is_forged:
                headers["authorization"] = "Bearer not-the-token"
            elif target.oauth:
                token = await self._tokens.token(target.oauth, target, timeout_s=timeout_s)
                headers["authorization"] = f"Bearer {token}"
            elif target.bearer is not None:
                headers["authorization"] = f"Bearer {target.bearer}"
            answer = await poster.post(delivery.body, headers, timeout_s=timeout_s)
        except NoTokenError:
            self.statuses["no token"] += 1
        except NotSentError:
            self.statuses["not sent"] += 1
        except NotAnsweredError:
            self.statuses["not answered"] += 1
            delivery.unknown += 1
        else:
            self._note(delivery, answer, is_forged=is_forged)
            if answer.status == 401 and target.oauth and not is_forged:
                self._tokens.forget(target.oauth)
        if delivery.acknowledged is None:
            self._try_again(delivery)

    def _note(self, delivery: Delivery, answer: Answer, *, is_forged: bool) -> None:
        self.statuses[str(answer.status)] += 1
        if answer.status == 200:
            self.wrongly_accepted += is_forged
            self.acknowledged += 1
            delivery.acknowledged = next(self._numbers)
            self._settle()
        elif answer.status >= 500:
            delivery.unknown += 1

    def _try_again(self, delivery: Delivery) -> None:
        retry = self._webhooks().retry
        if retry.attempts is not None and delivery.attempts >= retry.attempts:
            self._give_up(delivery)
            return
        wait_s = retry.wait_s(max(1, delivery.attempts))
        asyncio.get_running_loop().call_later(wait_s, self._queue.put_nowait, delivery)

    def _give_up(self, delivery: Delivery) -> None:
        delivery.is_given_up = True
        self.given_up += 1
        self._settle()

    def _settle(self) -> None:
        self._left -= 1
        if not self._left:
            self._settled.set()

    async def _drip(self, slow: SlowLoris) -> None:
        """Hold connections open, and count how they ended."""

        async def hold(number: int) -> None:
            targets = list(self._webhooks().targets.values())
            was_cut_off = await hold_open(
                targets[number % len(targets)].url,
                interval_s=slow.interval_s,
                longest_s=slow.longest_s,
                ends_headers=number % 2 == 0,
            )
            self.slow["cut_off" if was_cut_off else "held_open"] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(slow.connections):
                group.create_task(hold(number))

    def as_json(self) -> dict[str, Any]:
        """Return how it stands."""
        return {
            "planned": len(self.deliveries),
            "acknowledged": self.acknowledged,
            "given_up": self.given_up,
            "attempts": self.attempts,
            "left": self._left,
            "answers": dict(self.statuses),
            "wrongly_accepted": self.wrongly_accepted,
            "tokens_asked": self._tokens.asked,
            "slow_loris": dict(self.slow),
            "seconds": round((self.ended_s or time.monotonic()) - self._began_s, 3),
        }
