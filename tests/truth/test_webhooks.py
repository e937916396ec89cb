"""All that a vendor's webhooks may do at once, through the receiver into the lake: it holds the truth."""

from __future__ import annotations

from pathlib import Path

from dispatchlake.landing import land_deliveries
from dispatchlake.settings import Settings
from tests.guarantees.receiving import Receiving, Sender, lost_and_doubled
from tests.sandbox_process import SandboxProcess
from tests.truth.pushed import archived, lost_and_invented
from tests.waiting import wait_until

EVERYTHING = {
    "incidents_at_most": 60,
    "connections": 16,
    "timestamp_form": "mixed",
    "duplicated": 0.2,
    "displaced": 0.3,
    "children_first": 0.3,
    "same_second": 0.5,
    "revised": 0.2,
    "unknown_types": 0.2,
    "unknown_subtypes": 0.2,
    "unknown_fields": 0.2,
    "missing_optional": 0.3,
    "unfit": 0.5,
    "wrong_token": 0.01,
    "large": 2,
    "large_bytes": 10_000_000,
    "slow_loris": {"connections": 6, "interval_s": 0.2, "longest_s": 60},
}
CENTER = {"dataset": "san-francisco-ca", "epoch": "2020-04-14T18:00:00Z"}


def test_everything_at_once_and_the_lake_holds_the_truth(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    config = {"centers": {"by-token": CENTER, "by-oauth": CENTER}}
    with SandboxProcess(config) as sandbox, Receiving(settings.data_dir) as receiving:
        by_token, by_oauth = (Sender(sandbox, receiving, name) for name in config["centers"])
        by_token.aim(bearer=receiving.webhooks("issue", "by-token", "--new"))
        receiving.start()
        receiving.wait_until_ready()
        by_oauth.aim(oauth=receiving.oauth_client("by-oauth"))
        by_token.begin(**EVERYTHING)
        wait_until(lambda: by_token.standing()["acknowledged"])
        rotated = receiving.webhooks("rotate", "by-token")  # both are valid now
        by_token.aim(bearer=rotated)
        land_deliveries(settings)  # some of it now, some later
        by_oauth.begin(**EVERYTHING, seed=7)
        for sender in (by_token, by_oauth):
            standing = sender.wait()
            assert standing["acknowledged"] == standing["planned"]
            assert standing["wrongly_accepted"] == 0
            assert standing["slow_loris"] == {"cut_off": 6}
            assert {*standing["answers"]} <= {"200", "401", "429"}
        assert receiving.kept("by-oauth"), "what was not there yet waits"
        land_deliveries(settings)
        assert not receiving.kept("by-token")
        for sender in (by_token, by_oauth):
            pushed = sender.pushed()
            assert all(pushed.values()), "there is something of everything"
            assert lost_and_invented(settings.lake_dir, sender.center_id, pushed) == (0, 0)
            pushed["incidents"][0]["updated_at"] = "2020-01-01T00:00:00Z"
            assert lost_and_invented(settings.lake_dir, sender.center_id, pushed) == (1, 1), "it is looked at"
            stored = archived(settings.lake_dir, sender.center_id)
            assert lost_and_doubled(stored, sender.bodies()) == (0, 0)
