"""Every view and macro of the lake, for people who ask it in SQL: one module per subject.

Each is declared beside its query, with every column explained. `VIEWS` is in the order of making: a view
comes after those it asks. How a lake gets them is `view_renewal`'s business.
"""

from __future__ import annotations

from dispatchlake.lake.declared import Macro, View
from dispatchlake.lake.views.as_of import AS_OF
from dispatchlake.lake.views.completeness import COMPLETENESS, COMPLETENESS_MACROS
from dispatchlake.lake.views.durations import CALL_DURATIONS, RESPONSE_PERCENTILES, RESPONSE_TIMES
from dispatchlake.lake.views.links import CAD_LINKS
from dispatchlake.lake.views.locations import BEST_LOCATION
from dispatchlake.lake.views.operating import COMPLETE_THROUGH, INCIDENT_SOURCES, RECONCILIATION, STATUS
from dispatchlake.lake.views.quality import DATA_QUALITY, DATA_QUALITY_SINCE
from dispatchlake.lake.views.timeline import INCIDENT_TIMELINE
from dispatchlake.lake.views.volumes import REPEAT_LOCATIONS, VOLUME_BY_HOUR, VOLUME_BY_TYPE

VIEWS: tuple[View, ...] = (
    COMPLETE_THROUGH,
    STATUS,
    INCIDENT_SOURCES,
    RECONCILIATION,
    CAD_LINKS,
    INCIDENT_TIMELINE,
    BEST_LOCATION,
    RESPONSE_TIMES,
    CALL_DURATIONS,
    VOLUME_BY_HOUR,
    VOLUME_BY_TYPE,
    REPEAT_LOCATIONS,
    COMPLETENESS,
    DATA_QUALITY,
)

MACROS: tuple[Macro, ...] = (*AS_OF, RESPONSE_PERCENTILES, *COMPLETENESS_MACROS, DATA_QUALITY_SINCE)
