"""A stand-in for the vendor, useful alone; shares no code with the client it tests."""
