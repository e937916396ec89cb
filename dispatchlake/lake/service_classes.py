"""Classes of service as ANI/ALI screens and records have them, and the small family each belongs to.

The codes differ by region and telephone company and are never validated: what stands here is what is known of
them, and anything else is of the family `unknown`. Raise `EDITION` with every change and put it on the rows
changed, so that a figure by family can be explained later.
"""

from __future__ import annotations

from typing import Literal

Family = Literal["wireline", "voip", "wireless_p0", "wireless_p1", "wireless_p2", "text", "other"]


EDITION = 1

CLASSES: tuple[tuple[str, Family, str, int], ...] = (
    ("RESD", "wireline", "Residence", 1),
    ("BUSN", "wireline", "Business", 1),
    ("RPBX", "wireline", "Residence behind a private exchange", 1),
    ("BPBX", "wireline", "Business behind a private exchange", 1),
    ("PBXB", "wireline", "Business behind a private exchange", 1),
    ("PBXR", "wireline", "Residence behind a private exchange", 1),
    ("CNTX", "wireline", "Centrex", 1),
    ("CTX", "wireline", "Centrex", 1),
    ("COIN", "wireline", "Pay phone", 1),
    ("COCT", "wireline", "Pay phone owned by a customer", 1),
    ("PAY$", "wireline", "Pay phone", 1),
    ("PAY", "wireline", "Pay phone", 1),
    ("VOIP", "voip", "Voice over IP", 1),
    ("VRES", "voip", "Voice over IP, residence", 1),
    ("VBUS", "voip", "Voice over IP, business", 1),
    ("VPAY", "voip", "Voice over IP, pay phone", 1),
    ("VMBL", "voip", "Voice over IP, mobile", 1),
    ("VNOM", "voip", "Voice over IP, nomadic", 1),
    ("VENT", "voip", "Voice over IP, enterprise", 1),
    ("MOBL", "wireless_p0", "Wireless, neither phase: no place", 1),
    ("MOBILE", "wireless_p0", "Wireless, neither phase: no place", 1),
    ("WRLS", "wireless_p1", "Wireless phase I, from a site of phase I: the tower's place", 1),
    ("W911", "wireless_p1", "Wireless, phase not said: the tower's place at least", 1),
    ("WPH1", "wireless_p1", "Wireless phase I, from a site of phase II: the tower's place", 1),
    ("WPH2", "wireless_p2", "Wireless phase II: the caller's place", 1),
    ("TEXT", "text", "Text to 911", 1),
    # One character, as records have them.
    ("1", "wireline", "Residence", 1),
    ("2", "wireline", "Business", 1),
    ("3", "wireline", "Residence behind a private exchange", 1),
    ("4", "wireline", "Business behind a private exchange", 1),
    ("5", "wireline", "Centrex", 1),
    ("6", "wireline", "Pay phone, one way", 1),
    ("7", "wireline", "Pay phone, two ways", 1),
    ("8", "wireless_p0", "Wireless before phase I: no place", 1),
    ("9", "wireline", "Residence off the premises", 1),
    ("0", "wireline", "Business off the premises", 1),
    ("A", "wireline", "Pay phone owned by a customer", 1),
    ("G", "wireless_p1", "Wireless phase I: the tower's place", 1),
    ("H", "wireless_p2", "Wireless phase II: the caller's place", 1),
    ("I", "wireless_p1", "Wireless phase II, answered with phase I: the tower's place", 1),
    ("V", "voip", "Voice over IP", 1),
    ("C", "voip", "Voice over IP, residence", 1),
    ("D", "voip", "Voice over IP, business", 1),
    ("E", "voip", "Voice over IP, pay phone", 1),
    ("F", "voip", "Voice over IP, mobile", 1),
    ("J", "voip", "Voice over IP, nomadic", 1),
    ("K", "voip", "Voice over IP, enterprise", 1),
    ("T", "text", "Text to 911", 1),
)
"""Class in capitals, family, meaning, edition in which the row was last changed. Sources: NENA's record
formats as carriers and state manuals print them; single letters beyond G and H are the least certain."""
