"""The explorer's page, as marimo runs it: filters, and one picture at a time that follows them.

Each cell asks `dispatchlake.lake.exploring` and draws with `dispatchlake.explore.charts`; nothing is computed
here. `dispatchlake explore` serves it.
"""

import marimo

app = marimo.App(width="medium", app_title="dispatchlake: explore")


@app.cell
def _():
    import marimo as mo

    from dispatchlake.errors import DispatchLakeError
    from dispatchlake.explore import charts, wording
    from dispatchlake.lake.exploring import Explorer
    from dispatchlake.lake.exploring_filters import Filters, first_look

    return DispatchLakeError, Explorer, Filters, charts, first_look, mo, wording


@app.cell
def _(DispatchLakeError, Explorer, mo):
    try:
        explorer = Explorer.open()
        centers = {center.center_id: center for center in explorer.centers()}
    except DispatchLakeError as error:
        mo.stop(True, mo.callout(str(error), kind="danger"))
    mo.stop(not centers, mo.callout("The lake has no CAD incidents yet: dispatchlake ingest", kind="warn"))
    return centers, explorer


@app.cell
def _(centers, first_look, mo):
    chosen_centers = mo.ui.multiselect(
        {center.name: center.center_id for center in centers.values()},
        value=[center.name for center in first_look(list(centers.values())).centers],
        label="Centers",
    )
    return (chosen_centers,)


@app.cell
def _(centers, chosen_centers, first_look, mo):
    _looked_at = [centers[center_id] for center_id in chosen_centers.value] or list(centers.values())
    _proposed = first_look(_looked_at)
    dates = mo.ui.date_range(
        start=min(center.first_date for center in _looked_at),
        stop=max(center.last_date for center in _looked_at),
        value=(_proposed.first_date, _proposed.last_date),
        label="Local days",
    )
    return (dates,)


@app.cell
def _(Filters, centers, chosen_centers, dates, explorer, mo):
    in_days = Filters(
        tuple(centers[center_id] for center_id in chosen_centers.value), dates.value[0], dates.value[1]
    )
    chosen_types = mo.ui.multiselect(explorer.incident_types(in_days), label="Types (none: all)")
    return chosen_types, in_days


@app.cell
def _(Filters, chosen_types, explorer, in_days):
    filters = Filters(in_days.centers, in_days.first_date, in_days.last_date, tuple(chosen_types.value))
    count = explorer.count(filters)
    return count, filters


@app.cell
def _(mo, wording):
    page = mo.ui.tabs(dict.fromkeys(wording.PAGES, ""))
    return (page,)


@app.cell
def _(chosen_centers, chosen_types, count, dates, explorer, filters, mo, page, wording):
    mo.vstack(
        [
            mo.md("# Emergency calls"),
            mo.hstack([chosen_centers, dates, chosen_types], justify="start", gap=1.5, wrap=True),
            mo.md(wording.headline(count, filters, explorer.snapshot())),
            page,
        ],
        gap=0.8,
    )
    return


@app.cell
def _(count, mo, page, wording):
    mo.stop(
        not count and page.value != wording.COMPLETENESS,
        mo.callout("No CAD incident is of these centers, days and types.", kind="neutral"),
    )
    is_any = True
    return (is_any,)


@app.cell
def _(charts, explorer, filters, is_any, mo, page, wording):
    mo.stop(not is_any or page.value != wording.VOLUME)
    mo.vstack(
        [
            mo.md("### How many, over time"),
            charts.volume_chart(*explorer.volume(filters)),
            mo.md("### In an hour of the week, on average"),
            charts.rhythm_chart(explorer.rhythm(filters)),
            mo.md(wording.VOLUME_NOTE),
        ]
    )
    return


@app.cell
def _(chosen_centers, mo, page, wording):
    mo.stop(page.value != wording.MAP)
    on_map = mo.ui.dropdown(
        list(chosen_centers.value), value=next(iter(chosen_centers.value), None), label="Center"
    )
    return (on_map,)


@app.cell
def _(Filters, centers, charts, explorer, filters, is_any, mo, on_map, page, wording):
    mo.stop(not is_any or page.value != wording.MAP or not on_map.value)
    _frame = explorer.map(
        Filters((centers[on_map.value],), filters.first_date, filters.last_date, filters.incident_types)
    )
    mo.vstack(
        [
            on_map,
            charts.map_chart(_frame.cells, stretch=_frame.stretch)
            if _frame.cells
            else mo.callout("None of them has coordinates.", kind="neutral"),
            mo.md(wording.map_note(_frame)),
        ]
    )
    return


@app.cell
def _(mo, page, wording):
    mo.stop(page.value != wording.RESPONSE)
    measure = mo.ui.dropdown(wording.MEASURES, value=next(iter(wording.MEASURES)), label="From ... to")
    by = mo.ui.dropdown(wording.GROUPINGS, value=next(iter(wording.GROUPINGS)), label="By")
    return by, measure


@app.cell
def _(by, charts, explorer, filters, is_any, measure, mo, page, wording):
    mo.stop(not is_any or page.value != wording.RESPONSE)
    _rows = explorer.response_times(filters, measure=measure.value, by=by.value)
    mo.vstack(
        [
            mo.hstack([measure, by], justify="start", gap=1.5),
            charts.response_chart(_rows)
            if any(row["timed"] for row in _rows)
            else mo.callout("None of them has both times.", kind="neutral"),
            mo.md(wording.response_note(_rows)),
        ]
    )
    return


@app.cell
def _(mo, page, wording):
    mo.stop(page.value != wording.COMPLETENESS)
    listing = mo.ui.dropdown(wording.LISTINGS, value=next(iter(wording.LISTINGS)), label="Listing")
    return (listing,)


@app.cell
def _(charts, explorer, filters, listing, mo, page, wording):
    mo.stop(page.value != wording.COMPLETENESS)
    _rows = explorer.completeness(filters, listing.value)
    mo.vstack(
        [
            listing,
            charts.completeness_chart(_rows)
            if _rows
            else mo.callout("Nothing is known of these days.", kind="neutral"),
            mo.md(wording.COMPLETENESS_NOTE),
        ]
    )
    return


@app.cell
def _(mo, page, wording):
    mo.stop(page.value != wording.INCIDENT)
    wanted = mo.ui.text(label="Id or CAD number", placeholder="exactly as it is")
    return (wanted,)


@app.cell
def _(explorer, filters, is_any, mo, page, wanted, wording):
    mo.stop(not is_any or page.value != wording.INCIDENT)
    listed = mo.ui.table(
        wording.shown_incidents(explorer.incidents(filters, text=wanted.value)),
        selection="single",
        page_size=8,
        **wording.TABLE,
        label="The newest CAD incidents; choose one to see what is known of it",
    )
    return (listed,)


@app.cell
def _(explorer, listed, mo, page, wanted, wording):
    mo.stop(page.value != wording.INCIDENT)
    _known = []
    for _row in listed.value:
        if not _row["incident"]:
            _known = [mo.callout("This CAD incident is not linked to an incident yet.", kind="neutral")]
            continue
        _facts = wording.shown_facts(explorer.timeline(_row["center"], _row["incident"]))
        _known = [
            mo.md(f"### What is known of {_row['incident']}"),
            mo.ui.table(
                _facts, selection=None, page_size=20, wrapped_columns=["what", "detail"], **wording.TABLE
            ),
        ]
    mo.vstack([wanted, listed, *_known])
    return


if __name__ == "__main__":
    app.run()
