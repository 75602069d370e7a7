"""L2: intervals. Pure functions of numpy arrays; the unit of analysis is the row (a sample), never the token."""
