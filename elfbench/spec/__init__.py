"""L1: the nouns of the house, as frozen records and protocols. Nothing here computes anything but its own identity."""
