"""The receiver: who may deliver, and that what they delivered is on the disk before they are told so.

Beside `api` (which asks) and `lake` (which understands), knowing neither. Nothing here looks into a body.
"""
