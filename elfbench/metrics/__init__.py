"""L3: metrics. Each is a numpy function of stored measurements, with its interval; torch is never imported here."""
