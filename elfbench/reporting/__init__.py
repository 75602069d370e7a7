"""L4: tables, figures and one page from a store. Needs no model and no torch; the same store gives the same bytes."""
