"""L4: the battery that every entry must pass, shipped so that authors of entries elsewhere can run it."""
