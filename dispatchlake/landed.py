"""What landing webhook deliveries brought, in numbers: for those who tell of it and have no lake open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LandedDeliveries:
    """What landing some deliveries brought: numbers only, safe to show anywhere.

    Attributes:
        deliveries: That were not in the lake yet.
        new: Rows, of whatever table, that are the first of their id.
        changed: Further versions of incidents.
        quarantined: Deliveries set aside.
    """

    deliveries: int = 0
    new: int = 0
    changed: int = 0
    quarantined: int = 0

    def __add__(self, other: LandedDeliveries) -> LandedDeliveries:
        return LandedDeliveries(
            self.deliveries + other.deliveries,
            self.new + other.new,
            self.changed + other.changed,
            self.quarantined + other.quarantined,
        )
