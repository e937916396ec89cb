"""The figures in Prometheus's format, as its own parser reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatchlake.errors import ConfigError
from dispatchlake.lake.standing import ListingStatus
from dispatchlake.metrics import to_text, write
from dispatchlake.status import Overview
from tests.standings import NOW, failing, listing, silent_webhook, view, webhook

SEEN = view(
    listing("houston-tx", lag_s=90, rows_last_hour=12, quarantined=3, logins_last_hour=1),
    failing("austin-tx", lag_s=10**4, usual_rows_per_hour=None),
    ListingStatus("new-tx", "cad_incidents"),
    webhook("houston-tx", quarantined=4),
    silent_webhook("austin-tx", usual_deliveries_per_hour=None),
)


def samples(text: str) -> dict[tuple[str, str, str], float]:
    """Return each sample by its name, center and state."""
    return {
        (sample.name, sample.labels.get("center", ""), sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_figure_is_there_for_each_listing() -> None:
    found = samples(to_text(SEEN))

    assert found["dispatchlake_lag_seconds", "houston-tx", ""] == 90
    assert found["dispatchlake_complete_through_timestamp_seconds", "houston-tx", ""] == NOW.timestamp() - 90
    assert found["dispatchlake_rows_last_hour", "houston-tx", ""] == 12
    assert found["dispatchlake_usual_rows_per_hour", "houston-tx", ""] == 41
    assert found["dispatchlake_quarantined_records", "houston-tx", ""] == 3
    assert found["dispatchlake_logins_last_hour", "houston-tx", ""] == 1
    assert found["dispatchlake_failures_in_a_row", "austin-tx", ""] == 2
    assert found["dispatchlake_status_timestamp_seconds", "", ""] == NOW.timestamp()
    assert found["dispatchlake_disk_size_bytes", "", ""] == 10**12


def test_each_figure_is_there_for_each_webhook() -> None:
    found = samples(to_text(SEEN))
    last_at = NOW.timestamp() - 60

    assert found["dispatchlake_webhook_last_delivery_timestamp_seconds", "houston-tx", ""] == last_at
    assert found["dispatchlake_webhook_deliveries_last_hour", "houston-tx", ""] == 40
    assert found["dispatchlake_webhook_usual_deliveries_per_hour", "houston-tx", ""] == 41
    assert ("dispatchlake_webhook_usual_deliveries_per_hour", "austin-tx", "") not in found
    assert found["dispatchlake_webhook_waiting_deliveries", "houston-tx", ""] == 0
    assert found["dispatchlake_webhook_quarantined_deliveries", "houston-tx", ""] == 4
    states = {key[1:]: one for key, one in found.items() if key[0] == "dispatchlake_webhook_state" and one}
    assert states == {("houston-tx", "ok"): 1, ("austin-tx", "silent"): 1}


def test_what_is_not_known_is_absent_and_not_zero() -> None:
    found = samples(to_text(SEEN))

    assert ("dispatchlake_lag_seconds", "new-tx", "") not in found
    assert ("dispatchlake_usual_rows_per_hour", "austin-tx", "") not in found
    assert ("dispatchlake_last_failure_timestamp_seconds", "houston-tx", "") not in found


def test_what_waits_in_the_spool_is_there_also_when_nothing_does() -> None:
    for seen, count, waited_s in ((view(waited_s=70), 2, 70), (view(), 0, 0)):
        found = samples(to_text(seen))

        assert found["dispatchlake_waiting_deliveries", "", ""] == count
        assert found["dispatchlake_oldest_delivery_wait_seconds", "", ""] == waited_s


def test_a_listing_is_in_one_state() -> None:
    found = samples(to_text(SEEN))

    in_state = {key[1:]: value for key, value in found.items() if key[0] == "dispatchlake_state" and value}
    assert in_state == {("houston-tx", "ok"): 1, ("austin-tx", "late"): 1, ("new-tx", "never read"): 1}


def test_every_name_says_its_unit_and_that_it_is_ours() -> None:
    families = list(text_string_to_metric_families(to_text(SEEN)))

    assert len(families) == 22
    for family in families:
        assert family.name.startswith("dispatchlake_")
        assert family.documentation.endswith(".")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "dispatchlake.prom"
    file.write_text("old")

    write(SEEN, file)

    assert file.read_text() == to_text(SEEN)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["metrics.txt", "no-such-folder/metrics.prom"])
def test_a_file_that_cannot_be_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    seen: Overview = SEEN
    with pytest.raises(ConfigError, match=r"metrics\.(txt|prom)"):
        write(seen, tmp_path / name)
